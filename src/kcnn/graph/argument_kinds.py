"""Check the arguments of a public function by its annotations: one error where they enter, that names the argument."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import is_dataclass
from functools import wraps
from inspect import get_annotations, signature, unwrap
from math import isnan
from numbers import Real
from os import PathLike
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, overload

from kcnn.graph.arguments import check_keywords, check_type, wrong_kind, wrong_value

Target = TypeVar("Target", bound=Callable[..., Any])
EXPECTED = {
    bool: "True or False",
    int: "an integer",
    float: "a number",
    str: "text",
    NoneType: "None",
    PathLike: "a path",
    Sequence: "a sequence",
    Mapping: "a mapping",
    Callable: "a function",
}
ARRAYS = ("numpy.ndarray", "tensorflow.Tensor")  # for which what can be converted is taken, too


@overload
def check_arguments(target: Target, /) -> Target: ...


@overload
def check_arguments(*, within: Mapping[str, Iterable[str]]) -> Callable[[Target], Target]: ...


def check_arguments(target: Any = None, /, *, within: Mapping[str, Iterable[str]] | None = None) -> Any:
    """Decorate a function or record: an argument of another kind than its annotation raises an error that names it.

    Numbers of NumPy count as numbers, and an integer is a number too, but not True and False; a path may be text; an
    array may be what converts to one. What is annotated as Any is not checked. Keywords are those of check_keywords.

    Args:
        target: The function, or a class with an `__init__` of its own.
        within: Names that belong to an argument: see check_keywords.

    Returns:
        The function, or the same class, with its signature and docstring.
    """
    if target is None:
        return lambda one: check_arguments(check_keywords(within=within or {})(one))
    if not hasattr(vars(target)["__init__"] if isinstance(target, type) else target, "checks_keywords"):
        target = check_keywords(target)
    function: Any = vars(target)["__init__"] if isinstance(target, type) else target
    parameters = signature(function).parameters
    names = list(parameters)
    kinds: dict[str, Any] = {}

    @wraps(function)
    def checked(*arguments: Any, **keywords: Any) -> Any:
        if not kinds:
            kinds.update(_resolve_annotations(function))
        for name, value in (*zip(names, arguments, strict=False), *keywords.items()):
            if name in kinds and value is not parameters[name].default:
                check_argument(name, value, kinds[name])
        return function(*arguments, **keywords)

    if not isinstance(target, type):
        return checked
    type.__setattr__(target, "__init__", checked)
    return target


def check_argument(name: str, value: Any, annotation: Any) -> None:
    """Refuse a value of another kind than an annotation, and a number that is none.

    Args:
        name: Name of the argument.
        value: Its value.
        annotation: The annotation, such as `int | None` or `Sequence[str]`.

    Raises:
        ArgumentTypeError: The value is of another kind.
        ValueError: It is NaN, or an empty text in place of a path.
    """
    if not _fits(value, annotation):
        if is_dataclass(annotation) and isinstance(annotation, type):
            check_type(name, value, annotation)  # says how to write it
        raise wrong_kind(name, describe(annotation), value)
    if isinstance(value, str) and not value and _takes_path(annotation):  # Path("") is the current folder
        raise wrong_value(name, describe(annotation), value)
    if annotation is not Any and isinstance(value, Real) and isnan(value):
        raise wrong_value(name, describe(annotation), value)


def describe(annotation: Any) -> str:
    """Return what an annotation takes, such as "an integer or None"."""
    origin, arguments = _split(annotation)
    if origin is Union:
        texts = list(dict.fromkeys(map(describe, arguments)))
        texts = [text for text in texts if not (text == "text" and "a path" in texts)]
        return " or ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)
    if origin is Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if origin is tuple and arguments and arguments[-1] is not ...:
        return f"a tuple of {len(arguments)} values, each {describe(arguments[0])}"
    if origin in (Sequence, tuple, list):
        return f"a sequence, each {describe(arguments[0])}" if arguments and arguments[0] is not Any else "a sequence"
    if _name(origin) in ARRAYS:
        return "an array"
    return EXPECTED.get(origin, f"of type {getattr(origin, '__name__', origin)}")


def _fits(value: Any, annotation: Any) -> bool:
    origin, arguments = _split(annotation)
    if origin is Any or isinstance(origin, TypeVar):
        return True
    if origin is Union:
        return any(_fits(value, one) for one in arguments)
    if origin is Literal:
        return value in arguments
    if origin in (bool, int, float):
        return _is_number(value, origin)
    if origin is Callable:
        return callable(value)
    if origin in (Sequence, tuple, list):
        return _is_sequence(value) and _items_fit(value, origin, arguments)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(_fits(key, one) for key in value for one in arguments[:1])
    if _name(origin) in ARRAYS:
        return hasattr(value, "__array__") or hasattr(value, "dtype") or _is_sequence(value)
    return not isinstance(origin, type) or isinstance(value, origin)


def _takes_path(annotation: Any) -> bool:
    origin, arguments = _split(annotation)
    return (
        any(map(_takes_path, arguments))
        if origin is Union
        else isinstance(origin, type) and issubclass(origin, PathLike)
    )


def _is_number(value: Any, kind: type) -> bool:
    if getattr(value, "ndim", 0) != 0:
        return False
    is_flag = isinstance(value, bool) or type(value).__name__ == "bool"  # NumPy's is no bool
    if kind is bool or is_flag:
        return kind is bool and is_flag
    return hasattr(value, "__index__") if kind is int else isinstance(value, Real) or hasattr(value, "__float__")


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sized) and hasattr(value, "__getitem__") and not isinstance(value, str | bytes | Mapping)


def _items_fit(value: Any, origin: Any, arguments: tuple[Any, ...]) -> bool:
    if not arguments or hasattr(value, "dtype"):
        return True
    if origin is tuple and arguments[-1] is not ...:
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    return arguments[0] is Any or all(_fits(item, arguments[0]) for item in value)


def _split(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    origin = get_origin(annotation) or annotation
    return NoneType if origin is None else Union if origin is UnionType else origin, get_args(annotation)


def _name(origin: Any) -> str:
    module = getattr(origin, "__module__", "").partition(".")[0]
    return f"{module}.{getattr(origin, '__name__', '')}"


def _resolve_annotations(function: Any) -> dict[str, Any]:
    """The annotations of the parameters; Any for those of types that only a type checker imports."""
    function = unwrap(function)
    kinds = {}
    for name, annotation in get_annotations(function).items():
        if isinstance(annotation, str):
            try:
                annotation = eval(annotation, function.__globals__)  # our own source
            except NameError:
                annotation = Any
        if name != "return":
            kinds[name] = annotation
    return kinds
