"""How two graphs differ, layer by layer, and what that costs."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import takewhile
from typing import Any

from kcnn.architectures.architecture import Architecture
from kcnn.architectures.spec import ModelSpec, summary, trace
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.costs import count_params
from kcnn.graph.formatting import format_pair
from kcnn.graph.graph import Graph
from kcnn.graph.shape_inference import Shape
from kcnn.graph.summaries import LayerSummary
from kcnn.graph.tracing import SymbolicTensor, topological_order
from kcnn.graph.windows import Pair, dilated_size, padding_amounts, to_pair

Network = str | Architecture | ModelSpec | Graph | SymbolicTensor


@dataclass(frozen=True)
class LayerDifference:
    """Describe a layer that differs; `before` or `after` is None if only one network has the layer."""

    name: str
    before: LayerSummary | None
    after: LayerSummary | None
    fields: dict[str, tuple[Any, Any]]  # of the op, and "op", "shape" or "inputs" where those differ

    def __str__(self) -> str:
        if self.before is None or self.after is None:
            layer = self.before or self.after
            assert layer is not None
            return f"{'-' if self.after is None else '+'} {self.name}: {layer.op} -> {layer.shape}"
        return f"~ {self.name}: " + ", ".join(f"{k} {a} -> {b}" for k, (a, b) in self.fields.items())


@dataclass(frozen=True)
class LayerGroup:
    """Group the layers that have one and the same difference."""

    sign: str  # "~" changed, "+" added, "-" removed
    layers: tuple[str, ...]
    description: str
    params: int  # trainable parameters added by it, negative if removed

    def __str__(self) -> str:
        count = f" in {len(self.layers)} layers" if len(self.layers) > 1 else ""
        params = f", {_format_params(self.params)}" if self.params else ""
        return f"{self.sign} {join_names(self.layers)}: {self.description}{count}{params}"


@dataclass(frozen=True)
class GraphDiff:
    """Describe how two networks differ. Pairs are (first, second). Print it to see a line for each difference."""

    layers: tuple[LayerDifference, ...]
    groups: tuple[LayerGroup, ...]  # equal differences together, most parameters first, without mere consequences
    params: tuple[int, int]
    non_trainable_params: tuple[int, int]
    macs: tuple[int, int]
    receptive_field: tuple[Pair, Pair]

    def __bool__(self) -> bool:
        return bool(self.layers)

    def __str__(self) -> str:
        """Return a line for each kind of difference, and the totals."""
        rest = self.params[1] - self.params[0] - sum(group.params for group in self.groups)
        consequences = [f"  as a consequence: {_format_params(rest)}"] if rest else []
        return self._format([*self.groups, *consequences])

    def format_layers(self) -> str:
        """Return a line for each layer that differs, and the totals."""
        return self._format(self.layers)

    def _format(self, differences: Sequence[Any]) -> str:
        if not self.layers:
            return "the same, layer by layer"
        before, after = (format_pair(pair) for pair in self.receptive_field)
        totals = (
            f"parameters {self.params[0]:,} -> {self.params[1]:,} ({self.params[1] - self.params[0]:+,}), "
            f"MACs {self.macs[0]:,} -> {self.macs[1]:,} ({self.macs[1] - self.macs[0]:+,}), "
            f"receptive field {before} -> {after}"
        )
        return "\n".join([*map(str, differences), totals])


@check_arguments
def diff(a: Network, b: Network) -> GraphDiff:
    """Compare two networks layer by layer, by name.

    Args:
        a: A name, an Architecture, a ModelSpec, a graph, or a symbolic tensor.
        b: The other network.

    Returns:
        The layers that were removed, added or changed from `a` to `b`, and the totals of both. False if there are none.

    Raises:
        UnknownNameError: A name is unknown.
        ValueError: As from kcnn.trace.
    """
    first, second = _trace(a), _trace(b)
    before, after = summary(first), summary(second)
    old, new = ({layer.name: layer for layer in rows} for rows in (before, after))
    old_inputs, new_inputs = _input_names(first), _input_names(second)
    layers = []
    for name in [*old, *(name for name in new if name not in old)]:
        if name in old and name in new:
            changed = _fields(old[name], new[name])
            if old_inputs[name] != new_inputs[name]:
                changed["inputs"] = (old_inputs[name], new_inputs[name])
            if changed:
                layers.append(LayerDifference(name, old[name], new[name], changed))
        else:
            layers.append(LayerDifference(name, old.get(name), new.get(name), {}))
    return GraphDiff(
        layers=tuple(layers),
        groups=_groups(layers, _input_shapes(first)),
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
        for field in fields(old.op):
            values = getattr(old.op, field.name), getattr(new.op, field.name)
            if values[0] != values[1] and not (field.name == "padding" and _margin(old.op) == _margin(new.op)):
                changed[field.name] = values
    if old.shape != new.shape:
        changed["shape"] = (old.shape, new.shape)
    return changed


def _margin(op: Any) -> Any:
    """The padding as it acts at every image size, however it is written."""
    if op.padding in ("same", "valid"):
        return op.padding
    size, stride, dilation = (to_pair(getattr(op, name, 1)) for name in ("kernel", "stride", "dilation"))
    kernel = tuple(map(dilated_size, size, dilation))
    sides = tuple(padding_amounts(0, kernel[axis], stride[axis], op.padding, axis) for axis in (0, 1))
    same = stride == (1, 1) and all(side == (k // 2, k // 2) and k % 2 for side, k in zip(sides, kernel, strict=True))
    return "same" if same else "valid" if sides == ((0, 0), (0, 0)) else sides


def _format_params(count: int) -> str:
    return f"{'plus' if count > 0 else 'minus'} {abs(count):,} weights"


def _groups(layers: Sequence[LayerDifference], shapes: dict[str, tuple[Shape, ...]]) -> tuple[LayerGroup, ...]:
    """Layers with the same change of the same attribute, and those added or removed, by kind of op.

    Shapes and inputs that changed are left out: they follow from the rest.
    """
    members: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for layer in layers:
        old, new = layer.before, layer.after
        if old is not None and new is not None:
            for field, (had, has) in layer.fields.items():
                if field not in ("shape", "inputs"):
                    params = _added_params(old, new, field, has, shapes[layer.name])
                    members.setdefault(("~", f"{field} {has} instead of {had}"), []).append((layer.name, params))
        elif old is not None:
            members.setdefault(("-", f"no {type(old.op).__name__}"), []).append((layer.name, -old.params))
        elif new is not None:
            kind = type(new.op).__name__
            article = "an" if kind[0] in "AEIOU" else "a"
            members.setdefault(("+", f"{article} {kind}"), []).append((layer.name, new.params))
    groups = [
        LayerGroup(sign, tuple(name for name, _ in pairs), description, sum(params for _, params in pairs))
        for (sign, description), pairs in members.items()
    ]
    return tuple(sorted(groups, key=lambda group: -abs(group.params)))


def _added_params(old: LayerSummary, new: LayerSummary, field: str, value: Any, shapes: tuple[Shape, ...]) -> int:
    """The trainable parameters that one changed attribute adds to a layer, on the inputs it had before."""
    if field == "op":
        return new.params - old.params
    return count_params(replace(old.op, **{field: value}), *shapes) - old.params


def join_names(names: Sequence[str]) -> str:
    """Return several names as one glob where they differ in single words, else the first of them."""
    split = [name.split("_") for name in names]
    if len({len(words) for words in split}) == 1:
        merged = [_common(column) for column in zip(*split, strict=True)]
        if any(word != "*" for word in merged):
            return "_".join(merged)
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _common(words: Sequence[str]) -> str:
    """The word, or the common prefix of several and a star."""
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*words, strict=False))
    return words[0] if len(set(words)) == 1 else "".join(letters[0] for letters in same) + "*"


def _trace(network: Network) -> Graph | SymbolicTensor:
    return network if isinstance(network, Graph | SymbolicTensor) else trace(network)


def _outputs(network: Graph | SymbolicTensor) -> tuple[SymbolicTensor, ...]:
    return tuple(network.outputs.values()) if isinstance(network, Graph) else (network,)


def _input_shapes(network: Graph | SymbolicTensor) -> dict[str, tuple[Shape, ...]]:
    return {x.name: tuple(source.shape for source in x.inputs) for x in topological_order(*_outputs(network))}


def _input_names(network: Graph | SymbolicTensor) -> dict[str, tuple[str, ...]]:
    return {x.name: tuple(source.name for source in x.inputs) for x in topological_order(*_outputs(network))}
