"""Weights that survive a change of their network: it computes what it did (arXiv:1511.05641, 1603.01670).

The layers of the new network are followed from the image to the outputs. Each tensor knows which tensor of the old
network it carries, channel by channel and position by position, and whether its values are still the same. A layer with
a counterpart of its name takes its weights: larger kernels are padded with zeros, copies of a channel share its weights
in the layers that read it. A new layer becomes an identity, or a new branch of a sum zero, where a layer with a
counterpart needs it so; otherwise it keeps its initial weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt

import numpy as np

from kcnn.graph import ops
from kcnn.graph.arguments import check_keywords
from kcnn.graph.formatting import join_names
from kcnn.graph.graph import Graph, find_classifier
from kcnn.graph.tracing import SymbolicTensor, topological_order
from kcnn.graph.windows import to_pair
from kcnn.weights.alignment import align, identity_slide, make_slide
from kcnn.weights.carried import HERE, Carried, carries, is_passing
from kcnn.weights.channel_maps import Arrays, is_identity, stretch
from kcnn.weights.layer_morphs import LayerPair, morph_layer

NAMED = 4  # differences in a line
IDEMPOTENT = ("relu", "relu6")
NOT_NEGATIVE = (*IDEMPOTENT, "sigmoid", "hard_sigmoid", "softplus", "softmax", "exponential")
KEEPS_SIGN: tuple[type, ...] = (
    *(ops.Pool, ops.GlobalPool, ops.AdaptivePool, ops.Concat, ops.Add, ops.Multiply, ops.Flatten),
    *(ops.ChannelSlice, ops.ChannelShuffle, ops.Crop, ops.Dropout, ops.DropPath),
)


@check_keywords
@dataclass(frozen=True)
class MorphReport:
    """Describe what became of every tensor when weights were loaded into another version of their network.

    Attributes:
        kept: Variables ("layer/variable") that have the values of the file.
        morphed: Variables with other values, with which their layer computes what it did, and how.
        adapted: Variables with values of the file as far as they fit, whose layer computes another function, and why.
        new: Variables with initial values, and why.
        differences: Layers that compute another function of their input, and why.
        preserved: Whether the network computes what it did, up to rounding.
    """

    kept: tuple[str, ...] = ()
    morphed: Mapping[str, str] = field(default_factory=dict)
    adapted: Mapping[str, str] = field(default_factory=dict)
    new: Mapping[str, str] = field(default_factory=dict)
    differences: Mapping[str, str] = field(default_factory=dict)
    preserved: bool = True

    @property
    def line(self) -> str:
        """The numbers of tensors, and whether the network computes what it did, in one line."""
        counts = [f"{len(self.kept)} kept", f"{len(self.morphed)} morphed", f"{len(self.new)} new"]
        if self.adapted:
            counts.insert(2, f"{len(self.adapted)} adapted")
        if self.preserved:
            verdict = "the network computes what it did"
        else:
            reasons = [f"{layer}: {reason}" for layer, reason in self.differences.items()]
            verdict = "the network computes another function"
            verdict += f" ({join_names(reasons, NAMED)})" if reasons else ""
        return f"tensors: {', '.join(counts)}; {verdict}"

    def __str__(self) -> str:
        lines = [self.line]
        for status in ("morphed", "adapted", "new"):
            lines += [f"{status} {name}: {reason}" for name, reason in getattr(self, status).items()]
        return "\n".join(lines)


@dataclass(frozen=True)
class Morph:
    """Weights of a new version of a network.

    Attributes:
        tensors: Every variable by "layer/variable".
        report: What became of each.
        carried: What each layer's output carries of the old network's values, by layer.
    """

    tensors: Mapping[str, np.ndarray]
    report: MorphReport
    carried: Mapping[str, Carried]


def morph_tensors(
    old: Graph, new: Graph, tensors: Mapping[str, np.ndarray], initial: Mapping[str, np.ndarray]
) -> Morph:
    """Return weights with which a network computes what another version of it did, as far as that is possible.

    Both graphs have the same size of images and the same number of channels.

    Args:
        old: The network whose weights these are.
        new: The other version: with overrides or other options.
        tensors: Weights of the old network by "layer/variable".
        initial: Initial weights of the new one by "layer/variable".

    Returns:
        The weights, and a report.
    """
    walk = _Walk(old, new, _by_layer(tensors), _by_layer(initial))
    for x in topological_order(*new.outputs.values()):
        walk.carried[id(x)] = walk.follow(x)
    preserved = walk.close()
    arrays, report = _report(walk, preserved)
    names = {_name(new, x): walk.carried[id(x)] for x in topological_order(*new.outputs.values())}
    return Morph(arrays, report, names)


def _by_layer(tensors: Mapping[str, np.ndarray]) -> dict[str, Arrays]:
    layers: dict[str, Arrays] = {}
    for name, array in tensors.items():
        layer, _, variable = name.rpartition("/")
        layers.setdefault(layer, {})[variable] = array
    return layers


def _name(graph: Graph, x: SymbolicTensor) -> str:
    """The name of a layer without the prefix of its network."""
    return x.name.removeprefix(graph.spec.prefix if graph.spec else "")


class _Walk:
    """The state of one walk through a new network: what each tensor carries, and the weights so far."""

    def __init__(self, old: Graph, new: Graph, weights: dict[str, Arrays], initial: dict[str, Arrays]):
        self.old, self.new, self.weights, self.initial = old, new, weights, initial
        self.old_layers = {_name(old, x): x for x in topological_order(*old.outputs.values())}
        ends = [find_classifier(x) for name, x in new.outputs.items() if x.op is not None and len(x.shape) == 1]
        self.classifiers = {_name(new, x) for x in ends if x is not None}
        self.carried: dict[int, Carried] = {}
        self.arrays: dict[str, Arrays] = {}  # taken from the old network, by layer
        self.reasons: dict[str, str] = {}  # why a layer computes another function of its input
        self.edits: dict[str, Arrays] = {}  # of new layers that have to compute nothing
        self.conflicts: set[str] = set()  # new layers that two layers need otherwise

    def follow(self, x: SymbolicTensor) -> Carried:
        """Return what the output of a layer carries, and set its weights."""
        if x.op is None:
            image = self.old.input
            return Carried(image, np.arange(x.shape[-1]), holds=image.shape == x.shape)
        inputs, name = [self.carried[id(source)] for source in x.inputs], _name(self.new, x)
        if is_passing(x.op):
            return inputs[0]
        old = self.old_layers.get(name)
        if old is None or old.op is None or type(old.op) is not type(x.op) or is_passing(old.op):
            return self._pass(x, name, inputs)
        if name in self.initial and name not in self.weights:
            self.reasons[name] = "the file has none"
            return Carried(old, np.full(x.shape[-1], -1))
        own = [self._connect(x, old, number, one) for number, one in enumerate(inputs)]
        pair = LayerPair(
            name, old, x, own, self.weights.get(name, {}), self.initial.get(name, {}), name in self.classifiers
        )
        morph = morph_layer(pair)
        self.arrays[name] = morph.arrays
        if morph.reason:
            self.reasons[name] = morph.reason
        elif not pair.holds and all(one.holds for one in inputs):
            sources = [_name(self.old, source) for source in old.inputs]
            self.reasons[name] = f"its input was {', '.join(sources)}"
        return Carried(old, morph.channels, morph.axes, pair.holds and not morph.reason)

    def _connect(self, x: SymbolicTensor, old: SymbolicTensor, number: int, one: Carried) -> Carried:
        """An input of a layer, which has to carry the input of the old one, and the edits with which it does."""
        if isinstance(x.op, ops.Concat):
            self._commit(one)
            return one
        source = old.inputs[number] if number < len(old.inputs) else None
        channels = x.inputs[number].shape[-1]
        if source is None:
            return Carried(None, np.full(channels, -1))
        if one.tensor is not None and carries(one.tensor, source):
            self._commit(one)
            return one
        if one.tensor is not None and _is_subsampled(source) and carries(one.tensor, source.inputs[0]):
            self._commit(one)
            steps = to_pair(source.op.stride)  # the new network has all positions of which the old one took some
            rows, columns = (replace(axis, step=axis.step * step) for axis, step in zip(one.axes, steps, strict=True))
            return replace(one, tensor=source, axes=(rows, columns))
        return Carried(source, stretch(source.shape[-1], channels))

    def _commit(self, one: Carried) -> None:
        for layer, arrays in one.edits.items():
            held = self.edits.setdefault(layer, arrays)
            if any(not np.array_equal(held[name], array) for name, array in arrays.items()):
                self.conflicts.add(layer)

    def close(self) -> bool:
        """Set the weights of the layers that the outputs need; return whether these are what they were."""
        is_preserved = not self.new.outputs.keys() ^ self.old.outputs.keys()
        for name, x in self.new.outputs.items():
            one, old = self.carried[id(x)], self.old.outputs.get(name)
            if old is None or one.tensor is None or not carries(one.tensor, old):
                is_preserved = False
                continue
            self._commit(one)
            is_here = one.is_here and x.shape == old.shape and is_identity(one.channels, old.shape[-1])
            is_preserved = is_preserved and one.holds and is_here
        return is_preserved and not self.conflicts

    def _pass(self, x: SymbolicTensor, name: str, inputs: Sequence[Carried]) -> Carried:
        """What a new layer carries on where it computes nothing, with the weights with which it does so."""
        first = inputs[0]
        if isinstance(x.op, ops.Concat):
            return _append(x, inputs)
        if isinstance(x.op, ops.Add):
            return self._add_branches(x, inputs)
        nothing = Carried(None, np.full(x.shape[-1], -1), holds=True)
        if first.tensor is None or len(inputs) > 1:
            return nothing
        if isinstance(x.op, ops.Activation):
            return first if _is_idempotent(x.op, first.tensor) else nothing
        if isinstance(x.op, ops.BatchNorm):
            scale = sqrt(1 + x.op.epsilon)
            if not x.op.scale:
                return nothing
            values = {"gamma": scale, "beta": 0.0, "moving_mean": 0.0, "moving_variance": 1.0}
            return self._edit(first, name, {n: np.full_like(a, values[n]) for n, a in self.initial[name].items()})
        if isinstance(x.op, ops.Conv | ops.Depthwise):
            return self._pass_convolution(x, name, first) or nothing
        return nothing

    def _pass_convolution(self, x: SymbolicTensor, name: str, first: Carried) -> Carried | None:
        """A new convolution that copies its input, where it has a tap on each pixel."""
        shape, taps = x.inputs[0].shape, []
        if first.tensor is None or getattr(x.op, "standardized", False) or getattr(x.op, "groups", 1) != 1:
            return None
        if x.shape[:2] != shape[:2] or x.shape[2] < shape[2]:
            return None
        for axis in (0, 1):
            aligned = align(identity_slide(shape[axis]), make_slide(x.op, shape, axis), HERE[axis])
            if aligned is None or aligned[0] != HERE[axis]:
                return None
            taps.append(aligned[1][0])
        arrays = {n: np.zeros_like(a) for n, a in self.initial[name].items()}
        sources = stretch(shape[2], x.shape[2])
        if isinstance(x.op, ops.Depthwise):
            arrays["kernel"][taps[0], taps[1]] = 1
        else:
            arrays["kernel"][taps[0], taps[1], sources, np.arange(len(sources))] = 1
        return self._edit(replace(first, channels=first.channels[sources]), name, arrays)

    def _edit(self, one: Carried, name: str, arrays: Arrays) -> Carried:
        return replace(one, edits={**one.edits, name: arrays})

    def _add_branches(self, x: SymbolicTensor, inputs: Sequence[Carried]) -> Carried:
        """A new sum that returns one of its inputs, where the last layer of each other one can be set to zero."""
        known = [number for number, one in enumerate(inputs) if one.tensor is not None]
        for number in sorted(known, key=lambda n: len(inputs[n].edits)):
            zeros = [self._find_zero(y) for n, y in enumerate(x.inputs) if n != number]
            edits: dict[str, Arrays] = dict(inputs[number].edits)
            for zero in zeros:
                edits |= zero or {}
            if None not in zeros and len(edits) == len(inputs[number].edits) + len(zeros):
                return replace(inputs[number], edits=edits)
        return Carried(None, np.full(x.shape[-1], -1), holds=True)

    def _find_zero(self, x: SymbolicTensor) -> dict[str, Arrays] | None:
        """The new layer, and its weights, with which a branch is zero and still has a gradient."""
        name = _name(self.new, x)
        if x.op is None or (name in self.old_layers and not is_passing(x.op)):
            return None
        if is_passing(x.op) or isinstance(x.op, ops.ChannelShuffle | ops.Multiply):
            return self._find_zero(x.inputs[0])
        zeroed = {ops.BatchNorm: ("gamma", "beta"), ops.LayerScale: ("gamma",)}.get(type(x.op), ("kernel", "bias"))
        own = self.initial.get(name, {})
        if zeroed[0] not in own or not isinstance(x.op, ops.BatchNorm | ops.LayerScale | ops.Conv | ops.Depthwise):
            return None
        return {name: {n: np.zeros_like(a) for n, a in own.items() if n in zeroed}}


def _is_subsampled(x: SymbolicTensor) -> bool:
    """Whether a tensor has every n-th row and column of its input."""
    return isinstance(x.op, ops.Pool) and to_pair(x.op.kernel) == (1, 1) and x.op.padding in ("valid", 0)


def _append(x: SymbolicTensor, inputs: Sequence[Carried]) -> Carried:
    """A new concatenation of a tensor that is carried and new ones."""
    known = [one for one in inputs if one.tensor is not None]
    if len(known) != 1:
        return Carried(None, np.full(x.shape[-1], -1), holds=True)
    return replace(known[0], channels=np.concatenate([one.channels for one in inputs]))


def _is_idempotent(op: ops.Activation, tensor: SymbolicTensor) -> bool:
    """Whether an activation changes nothing in a tensor of the old network."""
    if op.function not in IDEMPOTENT:
        return False
    return tensor.op == op or (op.function == "relu" and _is_not_negative(tensor))


def _is_not_negative(x: SymbolicTensor) -> bool:
    if isinstance(x.op, ops.Activation) and x.op.function in NOT_NEGATIVE:
        return True
    return isinstance(x.op, KEEPS_SIGN) and all(map(_is_not_negative, x.inputs))


def _report(walk: _Walk, preserved: bool) -> tuple[dict[str, np.ndarray], MorphReport]:
    """Every variable, and what became of it."""
    tensors: dict[str, np.ndarray] = {}
    kept: list[str] = []
    changed: dict[str, dict[str, str]] = {"morphed": {}, "adapted": {}, "new": {}}
    for layer, variables in walk.initial.items():
        taken, reason = walk.arrays.get(layer, {}), walk.reasons.get(layer, "")
        edits = {} if layer in walk.conflicts else walk.edits.get(layer, {})
        for variable, initial in variables.items():
            name, old = f"{layer}/{variable}", walk.weights.get(layer, {}).get(variable)
            tensors[name] = edits.get(variable, taken.get(variable, initial))
            if variable in edits:
                changed["morphed"][name] = "a new layer that computes nothing at first"
            elif variable not in taken:
                changed["new"][name] = reason or "a new layer"
            elif old is not None and np.array_equal(old, taken[variable]):
                kept.append(name)
            elif reason:
                changed["adapted"][name] = reason
            else:
                changed["morphed"][name] = _describe(old, taken[variable])
    differences = {} if preserved else walk.reasons
    return tensors, MorphReport(
        kept=tuple(kept),
        morphed=changed["morphed"],
        adapted=changed["adapted"],
        new=changed["new"],
        differences=differences,
        preserved=preserved,
    )


def _describe(old: np.ndarray | None, new: np.ndarray) -> str:
    if old is None:
        return "a value that changes nothing"
    if old.shape == new.shape:
        return "channels in another order, or divided among copies"
    return f"{old.shape} in the file, {new.shape} here"
