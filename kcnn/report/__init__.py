"""A run, a transfer or an experiment as one page worth opening, and runs side by side.

Each word is imported when it is first used.
"""

from typing import TYPE_CHECKING

from kcnn.lazy import words

if TYPE_CHECKING:
    from kcnn.report.compare import compare
    from kcnn.report.page import experiment, report

__all__ = ["compare", "experiment", "report"]

__getattr__, __dir__ = words(__name__, {"compare": ("compare",), "page": ("experiment", "report")}, globals())
