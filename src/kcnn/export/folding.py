"""Folding of norms: which convolution or dense layer takes in which norm, and its weights after that."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kcnn.keras_bridge import normalization
from kcnn.keras_bridge.keras_graph import TRAINING_ONLY, is_plain, operation, producers

FOLDING = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D, keras.layers.Dense)


@dataclass(frozen=True)
class Affine:
    """A batch norm in inference: x * scale + shift for each channel.

    Attributes:
        scale: float64 (channels,).
        shift: float64 (channels,).
    """

    scale: np.ndarray
    shift: np.ndarray


def fold_norms(layer: Any, kernel: Any, bias: Any, before: Affine | None, after: Affine | None) -> list[np.ndarray]:
    """[kernel] or [kernel, bias] of a layer that computes what norm, layer and norm computed one after another."""
    depthwise = kernel is getattr(layer, "depthwise_kernel", None) or isinstance(layer, keras.layers.DepthwiseConv2D)
    kernel = to_array(kernel)
    outputs = kernel.shape[2:] if depthwise else kernel.shape[-1:]
    shift = np.zeros(outputs) if bias is None else to_array(bias).reshape(outputs)
    if before is not None:
        scale, offset = (_expand_to_kernel(values, kernel.shape, depthwise) for values in (before.scale, before.shift))
        shift = shift + (kernel * offset).sum(axis=tuple(range(kernel.ndim - len(outputs))))
        kernel = kernel * scale
    if after is not None:
        scale, offset = after.scale.reshape(outputs), after.shift.reshape(outputs)
        kernel, shift = kernel * scale, shift * scale + offset
    unchanged = bias is None and before is None and after is None
    return [kernel] if unchanged else [kernel, shift.reshape(-1)]


def _expand_to_kernel(values: np.ndarray, shape: Sequence[int], depthwise: bool) -> np.ndarray:
    """One value for each input channel, as a kernel of that shape multiplies with it."""
    if depthwise:
        return values[:, None]
    inputs, filters = shape[-2:]
    groups = len(values) // inputs
    return np.repeat(values.reshape(groups, inputs).T, filters // groups, axis=1)


def find_users(order: Sequence[Any], outputs: Sequence[Any]) -> dict[int, list[Any]]:
    """The tensors computed from each tensor, by its id; None for the model's output."""
    users: dict[int, list[Any]] = {}
    for tensor in order:
        for source in producers(tensor):
            users.setdefault(id(source), []).append(tensor)
    for tensor in outputs:
        users.setdefault(id(tensor), []).append(None)
    return users


def find_folds(
    order: Sequence[Any], outputs: Sequence[Any]
) -> tuple[dict[int, Affine], dict[int, Affine], set[int], set[int]]:
    """Norms to fold, by the tensor of the layer that takes them in: those before it and after it.

    Then the tensors to remove, and those of layer norms whose scale and offset were folded.
    """
    users = find_users(order, outputs)
    inside = {id(tensor) for tensor in order}
    before: dict[int, Affine] = {}
    after: dict[int, Affine] = {}
    removed: set[int] = set()
    bare: set[int] = set()
    for tensor in order:
        layer = operation(tensor)
        if is_plain(layer, TRAINING_ONLY):
            removed.add(id(tensor))
        consumers = users[id(tensor)]
        if type(layer) is keras.layers.LayerNormalization:
            affine = _affine_of_layer_norm(layer, tensor.shape)
            has_one_user = affine and len(consumers) == 1 and consumers[0] is not None
            if affine and has_one_user and _can_absorb(operation(consumers[0]), affine):
                before[id(consumers[0])] = affine
                bare.add(id(tensor))
            continue
        affine = to_affine(layer, tensor.shape)
        if affine is None:
            continue
        source = producers(tensor)[0]
        if id(source) in inside and len(users[id(source)]) == 1 and ends_linear(operation(source)):
            after[id(source)] = affine
            removed.add(id(tensor))
        elif len(consumers) == 1 and consumers[0] is not None and _can_absorb(operation(consumers[0]), affine):
            before[id(consumers[0])] = affine
            removed.add(id(tensor))
    return before, after, removed, bare


def _affine_of_layer_norm(layer: Any, shape: Sequence[int]) -> Affine | None:
    """The scale and offset of a layer norm over the channels, the last axis; None where it has none."""
    if layer.rms_scaling or list(layer.axis) not in ([-1], [len(shape) - 1]) or not (layer.scale or layer.center):
        return None
    return Affine(
        to_array(layer.gamma) if layer.scale else np.ones(shape[-1]),
        to_array(layer.beta) if layer.center else np.zeros(shape[-1]),
    )


def to_affine(layer: Any, shape: Sequence[int]) -> Affine | None:
    """What a norm or a scaling of channels does in inference; None for other layers."""
    channels = shape[-1]
    if is_plain(layer, keras.layers.Rescaling):
        return Affine(*(np.broadcast_to(np.asarray(v, "float64"), channels) for v in (layer.scale, layer.offset)))
    if is_plain(layer, normalization.LayerScale):
        return Affine(to_array(layer.gamma), np.zeros(channels))
    if not is_plain(layer, keras.layers.BatchNormalization) or layer.axis not in (-1, len(shape) - 1) or layer.renorm:
        return None
    scale = (
        1 / np.sqrt(to_array(layer.moving_variance) + layer.epsilon) * (to_array(layer.gamma) if layer.scale else 1.0)
    )
    return Affine(scale, (to_array(layer.beta) if layer.center else 0.0) - to_array(layer.moving_mean) * scale)


def to_array(value: Any) -> np.ndarray:
    """A variable as float64."""
    return np.asarray(keras.ops.convert_to_numpy(value), "float64")


def ends_linear(layer: Any) -> bool:
    """Whether a layer's kernel and bias are the last thing it does to its channels, the last axis."""
    return (
        is_plain(layer, FOLDING) and layer.activation in (None, keras.activations.linear) and has_channels_last(layer)
    )


def _can_absorb(layer: Any, norm: Affine) -> bool:
    """Whether a layer's kernel and bias can do what a norm before it did: padding is zeros after the norm."""
    if not is_plain(layer, FOLDING) or not has_channels_last(layer):
        return False
    return (
        isinstance(layer, keras.layers.Dense)
        or layer.padding == "valid"
        or set(layer.kernel_size) == {1}
        or not norm.shift.any()
    )


def has_channels_last(layer: Any) -> bool:
    """Whether channels are the last axis."""
    return getattr(layer, "data_format", "channels_last") == "channels_last"
