"""Ctrl-C where Python's KeyboardInterrupt is lost or becomes another error, as in the imports of large libraries."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quit_on_interrupt() -> Iterator[None]:
    """End the program at once on Ctrl-C meanwhile. Where SIGINT is ignored, it stays so."""
    if not _is_handled():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class InterruptRecord:
    """Remember that Ctrl-C was pressed while a `with` block lasts; KeyboardInterrupt is raised as always."""

    def __init__(self) -> None:
        self.is_interrupted = False

    def __enter__(self) -> "InterruptRecord":
        self.before = signal.signal(signal.SIGINT, self._handle) if _is_handled() else None
        return self

    def __exit__(self, *_: Any) -> None:
        if self.before is not None:
            signal.signal(signal.SIGINT, self.before)

    def _handle(self, *_: Any) -> None:
        self.is_interrupted = True
        raise KeyboardInterrupt


def _is_handled() -> bool:
    is_main = threading.current_thread() is threading.main_thread()  # Python handles signals in no other
    return is_main and callable(signal.getsignal(signal.SIGINT))
