"""Transfer learning: `prepare` a network for other classes, train it in phases, and `compare` what that buys.

Each word is imported when it is first used.
"""

from typing import TYPE_CHECKING

from kcnn.lazy import words

if TYPE_CHECKING:
    from kcnn.freeze import TrainingPhase, FrozenWeightChangedError, freeze, audit_weights, unfreeze
    from kcnn.inspect import grad_cam
    from kcnn.transfer.compare import Comparison, Protocol, compare_protocols, default_protocols
    from kcnn.transfer.prepare import replace_head

__all__ = [
    "Comparison",
    "TrainingPhase",
    "FrozenWeightChangedError",
    "Protocol",
    "compare_protocols",
    "freeze",
    "grad_cam",
    "audit_weights",
    "replace_head",
    "unfreeze",
    "default_protocols",
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
