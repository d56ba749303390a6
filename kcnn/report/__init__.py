"""A run, a transfer or an experiment as one page worth opening, and runs side by side.

Each word is imported when it is first used.
"""

from typing import TYPE_CHECKING

from kcnn.lazy import words

if TYPE_CHECKING:
    from kcnn.report.compare import compare_runs
    from kcnn.report.page import write_experiment_report, write_report

__all__ = ["compare_runs", "write_experiment_report", "write_report"]

__getattr__, __dir__ = words(__name__, {"compare": ("compare",), "page": ("experiment", "report")}, globals())
