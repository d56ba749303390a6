"""The weights of one layer from those of the layer of the same name in another version of the network, op by op."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from math import prod
from typing import Any

import numpy as np

from kcnn.graph import ops
from kcnn.graph.tracing import SymbolicTensor
from kcnn.weights.alignment import Axis, align, center_taps, make_slide
from kcnn.weights.carried import HERE, Carried, carries
from kcnn.weights.channel_maps import (
    Arrays,
    Channels,
    is_even,
    is_identity,
    shuffle_order,
    spread_kernel,
    stretch,
    take,
    take_groups,
)

IDENTITY = {"gamma": 1.0, "beta": 0.0, "bias": 0.0}  # values with which a variable computes nothing


@dataclass(frozen=True)
class LayerPair:
    """A layer of the new network, and the one of the same name and kind in the old one.

    Attributes:
        name: Its name.
        old: Its output in the old network.
        new: Its output in the new network.
        inputs: What its inputs carry.
        weights: Weights in the old network by variable.
        initial: Initial weights in the new network by variable.
        is_classifier: Whether its outputs are the classes.
    """

    name: str
    old: SymbolicTensor
    new: SymbolicTensor
    inputs: Sequence[Carried]
    weights: Arrays
    initial: Arrays
    is_classifier: bool

    @property
    def holds(self) -> bool:
        """Whether all inputs have the old network's values."""
        return all(one.holds for one in self.inputs)

    @property
    def is_here(self) -> bool:
        """Whether the first input has the old positions in their places, and no others."""
        return self.inputs[0].is_here and self.old_shape[:-1] == self.new.inputs[0].shape[:-1]

    @property
    def old_shape(self) -> tuple[int, ...]:
        """The shape of the old layer's input; of the new one's size where the values are others."""
        old, new = self.old.inputs[0].shape, self.new.inputs[0].shape
        return old if self.holds or len(old) != len(new) else (*new[:-1], old[-1])

    def differs(self, *names: str) -> str:
        """Return the attributes that differ, as text: those named, or all; "" where none does."""
        old, new = self.old.op, self.new.op
        pairs = {f.name: (getattr(old, f.name), getattr(new, f.name)) for f in fields(new)}
        return ", ".join(f"{n} {b!r}, was {a!r}" for n, (a, b) in pairs.items() if (not names or n in names) and a != b)


@dataclass(frozen=True)
class LayerMorph:
    """The weights of a layer, and what its output carries.

    Attributes:
        channels: The old channel of each output channel.
        axes: Where rows and columns have the old positions.
        reason: Why the layer computes another function of its input; "" where it computes the same.
        arrays: Weights by variable, those that are taken from the old layer.
    """

    channels: Channels
    axes: tuple[Axis, Axis] = HERE
    reason: str = ""
    arrays: Arrays = field(default_factory=dict)


Rule = Callable[[LayerPair], LayerMorph]
Taps = tuple[Sequence[int], Sequence[int]]


def morph_layer(pair: LayerPair) -> LayerMorph:
    """Return the weights with which a layer computes what it did, as far as its op allows.

    Args:
        pair: The layer in both networks.

    Returns:
        The weights. Where the layer computes another function, they are taken from the old layer as far as they fit.
    """
    return RULES.get(type(pair.new.op), _keep)(pair)


def _align(pair: LayerPair) -> tuple[tuple[Axis, Axis], list[Taps], str]:
    """Where the output has the old positions, the taps (before, now) by axis, and why there are none."""
    taps: list[Taps] = []
    axes, shape = [], pair.old_shape
    reason, x = "", pair.inputs[0]
    for axis in (0, 1):
        new = make_slide(pair.new.op, pair.new.inputs[0].shape, axis)
        try:
            old = make_slide(pair.old.op, shape, axis)
        except ValueError:  # a kernel that is larger than the new map
            aligned = None
        else:
            aligned = align(old, new, x.axes[axis])
            mode = getattr(pair.old.op, "padding_mode", "zeros")
            is_alike = pair.differs("padding_mode") == "" and (mode == "zeros" or x.axes[axis] == Axis())
            if any(old.reads_padding) and not is_alike:
                aligned = None
        if aligned is None:
            reason = pair.differs("kernel", "stride", "padding", "dilation", "padding_mode") or "other positions"
            axes.append(Axis())
            taps.append(center_taps(_taps(pair.old.op, axis), new.taps))
        else:
            axes.append(aligned[0])
            taps.append((range(len(aligned[1])), aligned[1]))
    return (axes[0], axes[1]), taps, reason


def _taps(op: Any, axis: int) -> int:
    return op.kernel[axis] if isinstance(op.kernel, tuple) else op.kernel


def _conv(pair: LayerPair) -> LayerMorph:
    old, new, x = pair.old.op, pair.new.op, pair.inputs[0]
    if pair.is_classifier and old.filters != new.filters:
        return _renew(pair)
    axes, ((rows, new_rows), (columns, new_columns)), reason = _align(pair)
    filters = stretch(old.filters, new.filters)
    known = x.channels >= 0
    if not known.any():
        return replace(_renew(pair), reason="its input is new")
    kernel = pair.weights["kernel"]
    cut = kernel[np.ix_(rows, columns)].reshape(-1, *kernel.shape[2:])
    spread, is_complete = spread_kernel(cut, x.channels, filters, (old.groups, new.groups), pair.name)
    morphed = np.zeros(pair.initial["kernel"].shape, kernel.dtype)
    if not pair.holds and new.groups == 1:
        morphed[:, :, ~known] = pair.initial["kernel"][:, :, ~known]
    target = np.ix_(new_rows, new_columns)
    values = spread.reshape(len(new_rows), len(new_columns), *spread.shape[1:])
    if not pair.holds and new.groups == 1:
        values[:, :, ~known] = pair.initial["kernel"][target][:, :, ~known]
    morphed[target] = values
    if not is_complete:
        reason = reason or "fewer channels"
    if old.standardized != new.standardized or (new.standardized and not np.array_equal(morphed, kernel)):
        is_kept = morphed.shape == kernel.shape and is_identity(x.channels, pair.old.inputs[0].shape[-1])
        reason = reason or ("" if is_kept and old.standardized == new.standardized else "standardized kernels")
    if len(np.unique(filters)) < old.filters:
        reason = reason or pair.differs("filters")
    return _add_vectors(pair, LayerMorph(filters, axes, reason, {"kernel": morphed}), ("bias",))


def _depthwise(pair: LayerPair) -> LayerMorph:
    x = pair.inputs[0]
    axes, ((rows, new_rows), (columns, new_columns)), reason = _align(pair)
    kernel, initial = pair.weights["kernel"], pair.initial["kernel"]
    known = x.channels >= 0
    morphed = np.where(known[:, None], 0, initial).astype(initial.dtype)
    cut = kernel[np.ix_(rows, columns)][:, :, np.maximum(x.channels, 0)]
    target = np.ix_(new_rows, new_columns)
    morphed[target] = np.where(known[:, None], cut, initial[target])
    return _add_vectors(pair, LayerMorph(x.channels, axes, reason, {"kernel": morphed}), ("bias",))


def _dense(pair: LayerPair) -> LayerMorph:
    old, new, x = pair.old.op, pair.new.op, pair.inputs[0]
    if pair.is_classifier and old.units != new.units:
        return _renew(pair)
    if not (x.channels >= 0).any():
        return replace(_renew(pair), reason="its input is new")
    units = stretch(old.units, new.units)
    kernel, is_complete = spread_kernel(pair.weights["kernel"][None], x.channels, units, (1, 1), pair.name)
    reason = "" if is_complete else "fewer features"
    if new.units < old.units:
        reason = reason or pair.differs("units")
    return _add_vectors(pair, LayerMorph(units, HERE, reason, {"kernel": kernel[0]}), ("bias",))


def _add_vectors(pair: LayerPair, morph: LayerMorph, names: Sequence[str]) -> LayerMorph:
    """A layer with its variables of one value for each output channel."""
    arrays, reason = dict(morph.arrays), morph.reason
    for name in names:
        old, initial = pair.weights.get(name), pair.initial.get(name)
        if initial is not None:
            missing = np.full(pair.old.shape[-1], IDENTITY.get(name, 0.0), initial.dtype)
            arrays[name] = take(missing if old is None else old, initial, morph.channels)
        elif old is not None and (old != IDENTITY[name]).any():
            reason = reason or f"no {name}"
    return replace(morph, arrays=arrays, reason=reason)


def _norm(pair: LayerPair, names: Sequence[str], is_same: bool = True) -> LayerMorph:
    reason = pair.differs("epsilon", "function")
    if not is_same:
        reason = reason or "statistics of other channels"
    x = pair.inputs[0]
    return _add_vectors(pair, LayerMorph(x.channels, x.axes, reason), names)


def _batch_norm(pair: LayerPair) -> LayerMorph:
    return _norm(pair, ("gamma", "beta", "moving_mean", "moving_variance"))


def _layer_norm(pair: LayerPair) -> LayerMorph:
    return _norm(pair, ("gamma", "beta"), is_even(pair.inputs[0].channels, pair.old.shape[-1]))


def _group_norm(pair: LayerPair) -> LayerMorph:
    x, groups = pair.inputs[0], (pair.old.op.groups, pair.new.op.groups)
    return _norm(pair, ("gamma", "beta"), pair.is_here and take_groups(x.channels, pair.old.shape[-1], groups))


def _response_norm(pair: LayerPair) -> LayerMorph:
    x = pair.inputs[0]
    return _norm(pair, ("gamma", "beta"), pair.is_here and is_even(x.channels, pair.old.shape[-1]))


def _layer_scale(pair: LayerPair) -> LayerMorph:
    return _norm(pair, ("gamma",))


def _pool(pair: LayerPair) -> LayerMorph:
    axes, taps, reason = _align(pair)
    reason = reason or pair.differs("mode", "count_include_pad")
    if any(list(now) != list(range(_taps(pair.new.op, axis))) for axis, (_, now) in enumerate(taps)):
        reason = reason or pair.differs("kernel", "stride", "padding") or "other positions"
    if pair.new.op.mode == "average":  # which counts pixels of the padding, or does not
        reason = reason or pair.differs("padding")
    return LayerMorph(pair.inputs[0].channels, axes, reason)


def _pad(pair: LayerPair) -> LayerMorph:
    old, new, x = pair.old.op, pair.new.op, pair.inputs[0]
    before, behind = (stretch(a, b) if a else np.full(b, -1) for a, b in zip(old.channels, new.channels, strict=True))
    inner = pair.old.inputs[0].shape[-1]
    own = np.where(x.channels < 0, -1, x.channels + old.channels[0])
    behind = np.where(behind < 0, -1, behind + old.channels[0] + inner)
    channels = np.concatenate([before, own, behind])
    if pair.old.shape[:-1] == pair.old.inputs[0].shape[:-1] and pair.new.shape[:-1] == pair.new.inputs[0].shape[:-1]:
        return LayerMorph(channels, x.axes)
    is_same = pair.is_here and not pair.differs("padding", "padding_mode")
    return LayerMorph(channels, HERE, "" if is_same else pair.differs() or "other positions")


def _whole(pair: LayerPair) -> LayerMorph:
    """A layer that sees all positions, or keeps their order: pools of the whole map, crops."""
    x = pair.inputs[0]
    return LayerMorph(x.channels, HERE, pair.differs() or ("" if pair.is_here else "a map of another size"))


def _flatten(pair: LayerPair) -> LayerMorph:
    x, old = pair.inputs[0], pair.old.inputs[0].shape
    if old[:-1] != pair.new.inputs[0].shape[:-1]:
        return LayerMorph(np.full(pair.new.shape[0], -1), HERE, "a map of another size")
    positions = np.arange(prod(old[:-1]))[:, None] * old[-1]
    channels = np.where(x.channels < 0, -1, positions + x.channels).ravel()
    return LayerMorph(channels, HERE, "" if x.is_here else "other positions")


def _slice(pair: LayerPair) -> LayerMorph:
    old, new, x = pair.old.op, pair.new.op, pair.inputs[0]
    stop = pair.old.inputs[0].shape[-1] if old.stop is None else old.stop
    channels = x.channels[new.start : new.stop]
    is_inside = (channels >= old.start) & (channels < stop)
    moved = np.where(is_inside, channels - old.start, -1)
    is_same = bool((is_inside | (channels < 0)).all())
    return LayerMorph(moved, x.axes, "" if is_same else pair.differs() or "other channels")


def _shuffle(pair: LayerPair) -> LayerMorph:
    x = pair.inputs[0]
    places = np.argsort(shuffle_order(pair.old.shape[-1], pair.old.op.groups))
    channels = x.channels[shuffle_order(pair.new.shape[-1], pair.new.op.groups)]
    return LayerMorph(np.where(channels < 0, -1, places[np.maximum(channels, 0)]), x.axes)


def _combine(pair: LayerPair) -> LayerMorph:
    """Sums and products of tensors: each channel must carry the same old one in all; a gate has one pixel."""
    first, shapes = pair.inputs[0], [x.shape for x in pair.new.inputs]
    reason = ""
    if len(pair.inputs) != len(pair.old.inputs):
        reason = "other inputs"
    for shape, one in zip(shapes[1:], pair.inputs[1:], strict=True):
        if not np.array_equal(one.channels, first.channels):
            reason = reason or "its inputs carry other channels"
        if one.axes != first.axes and not (shape[:2] == (1, 1) != shapes[0][:2] and one.is_here):
            reason = reason or "other positions"
    return LayerMorph(first.channels, first.axes, reason)


def _concat(pair: LayerPair) -> LayerMorph:
    """The channels of each input, from where the old network has those of the tensor that it carries."""
    starts = np.cumsum([0, *(x.shape[-1] for x in pair.old.inputs)])
    unused = dict(enumerate(pair.old.inputs))
    parts, axes = [], {one.axes for one in pair.inputs if one.tensor is not None}
    for one in pair.inputs:
        number = next((i for i, x in unused.items() if one.tensor is not None and carries(one.tensor, x)), None)
        if number is None:
            parts.append(np.full(len(one.channels), -1))
            continue
        unused.pop(number)
        parts.append(np.where(one.channels < 0, -1, one.channels + starts[number]))
    return LayerMorph(np.concatenate(parts), next(iter(axes), HERE), "" if len(axes) == 1 else "other positions")


def _pointwise(pair: LayerPair) -> LayerMorph:
    x = pair.inputs[0]
    return LayerMorph(x.channels, x.axes, pair.differs())


def _keep(pair: LayerPair) -> LayerMorph:
    """A layer of any op, which computes the same where nothing about it differs."""
    is_same = pair.old.op == pair.new.op and len(pair.inputs) == len(pair.old.inputs)
    for one, x, now in zip(pair.inputs, pair.old.inputs, pair.new.inputs, strict=False):
        is_same = is_same and one.is_here and x.shape == now.shape and is_identity(one.channels, x.shape[-1])
    arrays = {n: a for n, a in pair.weights.items() if n in pair.initial and a.shape == pair.initial[n].shape}
    is_same = is_same and arrays.keys() == pair.initial.keys()
    reason = "" if is_same else "another input, or another op"
    return LayerMorph(stretch(pair.old.shape[-1], pair.new.shape[-1]), HERE, reason, arrays)


def _renew(pair: LayerPair) -> LayerMorph:
    """A layer that keeps its initial weights."""
    channels = np.full(pair.new.shape[-1], -1)
    return LayerMorph(channels, HERE, pair.differs("filters", "units") or "new")


RULES: dict[type, Rule] = {
    ops.Conv: _conv,
    ops.Depthwise: _depthwise,
    ops.Dense: _dense,
    ops.BatchNorm: _batch_norm,
    ops.LayerNorm: _layer_norm,
    ops.GroupNorm: _group_norm,
    ops.GlobalResponseNorm: _response_norm,
    ops.LayerScale: _layer_scale,
    ops.Pool: _pool,
    ops.Pad: _pad,
    ops.AdaptivePool: _whole,
    ops.GlobalPool: _whole,
    ops.Crop: _whole,
    ops.Flatten: _flatten,
    ops.ChannelSlice: _slice,
    ops.ChannelShuffle: _shuffle,
    ops.Add: _combine,
    ops.Multiply: _combine,
    ops.Concat: _concat,
    ops.Activation: _pointwise,
    ops.LeakyRelu: _pointwise,
}
