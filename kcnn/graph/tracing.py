"""A network on paper: drawn by the same builders as the Keras one, measured without it."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import translate
from functools import lru_cache
from operator import attrgetter
from typing import Any

from kcnn.graph import shape_inference
from kcnn.graph.names import suggest
from kcnn.graph.shape_inference import InputTooSmallError, Shape


@dataclass(frozen=True, eq=False, slots=True)
class SymbolicTensor:
    """A tensor on paper: its shape without the batch, and the layer and tensors it came from."""

    shape: Shape
    name: str
    op: Any = None
    inputs: tuple["SymbolicTensor", ...] = field(default=(), repr=False)  # each of which has inputs of its own
    context: "TraceContext" = field(default_factory=lambda: TraceContext(), repr=False)


class Override:
    """A field of every layer whose name fits a glob: {"inception_*_{3x3,5x5}.kernel": 3}."""

    __slots__ = ("address", "field", "glob", "matches", "value")

    def __init__(self, address: str, value: Any):
        self.glob, _, self.field = address.rpartition(".")
        self.address, self.value = address, to_builtin(value)
        self.matches = compile_glob(self.glob)


class TraceContext:
    """What one drawing has in common: the changes asked for, and the layers drawn so far."""

    __slots__ = ("_of_kind", "effective", "layers", "matched", "overrides", "prefix")

    def __init__(self, overrides: Iterable[tuple[str, Any]] = (), prefix: str = ""):
        self.overrides = [Override(address, value) for address, value in overrides]
        self.prefix = prefix
        self.layers: dict[str, SymbolicTensor] = {}  # by bare name
        self.matched: set[str] = set()
        self.effective: set[str] = set()
        self._of_kind: dict[type, tuple[list[Override], tuple[str, ...]]] = {}  # those whose field such ops have

    def override(self, op: Any, name: str) -> Any:
        """The op after every change that its layer's name answers to."""
        kind = type(op)
        if kind not in self._of_kind:
            has = getattr(op, "__dataclass_fields__", ())
            mine = [change for change in self.overrides if change.field in has]
            self._of_kind[kind] = mine, tuple(change.glob for change in mine)
        changes, globs = self._of_kind[kind]
        for place in match_globs(name, globs) if globs else ():
            change = changes[place]
            self.matched.add(change.address)
            if getattr(op, change.field) != change.value:
                op = replace(op, **{change.field: change.value})
                self.effective.add(change.address)
        return op

    def unused_overrides(self, addresses: Iterable[str]) -> tuple[str, ...]:
        """Those that altered nothing; ValueError for one that no layer answers to."""
        for change in self.overrides:
            if change.address in addresses and change.address not in self.matched:
                raise ValueError(self._unanswered(change))
        return tuple(address for address in addresses if address not in self.effective)

    def _unanswered(self, change: Override) -> str:
        named = [name for name in self.layers if change.matches(name)]
        if named:
            fields = sorted({f for name in named for f in getattr(self.layers[name].op, "__dataclass_fields__", ())})
            have = f"have {', '.join(fields)}" if fields else "have no fields"
            return f"{change.address!r}: the layers of that name ({', '.join(named[:3])}) {have}, not {change.field!r}"
        glob = change.address.rpartition(".")[0]
        near = suggest(glob, self.layers, limit=4)
        return f"{change.address!r}: no layer answers to {glob!r}; the nearest are {', '.join(near)}"


def apply(op: Any, *inputs: Any, name: str) -> Any:
    """Put one layer on a sketch, or on a Keras tensor: the only place that asks which.

    Returns a tensor of the same kind. ValueError names the layer where the op cannot stand there.
    """
    if not isinstance(inputs[0], SymbolicTensor):
        from kcnn.keras_bridge.to_keras import make_layer

        return make_layer(op, name)(*inputs)
    paper = inputs[0].context
    op = paper.override(op, name) if paper.overrides else op
    if name in paper.layers:
        raise ValueError(f"layer name {name!r} is used twice; names are addresses and must be unique")
    try:
        shape = shape_inference.output_shape(op, *(x.shape for x in inputs))
    except InputTooSmallError as error:
        raise InputTooSmallError(f"layer {name!r}: {error}") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"layer {name!r}: {error}") from None
    x = paper.layers[name] = SymbolicTensor(shape, paper.prefix + name, op, inputs, paper)
    return x


def topological_order(*ends: Any, sources: Callable[[Any], Sequence[Any]] = attrgetter("inputs")) -> list[Any]:
    """Every tensor that leads to `ends`, inputs before outputs, each once, in the order of drawing.

    `sources` gives the tensors that one was made from; a sketch's own, where nothing else is said.
    """
    seen: set[int] = set()
    order: list[Any] = []
    stack = [(end, False) for end in reversed(ends)]
    while stack:
        x, done = stack.pop()
        if done:
            order.append(x)
        elif id(x) not in seen:
            seen.add(id(x))
            stack.append((x, True))
            stack.extend((source, False) for source in reversed(sources(x)))
    return order


@lru_cache(maxsize=4096)
def compile_glob(glob: str) -> Callable[[str], Any]:
    """What tells whether a name fits a glob with `*`, `?`, `[ab]` and `{a,b}`."""
    parts = expand_braces(glob)
    if not any(set("*?[") & set(part) for part in parts):
        return frozenset(parts).__contains__
    return re.compile("|".join(map(translate, parts))).match


@lru_cache(maxsize=65536)
def match_globs(name: str, globs: tuple[str, ...]) -> tuple[int, ...]:
    """The places of those globs that a name fits."""
    return tuple(place for place, glob in enumerate(globs) if compile_glob(glob)(name))


def expand_braces(glob: str) -> list[str]:
    """`a_{b,c}` written out: `a_b` and `a_c`."""
    found = re.search(r"\{([^{}]*)\}", glob)
    if not found:
        return [glob]
    before, after = glob[: found.start()], glob[found.end() :]
    return [whole for part in found[1].split(",") for whole in expand_braces(before + part + after)]


def to_builtin(value: Any) -> Any:
    """Lists as tuples and NumPy's numbers as Python's: a change may come from JSON or a tuner."""
    if isinstance(value, list | tuple):
        return tuple(map(to_builtin, value))
    return value.item() if hasattr(value, "item") and not hasattr(value, "__len__") else value
