"""How two networks differ on paper, layer by layer, and what that does to the whole."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import takewhile
from typing import Any

from kcnn.architectures.spec import summary, trace
from kcnn.graph.graph import Graph
from kcnn.graph.shape_inference import Pair, Shape, count_params, dilated_size, padding_amounts, to_pair
from kcnn.graph.summaries import LayerSummary
from kcnn.graph.tracing import SymbolicTensor, topological_order


@dataclass(frozen=True)
class LayerDifference:
    """One layer that is not alike; `before` or `after` is None where a network has no layer of the name."""

    name: str
    before: LayerSummary | None
    after: LayerSummary | None
    fields: dict[str, tuple[Any, Any]]  # of the op, and "op", "shape" or "inputs" where those differ

    def __str__(self) -> str:
        if self.before is None or self.after is None:
            row = self.before or self.after
            assert row is not None
            return f"{'-' if self.after is None else '+'} {self.name}: {row.op} -> {row.shape}"
        return f"~ {self.name}: " + ", ".join(f"{k} {a} -> {b}" for k, (a, b) in self.fields.items())


@dataclass(frozen=True)
class LayerGroup:
    """One and the same difference of several layers."""

    sign: str  # "~" changed, "+" came, "-" went
    layers: tuple[str, ...]
    what: str
    params: int  # what it makes more or fewer, trained numbers

    def __str__(self) -> str:
        count = f" in {len(self.layers)} layers" if len(self.layers) > 1 else ""
        weighs = f", {_weight(self.params)}" if self.params else ""
        return f"{self.sign} {join_names(self.layers)}: {self.what}{count}{weighs}"


@dataclass(frozen=True)
class GraphDiff:
    """What sets two networks apart; pairs are (first, second)."""

    layers: tuple[LayerDifference, ...]
    groups: tuple[LayerGroup, ...]  # the same, those alike together, most weights first; without what only follows
    params: tuple[int, int]
    non_trainable_params: tuple[int, int]
    macs: tuple[int, int]
    receptive_field: tuple[Pair, Pair]

    def __bool__(self) -> bool:
        return bool(self.layers)

    def __str__(self) -> str:
        return self._said(self.layers)

    @property
    def text(self) -> str:
        """A line for each kind of difference, and the totals."""
        rest = self.params[1] - self.params[0] - sum(group.params for group in self.groups)
        follows = [f"  what follows from these: {_weight(rest)}"] if rest else []
        return self._said([*self.groups, *follows])

    def _said(self, differences: Sequence[Any]) -> str:
        if not self.layers:
            return "the same, layer by layer"
        before, after = (_side(pair) for pair in self.receptive_field)
        totals = (
            f"parameters {self.params[0]:,} -> {self.params[1]:,} ({self.params[1] - self.params[0]:+,}), "
            f"MACs {self.macs[0]:,} -> {self.macs[1]:,} ({self.macs[1] - self.macs[0]:+,}), "
            f"receptive field {before} -> {after}"
        )
        return "\n".join([*map(str, differences), totals])


def diff(a: str | Graph | SymbolicTensor, b: str | Graph | SymbolicTensor) -> GraphDiff:
    """What makes `b` of `a`: layers that went, came or changed, by name, and the totals before and after."""
    first, second = _drawn(a), _drawn(b)
    before, after = summary(first), summary(second)
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
    return GraphDiff(
        layers=tuple(layers),
        groups=_groups(layers, _sources(first)),
        params=(before.params, after.params),
        non_trainable_params=(before.non_trainable_params, after.non_trainable_params),
        macs=(before.macs, after.macs),
        receptive_field=(before.receptive_field, after.receptive_field),
    )


def _fields(old: LayerSummary, new: LayerSummary) -> dict[str, tuple[Any, Any]]:
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
    size, stride, dilation = (to_pair(getattr(op, name, 1)) for name in ("kernel", "stride", "dilation"))
    kernel = tuple(map(dilated_size, size, dilation))
    sides = tuple(padding_amounts(0, kernel[axis], stride[axis], op.padding, axis) for axis in (0, 1))
    same = stride == (1, 1) and all(side == (k // 2, k // 2) and k % 2 for side, k in zip(sides, kernel, strict=True))
    return "same" if same else "valid" if sides == ((0, 0), (0, 0)) else sides


def _weight(count: int) -> str:
    return f"{'plus' if count > 0 else 'minus'} {abs(count):,} weights"


def _side(pair: Pair) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"


def _sources(network: Graph | SymbolicTensor) -> dict[str, tuple[Shape, ...]]:
    """The shapes that each layer stands on."""
    ends = tuple(network.outputs.values()) if isinstance(network, Graph) else (network,)
    return {x.name: tuple(source.shape for source in x.inputs) for x in topological_order(*ends)}


def _groups(layers: Sequence[LayerDifference], before: dict[str, tuple[Shape, ...]]) -> tuple[LayerGroup, ...]:
    """Layers with the same change of the same field, and those that came or went, by kind of op.

    Shapes and inputs that changed are left out: they follow from the rest.
    """
    found: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for layer in layers:
        old, new = layer.before, layer.after
        if old is not None and new is not None:
            for field, (had, has) in layer.fields.items():
                if field not in ("shape", "inputs"):
                    weighs = _weighs(old, new, field, has, before[layer.name])
                    found.setdefault(("~", f"{field} {has} instead of {had}"), []).append((layer.name, weighs))
        elif old is not None:
            found.setdefault(("-", f"no {type(old.op).__name__}"), []).append((layer.name, -old.params))
        elif new is not None:
            kind = type(new.op).__name__
            article = "an" if kind[0] in "AEIOU" else "a"
            found.setdefault(("+", f"{article} {kind}"), []).append((layer.name, new.params))
    groups = [
        LayerGroup(sign, tuple(name for name, _ in members), what, sum(weight for _, weight in members))
        for (sign, what), members in found.items()
    ]
    return tuple(sorted(groups, key=lambda group: -abs(group.params)))


def _weighs(old: LayerSummary, new: LayerSummary, field: str, value: Any, shapes: tuple[Shape, ...]) -> int:
    """The trained numbers that one changed field of a layer makes more, on the inputs it had before."""
    if field == "op":
        return new.params - old.params
    return count_params(replace(old.op, **{field: value}), *shapes) - old.params


def join_names(names: Sequence[str]) -> str:
    """Several names as one address where they differ in single words, else the first of them."""
    words = [name.split("_") for name in names]
    if len({len(one) for one in words}) == 1:
        merged = [_common(column) for column in zip(*words, strict=True)]
        if any(word != "*" for word in merged):
            return "_".join(merged)
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _common(words: Sequence[str]) -> str:
    """A word, or how several begin and a star."""
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*words, strict=False))
    return words[0] if len(set(words)) == 1 else "".join(letters[0] for letters in same) + "*"


def _drawn(network: str | Graph | SymbolicTensor) -> Graph | SymbolicTensor:
    return trace(network) if isinstance(network, str) else network


def _inputs(network: Graph | SymbolicTensor) -> dict[str, tuple[str, ...]]:
    """The names of the layers that each layer stands on."""
    ends = tuple(network.outputs.values()) if isinstance(network, Graph) else (network,)
    return {x.name: tuple(source.name for source in x.inputs) for x in topological_order(*ends)}
