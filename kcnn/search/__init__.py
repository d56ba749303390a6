"""Search: the best network of a space, by keras-tuner, on data, within a budget.

Each word is imported when it is first used: it takes pip install "kcnn[search]", and keras-tuner loads TensorFlow.
"""

from typing import TYPE_CHECKING

from kcnn.lazy import words

if TYPE_CHECKING:
    from kcnn.search.journal import Trial
    from kcnn.search.replay import RerunResult, rerun_trial
    from kcnn.search.result import FinalEvaluation
    from kcnn.search.run import SearchResult, search

__all__ = ["FinalEvaluation", "SearchResult", "RerunResult", "Trial", "rerun_trial", "search"]

__getattr__, __dir__ = words(
    __name__,
    {"journal": ("Trial",), "replay": ("Replayed", "replay"), "result": ("Final",), "run": ("Found", "search")},
    globals(),
)
