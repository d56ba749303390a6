"""Search spaces derived from a network: kernels, strides and padding of its first layers and its stages."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from random import Random
from typing import Any

from kcnn.architectures.architecture import Architecture
from kcnn.architectures.spec import ModelSpec, summary, to_spec
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.graph import Graph
from kcnn.graph.overrides import compile_glob
from kcnn.graph.summaries import LayerSummary
from kcnn.graph.windows import InputTooSmallError, to_pair
from kcnn.search.space.choices import Range, per_layer
from kcnn.search.space.limits import Limits
from kcnn.search.space.search_space import Space

KERNELS = (3, 5, 7)
WINDOW = ("kernel", "stride", "padding")
MAX_COST = 8  # times the network's own MACs
SAMPLES, MIN_FEASIBLE = 100, 0.3  # points, and the fraction of them that has to be feasible


@check_arguments
def default_space(network: str | Architecture | ModelSpec, *, limits: Limits | None = None) -> Space:
    """Derive a search space from a network's own layers.

    Its choices are kernel, stride and padding of the first layers with a window, the kernels that are equal within each
    stage, and the strides between stages. Values that do not fit alone are left out, and then those that rarely fit
    together, until about a third of the space is feasible. A network without windows, or of Keras code, is searched in
    its learning rate.

    Args:
        network: A name, an Architecture, or a ModelSpec.
        limits: Limits of every candidate; MACs are limited to eight times the network's own unless `max_macs` is set.

    Returns:
        The space.

    Raises:
        UnknownNameError: The network is unknown.
        ValueError: It fits no input.
    """
    spec, limits = to_spec(network), limits or Limits()
    graph = _trace_fitting(spec)
    rows = [row for row in summary(graph) if row.op is not None]
    if limits.max_macs is None:
        limits = replace(limits, max_macs=MAX_COST * sum(row.macs for row in rows))
    is_keras_code = graph.architecture is not None and graph.architecture.keras is not None  # it has no addresses
    proposed = {} if is_keras_code else {name: values for name, values in _propose(rows).items() if len(values) > 1}
    if not proposed:
        return Space(spec, {}, training={"learning_rate": Range(1e-4, 1e-2, log=True)}, limits=limits)
    space = Space(spec, proposed, limits=limits)
    fits = space.check(space.default).identity is not None
    fitting = {
        name: tuple(
            value
            for value in values
            if not fits or value == space.default[name] or space.check({**space.default, name: value}).identity
        )
        for name, values in proposed.items()
    }
    kept = {name: values for name, values in fitting.items() if len(values) > 1} or proposed
    return _prune(replace(space, choices=kept), first=next(iter(proposed)).rpartition(".")[0])


def _trace_fitting(spec: ModelSpec) -> Graph:
    """The network on this input, or on the smallest that fits: choices may make it fit this one."""
    try:
        return spec.trace_candidate()
    except InputTooSmallError:
        side = spec.min_input_size()
        if side is None:
            raise
        return replace(spec, input_shape=(side, side, spec.nominal_shape[2])).trace_candidate()


def _propose(rows: Sequence[LayerSummary]) -> dict[str, tuple[Any, ...]]:
    """Values by address, the network's own first, whether they fit or not."""
    sliding = [row for row in rows if all(hasattr(row.op, name) for name in WINDOW)]
    if not sliding:
        return {}
    stem, first = sliding[0], next((row for row in sliding if hasattr(row.op, "filters")), sliding[0])
    names = [row.name for row in sliding]
    choices: dict[str, tuple[Any, ...]] = {}
    for row in [stem] if stem is first else [first, stem]:
        choices[f"{row.name}.kernel"] = _kernels(row.op.kernel)
        choices[f"{row.name}.stride"] = _strides(row.op.stride)
        choices[f"{row.name}.padding"] = tuple(dict.fromkeys((row.op.padding, "same", "valid")))
    equal: dict[tuple[Any, ...], list[str]] = {}
    for row in sliding:
        kernel = to_pair(row.op.kernel)
        if row.name not in (stem.name, first.name) and kernel[0] == kernel[1] >= 3 and not _is_pool(row.op):
            equal.setdefault((row.stage, type(row.op), row.op.kernel), []).append(row.name)
    for (_, _, kernel), group in equal.items():
        choices[f"{_make_glob(group, names)}.kernel"] = _kernels(kernel)[:2]
    strided: dict[Any, list[str]] = {}
    for row in sliding:
        stride = to_pair(row.op.stride)
        if max(stride) > 1 and row.name not in (stem.name, first.name):
            strided.setdefault((row.stride, stride), []).append(row.name)
    for (_, stride), group in strided.items():
        choices[f"{_make_glob(group, names)}.stride"] = _strides(stride[0] if stride[0] == stride[1] else stride)
    pools = [row for row in sliding if _is_pool(row.op) and max(to_pair(row.op.stride)) > 1 and row.name != stem.name]
    for row in pools:
        choices[f"{row.name}.padding"] = tuple(dict.fromkeys((row.op.padding, "same", "valid")))
    return choices


def _is_pool(op: Any) -> bool:
    return not any(hasattr(op, name) for name in ("filters", "bias"))


def _kernels(own: Any) -> tuple[Any, ...]:
    return tuple(dict.fromkeys((own, *KERNELS)))


def _strides(own: Any) -> tuple[Any, ...]:
    rows, columns = to_pair(own)
    other: Any = 2 if (rows, columns) == (1, 1) else max(1, rows // 2)
    return (own, other) if rows == columns else (own,)


def _make_glob(group: Sequence[str], names: Sequence[str]) -> str:
    """The shortest glob that matches only these of the layers with windows, or their names in braces."""
    columns = list(zip(*(name.split("_") for name in group), strict=False))
    if len({len(name.split("_")) for name in group}) == 1:
        for most in (1, 2, len(group)):  # of different parts of a name in braces; more become a star
            glob = "_".join(_merge(parts, most) for parts in columns)
            matches = compile_glob(glob)
            if [name for name in names if matches(name)] == list(group):
                return glob
    return "{" + ",".join(group) + "}"


def _merge(parts: Sequence[str], most: int) -> str:
    unique = list(dict.fromkeys(parts))
    if len(unique) == 1:
        return unique[0]
    common = takewhile(lambda letters: len(set(letters)) == 1, zip(*unique, strict=False))
    return "".join(letters[0] for letters in common) + "*" if len(unique) > most else "{" + ",".join(unique) + "}"


def _prune(space: Space, first: str) -> Space:
    """The space without the values that are rejected most, until enough of it is feasible; the first layer's last."""
    while True:
        random = Random("default space")
        points = [space.sample_point(random) for _ in range(SAMPLES)]
        feasible = [space.check(point).identity is not None for point in points]
        if sum(feasible) >= MIN_FEASIBLE * SAMPLES:
            return space
        worst = _find_worst(space, points, feasible, first)
        if worst is None:
            return space
        name, value = worst
        choices = {
            choice: tuple(other for other in values if choice != name or other != value)
            for choice, values in space.choices.items()
        }
        space = replace(space, choices={choice: values for choice, values in choices.items() if len(values) > 1})


def _find_worst(
    space: Space, points: Sequence[Mapping[str, Any]], feasible: Sequence[bool], first: str
) -> tuple[str, Any] | None:
    """The value whose points are rarest feasible; at least one other value of kernel, stride and padding remains."""
    count = {attribute: sum(name.endswith(f".{attribute}") for name in space.choices) for attribute in WINDOW}
    ranking: list[tuple[bool, float, str, Any]] = []
    for name, values in space.choices.items():
        attribute = name.rpartition(".")[2]
        if len(values) == 2 and count.get(attribute) == 1:
            continue
        for value in values:
            if value != space.default[name]:
                own = [ok for point, ok in zip(points, feasible, strict=True) if point[name] == value]
                ranking.append((name.startswith(f"{first}."), sum(own) / max(1, len(own)), name, value))
    if not ranking:
        return None
    *_, name, value = min(ranking, key=lambda entry: entry[:2])
    return name, value


@check_arguments
def stack_space(
    network: str | ModelSpec = "stack",
    *,
    depth: tuple[int, ...] = (2, 3, 4),
    filters: tuple[int, ...] = (16, 32),
    limits: Limits | None = None,
) -> Space:
    """Return a search space of plain convolutional networks of any depth.

    Args:
        network: "stack", or a ModelSpec of it with classes and input_shape.
        depth: Numbers of convolutions.
        filters: Filters of the first convolution.
        limits: Limits of every candidate.

    Returns:
        The space, with kernel, stride, padding and pooling of each convolution.
    """
    return Space(
        network,
        {
            "depth": depth,
            "filters": filters,
            "conv?.kernel": per_layer(*KERNELS),
            "conv?.stride": per_layer(1, 2),
            "conv?.padding": per_layer("same", "valid"),
            "pool?.mode": per_layer("max", "average"),
            "pool?.stride": per_layer(2, 1),
        },
        limits=limits or Limits(),
    )
