"""Overrides: new values for attributes of layers, by address."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from fnmatch import translate
from functools import lru_cache
from typing import Any

from kcnn.graph.names import UnknownNameError, describe_choices, unknown_layer

BUILTIN = frozenset({int, float, bool, str, type(None)})


class Override:
    """A new value for an attribute of every layer whose name matches a glob: {"inception_*_{3x3,5x5}.kernel": 3}."""

    __slots__ = ("address", "attribute", "glob", "matches", "value")

    def __init__(self, address: str, value: Any):
        self.glob, _, self.attribute = address.rpartition(".")
        self.address, self.value = address, to_builtin(value)
        self.matches = compile_glob(self.glob)


class OverrideSet:
    """The overrides of one trace, and which of them matched a layer or changed one."""

    __slots__ = ("_by_op", "effective", "matched", "overrides")

    def __init__(self, overrides: Iterable[tuple[str, Any]]):
        self.overrides = [Override(address, value) for address, value in overrides]
        self.matched: set[str] = set()
        self.effective: set[str] = set()
        self._by_op: dict[type, tuple[list[Override], tuple[str, ...]]] = {}  # those whose attribute the op has

    def override(self, op: Any, name: str) -> Any:
        """Return the op of a layer after every override that its name matches, in the order they were given."""
        kind = type(op)
        if kind not in self._by_op:
            attributes = getattr(op, "__dataclass_fields__", ())
            own = [override for override in self.overrides if override.attribute in attributes]
            self._by_op[kind] = own, tuple(override.glob for override in own)
        overrides, globs = self._by_op[kind]
        for index in match_globs(name, globs) if globs else ():
            override = overrides[index]
            self.matched.add(override.address)
            if getattr(op, override.attribute) != override.value:
                op = replace(op, **{override.attribute: override.value})
                self.effective.add(override.address)
        return op

    def find_unused(self, addresses: Iterable[str], layers: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the addresses that changed no layer, once the trace is complete.

        Args:
            addresses: The addresses to judge.
            layers: The op of each layer by its name.

        Returns:
            Those of the addresses whose layers had these values already.

        Raises:
            UnknownNameError: No layer matches an address, or none that does has its attribute.
        """
        for override in self.overrides:
            if override.address in addresses and override.address not in self.matched:
                raise unmatched_override(override.address, layers)
        return tuple(address for address in addresses if address not in self.effective)


def unmatched_override(address: str, layers: Mapping[str, Any]) -> UnknownNameError:
    """Return the error for an address that no layer matches, or whose attribute none of those has.

    Args:
        address: The address, such as "stem.kernel".
        layers: The op of each layer by its name.

    Returns:
        The error, to be raised by the caller.
    """
    override = Override(address, None)
    names = [name for name in layers if override.matches(name)]
    if not names:
        return unknown_layer(override.glob, layers)
    attributes = sorted({field for name in names for field in getattr(layers[name], "__dataclass_fields__", ())})
    layer = f"layer {names[0]!r} ({type(layers[names[0]]).__name__})"
    subject = f"{layer} has" if len(names) == 1 else f"{layer} and {len(names) - 1} more have"
    choices = describe_choices(override.attribute, attributes)
    return UnknownNameError(f"{subject} no attribute {override.attribute!r}{choices}")


@lru_cache(maxsize=4096)
def compile_glob(glob: str) -> Callable[[str], Any]:
    """Return the function that matches a name against a glob with `*`, `?`, `[ab]` and `{a,b}`."""
    patterns = expand_braces(glob)
    if not any(set("*?[") & set(pattern) for pattern in patterns):
        return frozenset(patterns).__contains__
    return re.compile("|".join(map(translate, patterns))).match


@lru_cache(maxsize=65536)
def match_globs(name: str, globs: tuple[str, ...]) -> tuple[int, ...]:
    """Return the indices of the globs that a name matches."""
    return tuple(index for index, glob in enumerate(globs) if compile_glob(glob)(name))


def expand_braces(glob: str) -> list[str]:
    """Return a glob with its braces expanded: `a_{b,c}` as `a_b` and `a_c`."""
    braces = re.search(r"\{([^{}]*)\}", glob)
    if not braces:
        return [glob]
    before, after = glob[: braces.start()], glob[braces.end() :]
    return [expanded for option in braces[1].split(",") for expanded in expand_braces(before + option + after)]


def to_builtin(value: Any) -> Any:
    """Return a value with lists as tuples and NumPy numbers as Python's: it may come from JSON or a tuner."""
    if type(value) in BUILTIN:  # most are
        return value
    if isinstance(value, list | tuple):
        return tuple(map(to_builtin, value))
    if isinstance(value, Mapping):
        return {key: to_builtin(item) for key, item in value.items()}
    return value.item() if hasattr(value, "item") and not hasattr(value, "__len__") else value
