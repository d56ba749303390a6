"""Sketches measured, layer by layer: costs, receptive fields, stages. Integers only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kcnn import arithmetic
from kcnn.arithmetic import WHOLE, Pair, Shape, Window
from kcnn.sketch import Sketch, nearest, walk


@dataclass(frozen=True, slots=True)
class Row:
    """One layer, measured. Pairs are (rows, columns) in pixels of the network's input."""

    name: str
    op: Any
    shape: Shape  # of the output, without the batch
    params: int  # trainable
    state: int  # not trained: moving statistics
    macs: int  # multiply-accumulates for one image
    field: Pair  # the receptive field of one output position
    stride: Pair  # between the fields of neighbouring output positions
    offset: Pair  # where the first position's field begins; negative in the padding

    @property
    def stage(self) -> int:
        """k where the output stride is 2**k."""
        return max(self.stride).bit_length() - 1


@dataclass(frozen=True)
class Measurement:
    """A row per layer, inputs first; totals; a row by its layer's name."""

    rows: tuple[Row, ...]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: str | int) -> Row:
        if isinstance(key, int):
            return self.rows[key]
        for row in self.rows:
            if row.name == key:
                return row
        raise KeyError(f"no layer {key!r}; the nearest are {', '.join(nearest(key, [r.name for r in self.rows]))}")

    @property
    def params(self) -> int:
        """Trainable numbers."""
        return sum(row.params for row in self.rows)

    @property
    def state(self) -> int:
        """Numbers that move in training but are not trained."""
        return sum(row.state for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return sum(row.macs for row in self.rows)

    @property
    def features(self) -> Row:
        """The last layer that has rows and columns; its field is the network's."""
        return [row for row in self.rows if len(row.shape) == 3][-1]

    @property
    def field(self) -> Pair:
        """The receptive field of the features, in pixels."""
        return self.features.field

    @property
    def stride(self) -> Pair:
        """The stride of the features, in pixels."""
        return self.features.stride


def measured(*ends: Sketch) -> Measurement:
    """A row per layer of all that leads to some sketches."""
    rows: dict[int, Row] = {}
    for x in walk(*ends):
        if x.op is None:
            rows[id(x)] = Row(x.name, None, x.shape, 0, 0, 0, (1, 1), (1, 1), (0, 0))
            continue
        sources = [rows[id(source)] for source in x.inputs]
        shapes = [source.shape for source in sources]
        seen = _seen(arithmetic.window(x.op, *shapes), sources)
        rows[id(x)] = Row(
            x.name,
            x.op,
            x.shape,
            arithmetic.params(x.op, *shapes),
            arithmetic.state(x.op, *shapes),
            arithmetic.macs(x.op, *shapes, out=x.shape),
            *seen,
        )
    return Measurement(tuple(rows.values()))


def stages(end: Sketch) -> dict[int, Sketch]:
    """For each k, the last tensor of stride 2**k that all that follows it goes through."""
    order = walk(end)
    place = {id(x): i for i, x in enumerate(order)}
    last_use = [0] * len(order)
    for i, x in enumerate(order):
        for source in x.inputs:
            last_use[place[id(source)]] = i
    found, open_until = {}, 0
    for i, (x, row) in enumerate(zip(order, measured(end), strict=True)):
        if open_until <= i and len(x.shape) == 3:
            found[row.stage] = x
        open_until = max(open_until, last_use[i])
    return found


def _seen(window: Window | str | None, sources: Sequence[Row]) -> tuple[Pair, Pair, Pair]:
    """Receptive field, stride and offset behind a layer that sees its sources through `window`."""
    first = sources[0]
    size, stride, offset = first.field, first.stride, first.offset
    if len(sources) > 1:
        offset = tuple(min(s.offset[axis] for s in sources) for axis in (0, 1))  # type: ignore[assignment]
        size = tuple(max(s.offset[axis] + s.field[axis] for s in sources) - offset[axis] for axis in (0, 1))  # type: ignore[assignment]
    if window is None:
        return size, stride, offset
    if window == WHOLE:
        if len(first.shape) != 3:
            return size, stride, offset
        rows, columns = (size[axis] + (first.shape[axis] - 1) * stride[axis] for axis in (0, 1))
        return (rows, columns), stride, offset
    kernel, step, before = window.kernel, window.stride, window.before  # type: ignore[union-attr]
    return (
        (size[0] + (kernel[0] - 1) * stride[0], size[1] + (kernel[1] - 1) * stride[1]),
        (stride[0] * step[0], stride[1] * step[1]),
        (offset[0] - before[0] * stride[0], offset[1] - before[1] * stride[1]),
    )
