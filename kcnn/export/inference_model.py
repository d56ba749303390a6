"""A model for inference alone, of Keras' own layers: norms folded into convolutions, what only training needs left out.

The graph is walked once from the input on. A batch norm behind a convolution, or before one whose padding it cannot
tell from pixels, becomes part of its kernel and bias; a layer that is not Keras' own is taken apart into Keras' ops.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kcnn.graph.tracing import topological_order
from kcnn.keras_bridge import layers
from kcnn.keras_bridge.from_keras import producers
from kcnn.keras_bridge.model import Network

_OWN = keras.layers
_IDLE = (  # layers that do nothing but in training
    *(_OWN.Dropout, _OWN.SpatialDropout1D, _OWN.SpatialDropout2D, _OWN.SpatialDropout3D, _OWN.AlphaDropout),
    *(_OWN.GaussianDropout, _OWN.GaussianNoise, _OWN.ActivityRegularization, _OWN.Identity),
    *(_OWN.RandomFlip, _OWN.RandomRotation, _OWN.RandomTranslation, _OWN.RandomZoom, _OWN.RandomShear),
    *(_OWN.RandomPerspective, _OWN.RandomElasticTransform, _OWN.RandomErasing, _OWN.RandomGaussianBlur),
    *(_OWN.RandomBrightness, _OWN.RandomContrast, _OWN.RandomSaturation, _OWN.RandomHue, _OWN.RandomSharpness),
    *(_OWN.RandomColorJitter, _OWN.RandomColorDegeneration, _OWN.RandomGrayscale, _OWN.RandomPosterization),
    *(_OWN.RandomInvert, _OWN.RandAugment, _OWN.AugMix, _OWN.MixUp, _OWN.CutMix),
)
_FOLDING = (_OWN.Conv2D, _OWN.DepthwiseConv2D, _OWN.SeparableConv2D, _OWN.Dense)


@dataclass(frozen=True)
class Affine:
    """x * scale + shift, for each channel: what a batch norm is once it has learned. float64 (channels,)."""

    scale: np.ndarray
    shift: np.ndarray


def optimize_for_inference(model: Any, *, softmax: bool = False) -> Any:
    """A functional model of Keras' own layers with the outputs of `model` in inference, but for rounding.

    Auxiliary classifiers are left out, nested models laid flat, and everything computes in float32. `softmax` puts
    probabilities in the place of logits: of a network of several labels a sigmoid does. `metadata` of the model says
    what goes in and comes out: input_shape, pixels (the range, None where it is not known), classes (names, or their
    number), multi_label and thresholds where a picture may have several labels, and how pictures were cropped where
    that is known; kcnn.export.formats.export writes it into every file.

    TypeError where the model has no graph, or a layer with weights is neither Keras' nor says what it is made of;
    ValueError where a model slides over pictures of an open size.
    """
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise TypeError(f"kcnn.export takes a functional or sequential Keras model, not {model!r}")
    ends = list(model.outputs)[: 1 if isinstance(model, Network) and model.metadata["spec"].get("aux") else None]
    images = [
        keras.Input(tensor.shape[1:], name=_operation(tensor).name, dtype=tensor.dtype) for tensor in model.inputs
    ]
    found = _Plain().remade(model.inputs, ends, images)
    card = getattr(model, "metadata", None) or {}
    if softmax:
        function = "sigmoid" if card.get("multi_label") else "softmax"
        found[0] = _OWN.Activation(function, name="probabilities", dtype="float32")(found[0])
    made = keras.Model(*(group[0] if len(group) == 1 else group for group in (images, found)), name=model.name)
    kept = {word: card[word] for word in ("pictures", "multi_label", "thresholds") if card.get(word)}
    if "spec" in card:
        kept["network"] = card["spec"]["network"]
    classes = card.get("classes") or getattr(found[0], "shape", (None,))[-1]
    made.metadata = {
        **kept,
        "input_shape": list(images[0].shape[1:]),
        "pixels": [0, 255] if card else None,
        "classes": classes,
    }
    return made


def _operation(tensor: Any) -> Any:
    return tensor._keras_history.operation


def _pooled(tensor: Any, order: Sequence[Any]) -> bool:
    """Whether a padded tensor goes into max pools alone, of which each window has a pixel of the image."""
    after = [_operation(one) for one in order if any(source is tensor for source in producers(one))]
    margin = [max(side) for side in _operation(tensor).padding]
    return bool(after) and all(
        isinstance(pool, _OWN.MaxPooling2D)
        and pool.padding == "valid"
        and all(size > wide for size, wide in zip(pool.pool_size, margin, strict=True))
        for pool in after
    )


def _finite(pad: Any, before: Any) -> Any:
    """A margin of minus infinity as one that gives the same maxima: 8-bit numbers have no room for it.

    Where nothing is negative that is zeros, else the pixels at the edge, which are in every such window.
    """
    source = _operation(before)
    function = getattr(getattr(source, "activation", None), "__name__", "")
    relu = isinstance(source, _OWN.ReLU) and not source.negative_slope
    positive = relu or function in ("relu", "relu6", "sigmoid")
    return layers.Pad2D(pad.padding, "zeros" if positive else "edge", pad.channels)


def _node(tensor: Any) -> Any:
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index]


class _Plain:
    """A graph made again; names that were given already."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def remade(self, ins: Sequence[Any], outs: Sequence[Any], given: Sequence[Any]) -> list[Any]:
        """The tensors `outs`, which follow from `ins`, made again from `given`."""
        made = {id(tensor): one for tensor, one in zip(ins, given, strict=True)}
        walked = topological_order(*outs, sources=lambda one: () if id(one) in made else producers(one))
        order = [tensor for tensor in walked if id(tensor) not in made]
        before, behind, gone = _folds(order, outs)
        for tensor in order:
            if id(tensor) in made:  # another output of one layer
                continue
            if id(tensor) in gone:
                made[id(tensor)] = made[id(producers(tensor)[0])]
                continue
            node = _node(tensor)
            args, kwargs = node.arguments.fill_in(made)
            if isinstance(node.operation, layers.Pad2D) and node.operation.fill == "lowest" and _pooled(tensor, order):
                made[id(tensor)] = _finite(node.operation, producers(tensor)[0]).call(*args)
                continue
            kwargs = {word: value for word, value in kwargs.items() if word not in ("training", "mask")}
            results = self._layer(node.operation, args, kwargs, before.get(id(tensor)), behind.get(id(tensor)))
            results = results if isinstance(results, list | tuple) else [results]
            made.update(zip(map(id, node.output_tensors), results, strict=True))
        return [made[id(tensor)] for tensor in outs]

    def _layer(self, layer: Any, args: Any, kwargs: Any, before: Affine | None, behind: Affine | None) -> Any:
        """What a layer makes of new tensors, with the norms before and behind it that it takes in."""
        if isinstance(layer, keras.Model) and getattr(layer, "inputs", None):
            return self.remade(layer.inputs, layer.outputs, keras.tree.flatten(args))
        if isinstance(layer, _FOLDING):
            return self._window(layer, args[0], before, behind)
        if isinstance(layer, layers.BatchNormalization):
            return _filled(self._copy(_OWN.BatchNormalization, layer), layer.get_weights(), *args)
        if not isinstance(layer, _OWN.Layer):  # an op of Keras'
            return layer(*args, **kwargs)
        if type(layer).__module__.partition(".")[0] == "keras":
            return _filled(self._copy(type(layer), layer), layer.get_weights(), *args, **kwargs)
        if hasattr(layer, "to_inference_layer"):
            return self._flat(layer.to_inference_layer(*args), args)
        if layer.weights:
            raise TypeError(
                f"kcnn.export: layer {layer.name!r} is a {type(layer).__qualname__}, which is not Keras' own; give the "
                "class a method to_inference_layer(x) that makes the same of Keras' layers and ops"
            )
        return layer.call(*args, **kwargs)

    def _flat(self, found: Any, given: Sequence[Any]) -> Any:
        """What a layer says that it is made of, with the models in it laid flat."""
        ins, known = keras.tree.flatten(given), {id(one) for one in keras.tree.flatten(given)}
        inside = topological_order(found, sources=lambda one: () if id(one) in known else producers(one))
        nested = any(isinstance(_operation(one), keras.Model) for one in inside if id(one) not in known)
        return self.remade(ins, [found], ins)[0] if nested else found

    def _window(self, layer: Any, x: Any, before: Affine | None, behind: Affine | None) -> Any:
        """A convolution or dense layer with its norms in its kernel."""
        if isinstance(layer, _OWN.SeparableConv2D):
            return self._separable(layer, x, before, behind)
        arrays = _folded(layer, layer.kernel, layer.bias if layer.use_bias else None, before, behind)
        init = "depthwise_initializer" if isinstance(layer, _OWN.DepthwiseConv2D) else "kernel_initializer"
        new = self._copy(type(layer), layer, use_bias=len(arrays) == 2, **{init: "zeros"})
        return _filled(new, arrays, x)

    def _separable(self, layer: Any, x: Any, before: Affine | None, behind: Affine | None) -> Any:
        """A depthwise convolution and one of a single pixel, as a separable one is."""
        shared = {"data_format": layer.data_format, "dtype": "float32"}
        arrays = _folded(layer, layer.depthwise_kernel, None, before, None)
        first = _OWN.DepthwiseConv2D(
            layer.kernel_size,
            layer.strides,
            layer.padding,
            layer.depth_multiplier,
            dilation_rate=layer.dilation_rate,
            use_bias=len(arrays) == 2,
            name=self._free(f"{layer.name}_depthwise"),
            **shared,
        )
        x = _filled(first, arrays, x)
        arrays = _folded(layer, layer.pointwise_kernel, layer.bias if layer.use_bias else None, None, behind)
        second = _OWN.Conv2D(
            layer.filters,
            1,
            activation=layer.activation,
            use_bias=len(arrays) == 2,
            name=self._free(layer.name),
            **shared,
        )
        return _filled(second, arrays, x)

    def _copy(self, kind: Any, layer: Any, **changes: Any) -> Any:
        """A layer of that kind with the same settings and a name that is free, in float32."""
        return kind.from_config({**layer.get_config(), "name": self._free(layer.name), "dtype": "float32", **changes})

    def _free(self, name: str) -> str:
        number, free = 2, name
        while free in self.names:
            free, number = f"{name}_{number}", number + 1
        self.names.add(free)
        return free


def _filled(layer: Any, arrays: Sequence[np.ndarray], *args: Any, **kwargs: Any) -> Any:
    """What the layer makes of the tensors, with those weights in it."""
    found = layer(*args, **kwargs)
    layer.set_weights(arrays)
    return found


def _folded(layer: Any, kernel: Any, bias: Any, before: Affine | None, behind: Affine | None) -> list[np.ndarray]:
    """[kernel] or [kernel, bias] of a layer that computes with its norms what all computed one after another."""
    depthwise = kernel is getattr(layer, "depthwise_kernel", None) or isinstance(layer, _OWN.DepthwiseConv2D)
    kernel = _array(kernel)
    outputs = kernel.shape[2:] if depthwise else kernel.shape[-1:]
    shift = np.zeros(outputs) if bias is None else _array(bias).reshape(outputs)
    if before is not None:
        scale, offset = (_by_filter(values, kernel.shape, depthwise) for values in (before.scale, before.shift))
        shift = shift + (kernel * offset).sum(axis=tuple(range(kernel.ndim - len(outputs))))
        kernel = kernel * scale
    if behind is not None:
        scale, offset = behind.scale.reshape(outputs), behind.shift.reshape(outputs)
        kernel, shift = kernel * scale, shift * scale + offset
    plain = bias is None and before is None and behind is None
    return [kernel] if plain else [kernel, shift.reshape(-1)]


def _by_filter(values: np.ndarray, shape: Sequence[int], depthwise: bool) -> np.ndarray:
    """One value for each input channel, as a kernel of that shape multiplies with it."""
    if depthwise:
        return values[:, None]
    inputs, filters = shape[-2:]
    groups = len(values) // inputs
    return np.repeat(values.reshape(groups, inputs).T, filters // groups, axis=1)


def _folds(order: Sequence[Any], outs: Sequence[Any]) -> tuple[dict[int, Affine], dict[int, Affine], set[int]]:
    """Norms by the tensor of the layer that takes them in, before it and behind it; and the tensors that are gone."""
    users: dict[int, list[Any]] = {}
    for tensor in order:
        for source in producers(tensor):
            users.setdefault(id(source), []).append(tensor)
    for tensor in outs:
        users.setdefault(id(tensor), []).append(None)
    here = {id(tensor) for tensor in order}
    before: dict[int, Affine] = {}
    behind: dict[int, Affine] = {}
    gone: set[int] = set()
    for tensor in order:
        layer = _operation(tensor)
        if isinstance(layer, _IDLE):
            gone.add(id(tensor))
        found = _affine(layer, tensor.shape)
        if found is None:
            continue
        source, after = producers(tensor)[0], users[id(tensor)]
        if id(source) in here and len(users[id(source)]) == 1 and _ends_linear(_operation(source)):
            behind[id(source)] = found
            gone.add(id(tensor))
        elif len(after) == 1 and after[0] is not None and _takes(_operation(after[0]), found):
            before[id(after[0])] = found
            gone.add(id(tensor))
    return before, behind, gone


def _affine(layer: Any, shape: Sequence[int]) -> Affine | None:
    """What a norm or a scaling of channels does in inference; None for other layers."""
    channels = shape[-1]
    if isinstance(layer, _OWN.Rescaling):
        return Affine(*(np.broadcast_to(np.asarray(v, "float64"), channels) for v in (layer.scale, layer.offset)))
    if not isinstance(layer, _OWN.BatchNormalization) or layer.axis not in (-1, len(shape) - 1) or layer.renorm:
        return None
    scale = 1 / np.sqrt(_array(layer.moving_variance) + layer.epsilon) * (_array(layer.gamma) if layer.scale else 1.0)
    return Affine(scale, (_array(layer.beta) if layer.center else 0.0) - _array(layer.moving_mean) * scale)


def _array(value: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(value), "float64")


def _ends_linear(layer: Any) -> bool:
    """Whether a layer's kernel and bias are the last thing it does to its channels, the last axis."""
    return (
        isinstance(layer, _FOLDING) and layer.activation in (None, keras.activations.linear) and _channels_last(layer)
    )


def _takes(layer: Any, found: Affine) -> bool:
    """Whether a layer's own kernel and bias can do what a norm before it did: margins are zeros behind the norm."""
    if not isinstance(layer, _FOLDING) or not _channels_last(layer):
        return False
    return (
        isinstance(layer, _OWN.Dense)
        or layer.padding == "valid"
        or set(layer.kernel_size) == {1}
        or not found.shift.any()
    )


def _channels_last(layer: Any) -> bool:
    return getattr(layer, "data_format", "channels_last") == "channels_last"
