"""A space for any network, from its drawing: kernels, strides and paddings of its first layers and its stages."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from random import Random
from typing import Any

from kcnn.architectures.architecture import Architecture
from kcnn.architectures.spec import ModelSpec, summary
from kcnn.graph.graph import Graph
from kcnn.graph.overrides import compile_glob
from kcnn.graph.shape_inference import InputTooSmallError, to_pair
from kcnn.graph.summaries import LayerSummary
from kcnn.search.space.choices import Range, per_layer
from kcnn.search.space.search_space import Space

KERNELS = (3, 5, 7)  # the lecture's
WINDOW = ("kernel", "stride", "padding")
DEARER = 8  # times the network's own MACs, at most
SAMPLES, SHARE = 100, 0.3  # of so many points this share is to be feasible


def default_space(
    network: str | Architecture,
    *,
    classes: int | None = None,
    input_shape: tuple[int, int, int] | None = None,
    options: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    **limits: Any,
) -> Space:
    """What is worth trying in a network: of its first layers with a window kernel, stride and padding, of each stage
    the kernels that are alike, and the strides between stages.

    Values that fit by themselves are kept; those that most often do not beside others are left out until about a
    third of the space or more is feasible. Networks of more than eight times the network's own MACs are not,
    unless `max_macs` is given. A network without windows, or of Keras code alone, is searched in its learning rate.
    """
    asked: dict[str, Any] = {
        "classes": classes,
        "input_shape": input_shape,
        "options": options or {},
        "overrides": overrides or {},
    }
    drawn = _fitting(network, classes, input_shape, asked["overrides"], asked["options"])
    rows = [row for row in summary(drawn) if row.op is not None]
    limits.setdefault("max_macs", DEARER * sum(row.macs for row in rows))
    own_code = drawn.architecture is not None and drawn.architecture.keras is not None  # which no address reaches
    wanted = {} if own_code else {address: values for address, values in _wanted(rows).items() if len(values) > 1}
    if not wanted:
        return Space(network, {}, training={"learning_rate": Range(1e-4, 1e-2, log=True)}, **asked, **limits)
    space = Space(network, wanted, **asked, **limits)
    own = space.judge(space.default).identity is not None
    fitting = {
        name: tuple(
            value
            for value in values
            if not own or value == space.default[name] or space.judge({**space.default, name: value}).identity
        )
        for name, values in wanted.items()
    }
    kept = {name: values for name, values in fitting.items() if len(values) > 1} or wanted  # a survey tells why not
    return _pruned(replace(space, choices=kept), first=next(iter(wanted)).rpartition(".")[0])


def _fitting(network: Any, classes: Any, shape: Any, changes: Mapping[str, Any], options: Mapping[str, Any]) -> Graph:
    """The network on this input, or on the smallest that it fits: what is chosen may make it fit this one."""
    spec = ModelSpec(network=network, classes=classes, input_shape=shape, overrides=changes, options=options)
    try:
        return spec.trace_candidate()
    except InputTooSmallError:
        side = spec.min_input_size()
        if side is None:
            raise
        return replace(spec, input_shape=(side, side, shape[2])).trace_candidate()


def _wanted(rows: Sequence[LayerSummary]) -> dict[str, tuple[Any, ...]]:
    """Values by address, the network's own first; whether they fit is not asked yet."""
    sliding = [row for row in rows if all(hasattr(row.op, name) for name in WINDOW)]
    if not sliding:
        return {}
    stem, first = sliding[0], next((row for row in sliding if hasattr(row.op, "filters")), sliding[0])
    names = [row.name for row in sliding]
    found: dict[str, tuple[Any, ...]] = {}
    for row in [stem] if stem is first else [first, stem]:
        found[f"{row.name}.kernel"] = _kernels(row.op.kernel)
        found[f"{row.name}.stride"] = _strides(row.op.stride)
        found[f"{row.name}.padding"] = tuple(dict.fromkeys((row.op.padding, "same", "valid")))
    alike: dict[tuple[Any, ...], list[str]] = {}
    for row in sliding:
        sides = to_pair(row.op.kernel)
        if row.name not in (stem.name, first.name) and sides[0] == sides[1] >= 3 and not _pool(row.op):
            alike.setdefault((row.stage, type(row.op), row.op.kernel), []).append(row.name)
    for (_, _, kernel), group in alike.items():
        found[f"{_address(group, names)}.kernel"] = _kernels(kernel)[:2]
    strided: dict[Any, list[str]] = {}
    for row in sliding:
        own = to_pair(row.op.stride)
        if max(own) > 1 and row.name not in (stem.name, first.name):
            strided.setdefault((row.stride, own), []).append(row.name)
    for (_, own), group in strided.items():
        op_stride = own[0] if own[0] == own[1] else own
        found[f"{_address(group, names)}.stride"] = _strides(op_stride)
    pools = [row for row in sliding if _pool(row.op) and max(to_pair(row.op.stride)) > 1 and row.name != stem.name]
    for row in pools:
        found[f"{row.name}.padding"] = tuple(dict.fromkeys((row.op.padding, "same", "valid")))
    return found


def _pool(op: Any) -> bool:
    return not any(hasattr(op, name) for name in ("filters", "bias"))


def _kernels(own: Any) -> tuple[Any, ...]:
    return tuple(dict.fromkeys((own, *KERNELS)))


def _strides(own: Any) -> tuple[Any, ...]:
    rows, columns = to_pair(own)
    other: Any = 2 if (rows, columns) == (1, 1) else max(1, rows // 2)
    return (own, other) if rows == columns else (own,)


def _address(group: Sequence[str], names: Sequence[str]) -> str:
    """The shortest glob that fits just these of the layers with windows, or their names in braces."""
    columns = list(zip(*(name.split("_") for name in group), strict=False))
    if len({len(name.split("_")) for name in group}) == 1:
        for most in (1, 2, len(group)):  # words of a place that are named one by one, where there are no more
            glob = "_".join(_word(words, most) for words in columns)
            fits = compile_glob(glob)
            if [name for name in names if fits(name)] == list(group):
                return glob
    return "{" + ",".join(group) + "}"


def _word(words: Sequence[str], most: int) -> str:
    known = list(dict.fromkeys(words))
    if len(known) == 1:
        return known[0]
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*known, strict=False))
    return "".join(letters[0] for letters in alike) + "*" if len(known) > most else "{" + ",".join(known) + "}"


def _pruned(space: Space, first: str) -> Space:
    """The space without the values that are refused most, until enough of it is feasible; the first layer's go last."""
    while True:
        random = Random("default space")
        points = [space.pick(random) for _ in range(SAMPLES)]
        good = [space.judge(point).identity is not None for point in points]
        if sum(good) >= SHARE * SAMPLES:
            return space
        worst = _worst(space, points, good, first)
        if worst is None:
            return space
        name, value = worst
        choices = {
            choice: tuple(one for one in values if choice != name or one != value)
            for choice, values in space.choices.items()
        }
        space = replace(space, choices={choice: values for choice, values in choices.items() if len(values) > 1})


def _worst(
    space: Space, points: Sequence[Mapping[str, Any]], good: Sequence[bool], first: str
) -> tuple[str, Any] | None:
    """The value whose points are least often feasible; the last other value of kernel, stride or padding stays."""
    left = {field: sum(name.endswith(f".{field}") for name in space.choices) for field in WINDOW}
    found: list[tuple[bool, float, str, Any]] = []
    for name, values in space.choices.items():
        field = name.rpartition(".")[2]
        if len(values) == 2 and left.get(field) == 1:
            continue
        for value in values:
            if value != space.default[name]:
                mine = [ok for point, ok in zip(points, good, strict=True) if point[name] == value]
                found.append((name.startswith(f"{first}."), sum(mine) / max(1, len(mine)), name, value))
    if not found:
        return None
    *_, name, value = min(found, key=lambda one: one[:2])
    return name, value


def stack_space(
    *,
    depth: tuple[int, ...] = (2, 3, 4),
    filters: tuple[int, ...] = (16, 32),
    classes: int | None = None,
    input_shape: tuple[int, int, int] | None = None,
    **limits: Any,
) -> Space:
    """A network from nothing: how many convolutions, and of each its kernel, stride, padding and pooling."""
    return Space(
        "stack",
        {
            "depth": depth,
            "filters": filters,
            "conv?.kernel": per_layer(*KERNELS),
            "conv?.stride": per_layer(1, 2),
            "conv?.padding": per_layer("same", "valid"),
            "pool?.mode": per_layer("max", "average"),
            "pool?.stride": per_layer(2, 1),
        },
        classes=classes,
        input_shape=input_shape,
        **limits,
    )
