"""A run as one page worth opening, and several side by side; each word is imported when it is first used."""

from typing import TYPE_CHECKING

from kcnn.lazy import words

if TYPE_CHECKING:
    from kcnn.report.compare import compare
    from kcnn.report.page import report

__all__ = ["compare", "report"]

__getattr__, __dir__ = words(__name__, {"compare": ("compare",), "page": ("report",)}, globals())
