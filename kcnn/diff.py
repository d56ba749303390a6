"""How two networks differ on paper, layer by layer, and what that does to the whole."""

from dataclasses import dataclass, fields
from typing import Any

from kcnn.arithmetic import Pair, margins, pair, reach
from kcnn.drawing import Drawing, Row, draw, measure
from kcnn.sketch import Sketch, walk


@dataclass(frozen=True)
class LayerDifference:
    """One layer that is not alike; `before` or `after` is None where a network has no layer of the name."""

    name: str
    before: Row | None
    after: Row | None
    fields: dict[str, tuple[Any, Any]]  # of the op, and "op", "shape" or "inputs" where those differ

    def __str__(self) -> str:
        if self.before is None or self.after is None:
            row = self.before or self.after
            assert row is not None
            return f"{'-' if self.after is None else '+'} {self.name}: {row.op} -> {row.shape}"
        return f"~ {self.name}: " + ", ".join(f"{k} {a} -> {b}" for k, (a, b) in self.fields.items())


@dataclass(frozen=True)
class Difference:
    """What sets two networks apart; pairs are (first, second)."""

    layers: tuple[LayerDifference, ...]
    params: tuple[int, int]
    state: tuple[int, int]
    macs: tuple[int, int]
    field: tuple[Pair, Pair]

    def __bool__(self) -> bool:
        return bool(self.layers)

    def __str__(self) -> str:
        if not self.layers:
            return "the same, layer by layer"
        totals = (
            f"parameters {self.params[0]:,} -> {self.params[1]:,} ({self.params[1] - self.params[0]:+,}), "
            f"MACs {self.macs[0]:,} -> {self.macs[1]:,} ({self.macs[1] - self.macs[0]:+,}), "
            f"receptive field {self.field[0]} -> {self.field[1]}"
        )
        return "\n".join([*map(str, self.layers), totals])


def diff(a: str | Drawing | Sketch, b: str | Drawing | Sketch) -> Difference:
    """What makes `b` of `a`: layers that went, came or changed, by name, and the totals before and after."""
    first, second = _drawn(a), _drawn(b)
    before, after = measure(first), measure(second)
    old, new = ({row.name: row for row in m} for m in (before, after))
    wires, rewired = _inputs(first), _inputs(second)
    layers = []
    for name in [*old, *(name for name in new if name not in old)]:
        if name in old and name in new:
            changed = _fields(old[name], new[name])
            if wires[name] != rewired[name]:
                changed["inputs"] = (wires[name], rewired[name])
            if changed:
                layers.append(LayerDifference(name, old[name], new[name], changed))
        else:
            layers.append(LayerDifference(name, old.get(name), new.get(name), {}))
    return Difference(
        layers=tuple(layers),
        params=(before.params, after.params),
        state=(before.state, after.state),
        macs=(before.macs, after.macs),
        field=(before.field, after.field),
    )


def _fields(old: Row, new: Row) -> dict[str, tuple[Any, Any]]:
    changed: dict[str, tuple[Any, Any]] = {}
    if type(old.op) is not type(new.op):
        changed["op"] = (type(old.op).__name__, type(new.op).__name__)
    elif old.op is not None:
        for one in fields(old.op):
            values = getattr(old.op, one.name), getattr(new.op, one.name)
            if values[0] != values[1] and not (one.name == "padding" and _margin(old.op) == _margin(new.op)):
                changed[one.name] = values
    if old.shape != new.shape:
        changed["shape"] = (old.shape, new.shape)
    return changed


def _margin(op: Any) -> Any:
    """A padding as it acts at every size of image, however it is written."""
    if op.padding in ("same", "valid"):
        return op.padding
    size, stride, dilation = (pair(getattr(op, name, 1)) for name in ("kernel", "stride", "dilation"))
    kernel = tuple(map(reach, size, dilation))
    sides = tuple(margins(0, kernel[axis], stride[axis], op.padding, axis) for axis in (0, 1))
    same = stride == (1, 1) and all(side == (k // 2, k // 2) and k % 2 for side, k in zip(sides, kernel, strict=True))
    return "same" if same else "valid" if sides == ((0, 0), (0, 0)) else sides


def _drawn(network: str | Drawing | Sketch) -> Drawing | Sketch:
    return draw(network) if isinstance(network, str) else network


def _inputs(network: Drawing | Sketch) -> dict[str, tuple[str, ...]]:
    """The names of the layers that each layer stands on."""
    ends = tuple(network.ends.values()) if isinstance(network, Drawing) else (network,)
    return {x.name: tuple(source.name for source in x.inputs) for x in walk(*ends)}
