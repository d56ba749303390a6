"""Transfer learning: `prepare` a network for other classes, train it in phases, and `compare` what that buys.

Each word is imported when it is first used.
"""

from typing import TYPE_CHECKING

from kcnn.lazy import words

if TYPE_CHECKING:
    from kcnn.freeze import Phase, Violation, freeze, ledger, unfreeze
    from kcnn.inspect import grad_cam
    from kcnn.transfer.compare import Comparison, Way, compare, ways
    from kcnn.transfer.prepare import prepare

__all__ = [
    "Comparison",
    "Phase",
    "Violation",
    "Way",
    "compare",
    "freeze",
    "grad_cam",
    "ledger",
    "prepare",
    "unfreeze",
    "ways",
]

__getattr__, __dir__ = words(
    __name__,
    {
        "compare": ("Comparison", "Way", "compare", "ways"),
        "prepare": ("prepare",),
        "kcnn.freeze": ("Phase", "Violation", "freeze", "ledger", "unfreeze"),
        "kcnn.inspect": ("grad_cam",),
    },
    globals(),
)
