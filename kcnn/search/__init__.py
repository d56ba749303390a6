"""Search: the best network of a space, by keras-tuner, on data, within a budget.

Each word is imported when it is first used: it takes pip install "kcnn[search]", and keras-tuner loads TensorFlow.
"""

from typing import TYPE_CHECKING

from kcnn.lazy import words

if TYPE_CHECKING:
    from kcnn.search.journal import Trial
    from kcnn.search.replay import Replayed, replay
    from kcnn.search.result import Final
    from kcnn.search.run import Found, search

__all__ = ["Final", "Found", "Replayed", "Trial", "replay", "search"]

__getattr__, __dir__ = words(
    __name__,
    {"journal": ("Trial",), "replay": ("Replayed", "replay"), "result": ("Final",), "run": ("Found", "search")},
    globals(),
)
