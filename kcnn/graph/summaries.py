"""Sketches measured, layer by layer: costs, receptive fields, stages. Integers only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kcnn.graph import shape_inference
from kcnn.graph.names import unknown
from kcnn.graph.shape_inference import WHOLE_INPUT, Pair, Shape, Window
from kcnn.graph.tracing import SymbolicTensor, topological_order


@dataclass(frozen=True, slots=True)
class LayerSummary:
    """One layer, measured. Pairs are (rows, columns) in pixels of the network's input."""

    name: str
    op: Any
    shape: Shape  # of the output, without the batch
    params: int  # trainable
    non_trainable_params: int  # not trained: moving statistics
    macs: int  # multiply-accumulates for one image
    receptive_field: Pair  # the receptive field of one output position
    stride: Pair  # between the fields of neighbouring output positions
    offset: Pair  # where the first position's field begins; negative in the padding

    @property
    def stage(self) -> int:
        """k where the output stride is 2**k."""
        return max(self.stride).bit_length() - 1


@dataclass(frozen=True)
class Summary:
    """A row per layer, inputs first; totals; a row by its layer's name."""

    layers: tuple[LayerSummary, ...]
    title: str = ""

    def __iter__(self) -> Iterator[LayerSummary]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, key: str | int) -> LayerSummary:
        if isinstance(key, int):
            return self.layers[key]
        for row in self.layers:
            if row.name == key:
                return row
        raise unknown("layer", key, [layer.name for layer in self.layers], self.title)

    @property
    def params(self) -> int:
        """Trainable numbers."""
        return sum(row.params for row in self.layers)

    @property
    def non_trainable_params(self) -> int:
        """Numbers that move in training but are not trained."""
        return sum(row.non_trainable_params for row in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return sum(row.macs for row in self.layers)

    @property
    def features(self) -> LayerSummary:
        """The last layer that has rows and columns; its field is the network's."""
        return [row for row in self.layers if len(row.shape) == 3][-1]

    @property
    def receptive_field(self) -> Pair:
        """The receptive field of the features, in pixels."""
        return self.features.receptive_field

    @property
    def stride(self) -> Pair:
        """The stride of the features, in pixels."""
        return self.features.stride


def summarize(*ends: SymbolicTensor, title: str = "") -> Summary:
    """A row per layer of all that leads to some sketches."""
    rows: dict[int, LayerSummary] = {}
    for x in topological_order(*ends):
        if x.op is None:
            rows[id(x)] = LayerSummary(x.name, None, x.shape, 0, 0, 0, (1, 1), (1, 1), (0, 0))
            continue
        sources = [rows[id(source)] for source in x.inputs]
        shapes = [source.shape for source in sources]
        seen = _seen(shape_inference.input_window(x.op, *shapes), sources)
        rows[id(x)] = LayerSummary(
            x.name,
            x.op,
            x.shape,
            shape_inference.count_params(x.op, *shapes),
            shape_inference.count_non_trainable_params(x.op, *shapes),
            shape_inference.count_macs(x.op, *shapes, out=x.shape),
            *seen,
        )
    return Summary(tuple(rows.values()), title)


def stage_outputs(end: SymbolicTensor) -> dict[int, SymbolicTensor]:
    """For each k, the last tensor of stride 2**k that all that follows it goes through."""
    order = topological_order(end)
    place = {id(x): i for i, x in enumerate(order)}
    last_use = [0] * len(order)
    for i, x in enumerate(order):
        for source in x.inputs:
            last_use[place[id(source)]] = i
    found, open_until = {}, 0
    for i, (x, row) in enumerate(zip(order, summarize(end), strict=True)):
        if open_until <= i and len(x.shape) == 3:
            found[row.stage] = x
        open_until = max(open_until, last_use[i])
    return found


def _seen(window: Window | str | None, sources: Sequence[LayerSummary]) -> tuple[Pair, Pair, Pair]:
    """Receptive field, stride and offset behind a layer that sees its sources through `window`."""
    first = sources[0]
    size, stride, offset = first.receptive_field, first.stride, first.offset
    if len(sources) > 1:
        offset = tuple(min(s.offset[axis] for s in sources) for axis in (0, 1))  # type: ignore[assignment]
        size = tuple(max(s.offset[axis] + s.receptive_field[axis] for s in sources) - offset[axis] for axis in (0, 1))  # type: ignore[assignment]
    if window is None:
        return size, stride, offset
    if window == WHOLE_INPUT:
        if len(first.shape) != 3:
            return size, stride, offset
        rows, columns = (size[axis] + (first.shape[axis] - 1) * stride[axis] for axis in (0, 1))
        return (rows, columns), stride, offset
    kernel, step, before = window.kernel, window.stride, window.pad_before  # type: ignore[union-attr]
    return (
        (size[0] + (kernel[0] - 1) * stride[0], size[1] + (kernel[1] - 1) * stride[1]),
        (stride[0] * step[0], stride[1] * step[1]),
        (offset[0] - before[0] * stride[0], offset[1] - before[1] * stride[1]),
    )
