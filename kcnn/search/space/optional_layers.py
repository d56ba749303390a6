"""Which layers a network has with which values of its options, and what choices of optional layers depend on."""

import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations, product
from math import prod
from typing import Any

from kcnn.architectures.spec import ModelSpec
from kcnn.architectures.tracer import LARGEST_INPUT
from kcnn.graph.overrides import to_builtin
from kcnn.graph.tracing import topological_order
from kcnn.graph.windows import InputTooSmallError
from kcnn.search.space.choices import Condition, Range, Values

MAX_NETWORKS = 200  # that are traced, a few milliseconds each
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


def find_optional_layers(spec: ModelSpec, options: Mapping[str, Values]) -> OptionalLayers:
    """Trace a network with the values of its options, alone and together.

    Where they are too many, first the options are left alone that change no layers, alone or in pairs; where they still
    are, only a few options are changed at once, and a warning names them.

    Args:
        spec: The network.
        options: Values by option.

    Raises:
        ValueError: The network cannot be built with a value.
    """
    own = {**spec.architecture.defaults(), **spec.options}
    columns = [_list_values(values) for values in options.values()]
    base = tuple(
        values.index(to_builtin(own[option])) if to_builtin(own.get(option)) in values else -1  # none of the choices
        for option, values in zip(options, columns, strict=True)
    )
    networks: dict[Point, frozenset[str]] = {}
    ops = dict(find_ops(spec))
    numbers = list(range(len(columns)))
    for changed in range(len(columns) + 1):
        if changed > 2 and len(networks) + _count_neighbors(base, columns, numbers, changed) > MAX_NETWORKS:
            numbers = [i for i in numbers if _decides(networks, i)]
        if changed > 1 and len(networks) + _count_neighbors(base, columns, numbers, changed) > MAX_NETWORKS:
            names = ", ".join(name for i, name in enumerate(options) if i in numbers)
            warnings.warn(
                f"{spec.title}: layers that exist only with certain values of {changed} or more of the options "
                f"{names} at once are not searched; their combinations are too many to trace them all",
                stacklevel=2,
            )
            break
        for point in _list_neighbors(base, columns, numbers, changed):
            values = {
                name: values[number]
                for name, values, number in zip(options, columns, point, strict=True)
                if number >= 0
            }
            try:
                found = find_ops(spec.with_overrides(values)) if values else ops
            except ValueError:
                if changed < 2:
                    raise
                continue  # values that exclude each other: such points are rejected
            networks[point] = frozenset(found)
            for name, op in found.items():
                ops.setdefault(name, op)
    return OptionalLayers(options, networks, ops)


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


def _list_neighbors(base: Point, columns: list[tuple[Any, ...]], numbers: list[int], changed: int) -> Iterator[Point]:
    """The points that differ from another in as many of some options."""
    for chosen in combinations(numbers, changed):
        for values in product(*([v for v in range(len(columns[i])) if v != base[i]] for i in chosen)):
            point = list(base)
            for i, value in zip(chosen, values, strict=True):
                point[i] = value
            yield tuple(point)


def _count_neighbors(base: Point, columns: list[tuple[Any, ...]], numbers: list[int], changed: int) -> int:
    sizes = {i: len(columns[i]) - (base[i] >= 0) for i in numbers}
    return sum(prod(sizes[i] for i in chosen) for chosen in combinations(numbers, changed))


def _decides(networks: Mapping[Point, Collection[str]], i: int) -> bool:
    """Whether an option changes which layers there are."""
    known: dict[Point, Collection[str]] = {}
    return any(known.setdefault((*point[:i], *point[i + 1 :]), layers) != layers for point, layers in networks.items())
