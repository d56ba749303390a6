"""Which layers a network has with which values of its options, and what choices of optional layers depend on."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from math import prod
from random import Random
from typing import Any

from kcnn.architectures.spec import ModelSpec
from kcnn.architectures.tracer import LARGEST_INPUT
from kcnn.graph.callers import warn_caller
from kcnn.graph.formatting import join_names
from kcnn.graph.overrides import to_builtin
from kcnn.graph.tracing import topological_order
from kcnn.graph.windows import InputTooSmallError
from kcnn.search.space.choices import Condition, Range, Values

MAX_NETWORKS = 200  # that are traced in order, and as many again at random, a few milliseconds each
MAX_INTEGERS = 16  # of a Range whose integers are listed one by one
Point = tuple[int, ...]  # the number of each option's value


@dataclass(frozen=True)
class OptionalLayers:
    """Layers of the networks that some options make.

    Attributes:
        options: Values by option.
        networks: The names of the layers by the point of the options.
        ops: The op of each layer that any of the networks has.
    """

    options: Mapping[str, Values]
    networks: Mapping[Point, Collection[str]]
    ops: Mapping[str, Any]

    def find_conditions(self, layers: Collection[str]) -> tuple[Condition, ...]:
        """Return the options on which it depends that a network has any of some layers, and their values with one."""
        names = {*layers}
        having = {point for point, present in self.networks.items() if not names.isdisjoint(present)}
        conditions = []
        for i, (option, values) in enumerate(self.options.items()):
            elsewhere = {(*point[:i], *point[i + 1 :]) for point in self.networks.keys() - having}
            decides = any((*point[:i], *point[i + 1 :]) in elsewhere for point in having)
            listed = _list_values(values)
            when = tuple(value for number, value in enumerate(listed) if any(point[i] == number for point in having))
            if decides and _are_all(values) and 0 < len(when) < len(listed):
                conditions.append((option, when))
        return tuple(conditions)


def find_optional_layers(spec: ModelSpec, options: Mapping[str, Values], addresses: Sequence[str]) -> OptionalLayers:
    """Trace a network with the values of its options, alone and together.

    Where there are too many combinations, some are traced with few options changed and others at random; a layer that
    only one of the latter has is followed up there, option by option. A warning then names the choices that may lack
    layers.

    Args:
        spec: The network.
        options: Values by option.
        addresses: The choices of layers by address; without any, options are changed alone.

    Raises:
        ValueError: The network cannot be built with a value.
    """
    own = {**spec.architecture.defaults(), **spec.options}
    columns = [_list_values(values) for values in options.values()]
    base = tuple(
        values.index(to_builtin(own[option])) if to_builtin(own.get(option)) in values else -1  # none of the choices
        for option, values in zip(options, columns, strict=True)
    )
    tracer = _Tracer(spec, list(options), columns)
    for changed in range(len(columns) + 1 if addresses else min(2, len(columns) + 1)):
        if changed > 1 and len(tracer.networks) + _count_neighbors(base, columns, changed) > MAX_NETWORKS:
            tracer.sample()
            total = prod(map(len, columns))
            warn_caller(
                f"{spec.title}: the choices {join_names(addresses, 4)} may lack layers that exist only with rare "
                f"combinations of the options {join_names(list(options), 8)}: {len(tracer.networks):,} of {total:,} "
                "combinations were traced; search fewer options at once to find all layers",
            )
            break
        for point in _list_neighbors(base, columns, changed):
            tracer.add(point, strict=changed < 2)
    return OptionalLayers(options, tracer.networks, tracer.ops)


class _Tracer:
    """The networks so far, by the point of the options."""

    def __init__(self, spec: ModelSpec, options: list[str], columns: list[tuple[Any, ...]]):
        self.spec, self.options, self.columns = spec, options, columns
        self.networks: dict[Point, frozenset[str]] = {}
        self.ops = dict(find_ops(spec))

    def add(self, point: Point, *, strict: bool = False) -> bool:
        """Trace a point, whose values may exclude each other unless strict; return whether it has a new layer."""
        columns = zip(self.options, self.columns, point, strict=True)
        values = {option: values[number] for option, values, number in columns if number >= 0}
        try:
            layers = find_ops(self.spec.with_overrides(values)) if values else self.ops
        except ValueError:
            if strict:
                raise
            return False  # such points are rejected
        self.networks[point] = frozenset(layers)
        is_new = not layers.keys() <= self.ops.keys()
        self.ops = {**layers, **self.ops}
        return is_new

    def sample(self) -> None:
        """Trace random points, and around those with a new layer the points that decide on it."""
        random = Random("optional layers")  # the same layers each time
        for _ in range(MAX_NETWORKS):
            point = tuple(random.randrange(len(values)) for values in self.columns)
            if point not in self.networks and self.add(point):
                for neighbor in _list_neighbors(point, self.columns, 1):
                    self.add(neighbor)


def find_ops(spec: ModelSpec) -> dict[str, Any]:
    """Return the ops of a network's layers by name, on an input that fits where its own is too small.

    Raises:
        ValueError: The network cannot be built.
    """
    shape: Any = spec.input_shape
    while True:
        try:
            graph = replace(spec, input_shape=shape).trace_candidate()
        except InputTooSmallError:
            if shape is None or max(size or 0 for size in shape) > LARGEST_INPUT:
                raise
            rows, columns, _ = replace(spec, input_shape=shape).nominal_shape
            shape = (2 * rows, 2 * columns, shape[2])
            continue
        return {x.name: x.op for x in topological_order(*graph.outputs.values()) if x.op is not None}


def _list_values(values: Values) -> tuple[Any, ...]:
    """All values of a choice; of a long range the ends and the middle."""
    if not isinstance(values, Range):
        return values
    if _are_all(values):
        return tuple(range(int(values.low), int(values.high) + 1))
    return tuple(dict.fromkeys((values.low, values.midpoint, values.high)))


def _are_all(values: Values) -> bool:
    return not isinstance(values, Range) or (values.is_integer and values.high - values.low < MAX_INTEGERS)


def _list_neighbors(base: Point, columns: list[tuple[Any, ...]], changed: int) -> Iterator[Point]:
    """The points that differ from another in as many options."""
    for chosen in combinations(range(len(columns)), changed):
        for values in product(*([v for v in range(len(columns[i])) if v != base[i]] for i in chosen)):
            point = list(base)
            for i, value in zip(chosen, values, strict=True):
                point[i] = value
            yield tuple(point)


def _count_neighbors(base: Point, columns: list[tuple[Any, ...]], changed: int) -> int:
    sizes = [len(values) - (number >= 0) for values, number in zip(columns, base, strict=True)]
    return sum(map(prod, combinations(sizes, changed)))
