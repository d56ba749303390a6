"""Checks of arguments: TypeError for the wrong kind, ValueError for the wrong value, both with what was expected."""

import reprlib
from collections.abc import Mapping
from operator import index
from typing import Any


class ArgumentTypeError(TypeError, ValueError):
    """Raised for an argument of the wrong kind, such as a number in place of a mapping."""


def wrong_kind(name: str, expected: str, value: Any, where: str = "") -> ArgumentTypeError:
    """Return the error for an argument of the wrong kind.

    Args:
        name: Name of the argument.
        expected: What it must be, such as "a mapping".
        value: What it is.
        where: The network, or another subject; it opens the message.

    Returns:
        The error, to be raised by the caller.
    """
    return ArgumentTypeError(_message(name, expected, value, where))


def wrong_value(name: str, expected: str, value: Any, where: str = "") -> ValueError:
    """Return the error for an argument of the right kind with the wrong value; arguments as of `wrong_kind`."""
    return ValueError(_message(name, expected, value, where))


def check_kind(name: str, value: Any, kinds: Any, expected: str, where: str = "") -> None:
    """Refuse an argument that is no instance of some types; other arguments as of `wrong_kind`."""
    if not isinstance(value, kinds):
        raise wrong_kind(name, expected, value, where)


def check_integer(name: str, value: Any, minimum: int, expected: str, where: str = "") -> int:
    """Return an integer, NumPy's too, that is at least a minimum; other arguments as of `wrong_kind`."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or getattr(value, "ndim", 0) != 0:
        raise wrong_kind(name, expected, value, where)
    if index(value) < minimum:
        raise wrong_value(name, expected, value, where)
    return index(value)


def check_mapping(name: str, value: Any, example: str, where: str = "") -> None:
    """Refuse an argument that is no mapping from texts; `example` is one, other arguments as of `wrong_kind`."""
    expected = f"a mapping such as {example}"
    check_kind(name, value, Mapping, expected, where)
    for key in value:
        check_kind(f"each key of {name}", key, str, f"text, in {expected}", where)


def _message(name: str, expected: str, value: Any, where: str) -> str:
    prefix = f"{where}: " if where else ""
    return f"{prefix}{name} must be {expected}, got {reprlib.repr(value)}"
