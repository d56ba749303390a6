"""Search spaces derived from a network: its widths, and kernels, strides and padding of its first layers and stages."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from kcnn.architectures.architecture import Architecture
from kcnn.architectures.spec import ModelSpec, summary, to_spec
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.graph import Graph
from kcnn.graph.ops import Conv
from kcnn.graph.summaries import LayerSummary
from kcnn.graph.windows import InputTooSmallError, to_pair
from kcnn.search.space.choices import Range, per_layer
from kcnn.search.space.globs import find_globs
from kcnn.search.space.limits import Limits
from kcnn.search.space.search_space import Space

KERNELS = (3, 5, 7)
WINDOW = ("kernel", "stride", "padding")
WIDTHS = ("width", "widths", "filters", "channels", "growth")  # options that scale the channels of a network
FACTORS = (0.5, 0.75, 1.25)  # of a width
MAX_COST = 3  # times the network's own MACs, and parameters
SMALL_MACS, SMALL_PARAMS = 3_000_000, 1_000_000  # the least limits: any machine trains that much
SAMPLES, MIN_FEASIBLE = 100, 0.3  # points, and the fraction of them that has to be feasible
LEARNING_RATE = 1e-3  # of the recipe "quick"


@check_arguments
def default_space(
    network: str | Architecture | ModelSpec, *, limits: Limits | None = None, learning_rate: float = LEARNING_RATE
) -> Space:
    """Derive a search space from a network's own layers.

    Its choices are the width, where the network has such an option; kernel, stride and padding of the first layers
    with a window; the kernels that are equal within each stage; the strides between stages; and the learning rate.
    Values that do not fit alone, or that compute what another value does, are left out, and then those that rarely fit
    together, until about a third of the space is feasible. A network without windows, or of Keras code, is searched in
    its learning rate alone.

    Args:
        network: A name, an Architecture, or a ModelSpec.
        limits: Limits of every candidate; MACs and parameters are limited to three times the network's own, at least 3
            million and 1 million, unless `max_macs` and `max_params` are set.
        learning_rate: That of the recipe; rates from a tenth of it to ten times as much are searched.

    Returns:
        The space.

    Raises:
        UnknownNameError: The network is unknown.
        ValueError: It fits no input.
    """
    spec, limits = to_spec(network), limits or Limits()
    graph = _trace_fitting(spec)
    costs = summary(graph)
    if limits.max_macs is None:
        limits = replace(limits, max_macs=max(SMALL_MACS, MAX_COST * costs.macs))
    if limits.max_params is None:
        limits = replace(limits, max_params=max(SMALL_PARAMS, MAX_COST * costs.params))
    is_keras_code = graph.architecture is not None and graph.architecture.keras is not None  # it has no addresses
    windows = {} if is_keras_code else _propose([row for row in costs if row.op is not None])
    training = _propose_training(learning_rate)
    if not windows:
        return Space(spec, {}, training=training, limits=limits)
    proposed = {**_propose_widths(spec, graph.input.shape), **windows}
    space = Space(spec, proposed, training=training, limits=limits)
    if space.has_default:
        space = replace(space, choices=_drop_useless(space) or proposed)
    return _prune(space, first=next(iter(windows)).rpartition(".")[0])


def _propose_training(learning_rate: float) -> dict[str, Range]:
    return {"learning_rate": Range(learning_rate / 10, learning_rate * 10, log=True)}


def _trace_fitting(spec: ModelSpec) -> Graph:
    """The network on this input, or on the smallest that fits: choices may make it fit this one."""
    try:
        return spec.trace_candidate()
    except InputTooSmallError:
        side = spec.min_input_size()
        if side is None:
            raise
        return replace(spec, input_shape=(side, side, spec.nominal_shape[2])).trace_candidate()


def _propose_widths(spec: ModelSpec, input_shape: tuple[int, ...]) -> dict[str, tuple[Any, ...]]:
    """Values of the options that scale the channels, the network's own first; only those that can be built."""
    options = {**spec.architecture.defaults(), **spec.options}
    widths = {}
    for option in WIDTHS:
        values = []
        for value in _scale_width(options.get(option)):
            try:
                replace(spec.with_overrides({option: value}), input_shape=input_shape).trace_candidate()
            except ValueError:  # such as groups that do not divide the channels
                continue
            values.append(value)
        if len(values) > 1:
            widths[option] = tuple(values)
    return widths


def _scale_width(own: Any) -> Iterator[Any]:
    """A width and its multiples; channels in eights. Numbers below eight are factors of channels."""
    values = own if isinstance(own, tuple) else (own,)
    if not values or not all(type(value) in (int, float) for value in values):
        return
    yield own
    for factor in FACTORS:
        scaled = tuple(
            round(value * factor, 4) if type(value) is float or value < 8 else 8 * round(value * factor / 8)
            for value in values
        )
        if all(scaled) and scaled != values:
            yield scaled if isinstance(own, tuple) else scaled[0]


def _drop_useless(space: Space) -> dict[str, tuple[Any, ...]]:
    """The choices without the values that do not fit alone, or that compute what the network or another value does."""
    useful = {}
    for name, values in space.choices.items():
        networks = {space.check({**space.default, name: value}).identity: value for value in reversed(values)}
        networks.pop(None, None)
        if len(networks) > 1:
            useful[name] = tuple(value for value in values if value in networks.values())
    return useful


def _propose(rows: Sequence[LayerSummary]) -> dict[str, tuple[Any, ...]]:
    """Values by address, the network's own first, whether they fit or not."""
    sliding = [row for row in rows if all(hasattr(row.op, name) for name in WINDOW)]
    if not sliding:
        return {}
    stem, first = sliding[0], next((row for row in sliding if hasattr(row.op, "filters")), sliding[0])
    names = [row.name for row in sliding]
    choices: dict[str, tuple[Any, ...]] = {}
    for row in [stem] if stem is first else [first, stem]:
        choices[f"{row.name}.kernel"] = tuple(dict.fromkeys((row.op.kernel, *KERNELS)))
        choices[f"{row.name}.stride"] = _propose_strides(row.op.stride, larger=True)
        choices[f"{row.name}.padding"] = tuple(dict.fromkeys((row.op.padding, "same", "valid")))
    equal: dict[tuple[Any, ...], list[LayerSummary]] = {}
    strided: dict[Any, list[str]] = {}
    for row in sliding:
        if row.name in (stem.name, first.name):
            continue
        kernel, stride = to_pair(row.op.kernel), to_pair(row.op.stride)
        if kernel[0] == kernel[1] >= 3 and not _is_pool(row.op):
            equal.setdefault((row.stage, type(row.op), row.op.kernel), []).append(row)
        if max(stride) > 1:
            strided.setdefault((row.stride, stride), []).append(row.name)
    for (_, _, kernel), group in equal.items():
        for glob, members in find_globs([row.name for row in group], names).items():
            layers = [row for row in group if row.name in members]
            choices[f"{glob}.kernel"] = _propose_kernels(kernel, layers)
    for (_, stride), members in strided.items():
        for glob in find_globs(members, names):
            choices[f"{glob}.stride"] = _propose_strides(stride[0] if stride[0] == stride[1] else stride)
    pools = [row for row in sliding if _is_pool(row.op) and max(to_pair(row.op.stride)) > 1 and row.name != stem.name]
    for row in pools:
        choices[f"{row.name}.padding"] = tuple(dict.fromkeys((row.op.padding, "same", "valid")))
    return {name: values for name, values in choices.items() if len(values) > 1}


def _propose_kernels(own: Any, layers: Sequence[LayerSummary]) -> tuple[Any, ...]:
    """A kernel and its neighbors; of 1 only where every channel and pixel still takes part."""
    size = to_pair(own)[0]
    is_dense = all(type(row.op) is Conv and row.op.groups == 1 and row.op.stride in (1, (1, 1)) for row in layers)
    smaller = size - 2 if size > 3 or is_dense else None
    return tuple(value for value in (own, smaller, size + 2 if size < max(KERNELS) else None) if value is not None)


def _propose_strides(own: Any, larger: bool = False) -> tuple[Any, ...]:
    """A stride and its half; also the double of the first layer's, the cheapest change of a whole network."""
    rows, columns = to_pair(own)
    if rows != columns:
        return (own,)
    return tuple(dict.fromkeys((own, max(1, rows // 2), *((2 * rows,) if larger else ()))))


def _is_pool(op: Any) -> bool:
    return not any(hasattr(op, name) for name in ("filters", "bias"))


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
    learning_rate: float = LEARNING_RATE,
) -> Space:
    """Return a search space of plain convolutional networks of any depth.

    Args:
        network: "stack", or a ModelSpec of it with classes and input_shape.
        depth: Numbers of convolutions.
        filters: Filters of the first convolution.
        limits: Limits of every candidate.
        learning_rate: As of `default_space`.

    Returns:
        The space, with kernel, stride, padding and pooling of each convolution, and the learning rate.
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
        training=_propose_training(learning_rate),
        limits=limits or Limits(),
    )
