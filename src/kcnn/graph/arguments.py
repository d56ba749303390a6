"""Checks of arguments: TypeError for the wrong kind, ValueError for the wrong value, both with what was expected."""

import re
import reprlib
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from inspect import signature, unwrap
from operator import index
from typing import Any, TypeVar, overload

from kcnn.graph.names import UnknownNameError, describe_choices, find_closest

MAX_SEED = 2**31 - 1  # which leaves room for seeds that are counted on from it
Target = TypeVar("Target", bound=Callable[..., Any])


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


def check_integer(
    name: str, value: Any, minimum: int, expected: str, where: str = "", maximum: int | None = None
) -> int:
    """Return an integer, NumPy's too, from a minimum to a maximum; other arguments as of `wrong_kind`."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or getattr(value, "ndim", 0) != 0:
        raise wrong_kind(name, expected, value, where)
    if index(value) < minimum or (maximum is not None and index(value) > maximum):
        raise wrong_value(name, expected, value, where)
    return index(value)


def check_seed(seed: Any, name: str = "seed") -> int:
    """Return a seed as an integer that every library takes; arguments as of `check_integer`."""
    check_integer(name, seed, 0, "an integer of at least 0")
    return check_integer(name, seed, 0, f"an integer of at most {MAX_SEED:,}", maximum=MAX_SEED)


def check_number(name: str, value: float, minimum: float, maximum: float) -> None:
    """Refuse a number outside a range, and one that is none; arguments as of `check_integer`."""
    if not minimum <= value <= maximum:
        raise wrong_value(name, f"a number from {minimum:,} to {maximum:,}", value)


def check_mapping(name: str, value: Any, example: str, where: str = "") -> None:
    """Refuse an argument that is no mapping from texts; `example` is one, other arguments as of `wrong_kind`."""
    expected = f"a mapping such as {example}"
    check_kind(name, value, Mapping, expected, where)
    for key in value:
        if not isinstance(key, str):  # texts are made for an error alone: specs are made for each candidate of a search
            raise wrong_kind(f"each key of {name}", f"text, in {expected}", key, where)


def _message(name: str, expected: str, value: Any, where: str) -> str:
    prefix = f"{where}: " if where else ""
    return f"{prefix}{name} must be {expected}, got {reprlib.repr(value)}"


class UnknownKeywordError(UnknownNameError, TypeError):
    """Raised for a keyword that a function or record does not take."""


@overload
def check_keywords(target: Target, /) -> Target: ...


@overload
def check_keywords(*, within: Mapping[str, Iterable[str]]) -> Callable[[Target], Target]: ...


def check_keywords(target: Any = None, /, *, within: Mapping[str, Iterable[str]] | None = None) -> Any:
    """Decorate a function or record: a keyword that it does not take raises an error that suggests the closest.

    Args:
        target: The function, or a class with an `__init__` of its own.
        within: Names that belong to an argument, by how they are written there, such as
            {"config=TrainConfig({}=...)": ["epochs", "seed"]}.

    Returns:
        The function, or the same class, with its signature and docstring.
    """
    if target is None:
        return lambda function: _check_keywords(function, within or {})
    return _check_keywords(target, {})


def _check_keywords(target: Any, within: Mapping[str, Iterable[str]]) -> Any:
    is_class = isinstance(target, type)
    function = vars(target)["__init__"] if is_class else target
    code = unwrap(function).__code__
    taken = code.co_varnames[code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount]
    known = frozenset(taken[1:] if is_class else taken)

    @wraps(function)
    def checked(*arguments: Any, **keywords: Any) -> Any:
        if keywords and not known.issuperset(keywords):  # ops and blocks are called thousands of times
            name = next(name for name in keywords if name not in known)
            raise unknown_keyword(target.__name__, name, [one for one in taken if one in known], within)
        return function(*arguments, **keywords)

    checked.checks_keywords = True  # type: ignore[attr-defined]
    if not is_class:
        return checked
    type.__setattr__(target, "__init__", checked)
    return target


def explain_keyword(error: TypeError, modules: Iterable[Any]) -> UnknownKeywordError | None:
    """Return the error that suggests the closest keyword, for Python's own error of an unexpected one.

    Ops and blocks are called for each layer of each candidate of a search, and not decorated.

    Args:
        error: Python's error.
        modules: Where the function or class that was called may be.

    Returns:
        The error; None where the error is of another kind, or of another function.
    """
    match = re.fullmatch(r"(\w+)(?:\.__init__)?\(\) got an unexpected keyword argument '(\w+)'", str(error))
    function = next((vars(one)[match[1]] for one in modules if match[1] in vars(one)), None) if match else None
    if match is None or function is None:
        return None
    return unknown_keyword(match[1], match[2], signature(function).parameters, {})


def unknown_keyword(
    function: str, name: str, known: Iterable[str], within: Mapping[str, Iterable[str]]
) -> UnknownKeywordError:
    """Return the error for a keyword that a function or record does not take.

    Args:
        function: Its name.
        name: The keyword.
        known: The keywords that it takes.
        within: Names that belong to an argument, by how they are written there: see check_keywords.

    Returns:
        The error, to be raised by the caller.
    """
    known = list(known)
    if not known:
        return UnknownKeywordError(f"{function} takes no parameters, got {name!r}")
    places = {one: place.format(one) for place, names in [*within.items()][::-1] for one in names}
    places = {one: place for one, place in places.items() if one not in known}
    message = f"{function} has no parameter {name!r}"
    if name in places:
        return UnknownKeywordError(f"{message}; write {places[name]}")
    close = find_closest(name, [*known, *places])
    if close in places:
        return UnknownKeywordError(f"{message}. Did you mean {close!r}? Write {places[close]}")
    return UnknownKeywordError(f"{message}{describe_choices(name, known)}")


def check_type(name: str, value: object, *kinds: type) -> None:
    """Check that an argument is a record of some type.

    Args:
        name: Name of the argument.
        value: Its value.
        *kinds: The types that it may have.

    Raises:
        TypeError: It has another; for values by name the message tells how to write the record.
    """
    if isinstance(value, kinds):
        return
    names = " or ".join(kind.__name__ for kind in kinds)
    hint = ""
    if isinstance(value, Mapping) and value and all(isinstance(key, str) for key in value):
        fields = ", ".join(f"{key}={item!r}" for key, item in value.items())
        hint = f"; write {kinds[0].__name__}({fields})"
    raise ArgumentTypeError(f"{name} must be of type {names}, got {value!r}{hint}")
