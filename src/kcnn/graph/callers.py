"""Warnings that point at the line of the caller's program."""

import sys
import warnings

BETWEEN = frozenset({"kcnn", "kcnn_plugins", "keras", "tensorflow", "functools", "contextlib"})


def warn_caller(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn of the line that called kcnn, however many functions and decorators lie between.

    Args:
        message: The message.
        category: The kind of warning.
    """
    frame = outermost = sys._getframe(1)
    while str(frame.f_globals.get("__name__")).partition(".")[0] in BETWEEN:
        if frame.f_back is None:  # a thread of ours
            frame = outermost
            break
        frame = frame.f_back
    module = frame.f_globals.get("__name__", "<unknown>")
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    warnings.warn_explicit(message, category, frame.f_code.co_filename, frame.f_lineno, module, registry)
