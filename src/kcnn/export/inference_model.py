"""A model for inference, of Keras' own layers: norms folded into convolutions, training-only layers left out.

The graph is walked from the inputs on. A batch norm or layer scale after a convolution, or before one without
padding, becomes part of its kernel and bias, as do the scale and offset of a layer norm before one; a layer that is not
Keras' own is replaced by the Keras ops that it is made of. Where parallel convolutions are added, the result is walked
again, and they become one.
"""

import inspect
from collections.abc import Container, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kcnn.export.folding import FOLDING, Affine, find_folds, fold_norms
from kcnn.export.merging import Cluster, apply_merged, find_merges
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.tracing import topological_order
from kcnn.keras_bridge import layers, normalization
from kcnn.keras_bridge.keras_graph import (
    SIGNED_ACTIVATIONS,
    find_probability_activation,
    is_plain,
    means_several_labels,
    operation,
    outputs_of_call,
    producers,
    replay,
    unique_name,
)
from kcnn.keras_bridge.model import Network, QuickModel


@check_arguments
def optimize_for_inference(model: Any, *, probabilities: bool = False) -> Any:
    """Return a functional model of Keras' own layers that computes what `model` does in inference, up to rounding.

    Batch norms are folded into convolutions. Parallel convolutions that are added, with batch norms or their input
    beside them, become one where it needs no more multiplications than they do. Auxiliary classifiers are left out,
    nested models flattened, and everything computes in float32. The result's `metadata` describes its input and
    output: input_shape, pixels (their range, None where it is unknown), classes (names, or their number), multi_label
    and thresholds of several labels an image, and the preprocessing of images where it is known. `export_model` writes
    it into every file.

    Args:
        model: A functional or sequential Keras model, with the layers of any plugin.
        probabilities: Whether to end in probabilities (batch, classes) instead of logits: by a softmax, by a sigmoid
            with several labels per image, or as they are where the model ends in one already. Several sigmoids mean
            several labels per image unless the metadata has it otherwise. One output, logit or sigmoid, is the
            probability of the second of two classes; the result then has both.

    Returns:
        The new model; `model` stays as it is.

    Raises:
        TypeError: The model has no graph; a layer is quantized; or a layer that is not of Keras' own classes has
            weights, or functions of a backend, and no method `to_inference_layer`.
        ValueError: A sliding-window layer has an open input size; or `probabilities` of a model that ends in a softmax
            over one output, which is 1 for every image.
    """
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise TypeError(f"optimize_for_inference expects a functional or sequential Keras model, got {model!r}")
    outputs = list(model.outputs)[: 1 if isinstance(model, Network) and model.metadata["spec"].get("aux") else None]
    inputs = [keras.Input(tensor.shape[1:], name=operation(tensor).name, dtype=tensor.dtype) for tensor in model.inputs]
    results = _merge_and_fold(inputs, _Rebuilder().rebuild(model.inputs, outputs, inputs))
    source = getattr(model, "metadata", None) or {}
    multi_label = bool(source.get("multi_label"))
    if probabilities:
        results[0], multi_label = _to_probabilities(
            keras.Model(inputs[0] if len(inputs) == 1 else inputs, results[0]), source.get("multi_label")
        )
    rebuilt = QuickModel(*(group[0] if len(group) == 1 else group for group in (inputs, results)), name=model.name)
    classes = source.get("classes") or getattr(results[0], "shape", (None,))[-1]
    metadata = {key: source[key] for key in ("preprocessing", "thresholds") if source.get(key)}
    if multi_label:
        metadata["multi_label"] = True
    if "spec" in source:
        metadata["network"] = source["spec"]["network"]
    rebuilt.metadata = {
        **metadata,
        "input_shape": list(inputs[0].shape[1:]),
        "pixels": [0, 255] if source else None,
        "classes": 2 if probabilities and classes == 1 else classes,
    }
    return rebuilt


def _merge_and_fold(inputs: Sequence[Any], outputs: list[Any]) -> list[Any]:
    """The outputs of a graph of Keras' own layers with parallel branches merged, and norms after their sums folded."""
    known = {id(tensor) for tensor in inputs}
    while True:
        walked = topological_order(*outputs, sources=lambda one: () if id(one) in known else producers(one))
        merges, removed = find_merges([tensor for tensor in walked if id(tensor) not in known], outputs)
        if not merges:
            return outputs
        outputs = _Rebuilder(merges, removed).rebuild(inputs, outputs, inputs)
        outputs = _Rebuilder().rebuild(inputs, outputs, inputs)


def _to_probabilities(model: Any, multi_label: bool | None) -> tuple[Any, bool]:
    """The probabilities of a flat model's classes, and whether an image has several labels."""
    output = model.outputs[0]
    count, function = output.shape[-1], find_probability_activation(model)
    if function is None:
        function = "sigmoid" if multi_label or count == 1 else "softmax"
        output = keras.layers.Activation(function, name="probabilities", dtype="float32")(output)
    elif function in SIGNED_ACTIVATIONS:
        output = (output + 1.0) / 2.0
    elif multi_label is None:
        multi_label = means_several_labels(function, count)
    if count == 1 and not multi_label:
        output = keras.layers.Concatenate(name="both_classes", dtype="float32")([1.0 - output, output])
    return output, bool(multi_label)


def _feeds_only_max_pools(tensor: Any, order: Sequence[Any]) -> bool:
    """Whether a padded tensor goes into max pools alone, each window of which has a pixel of the image."""
    consumers = [operation(one) for one in order if any(source is tensor for source in producers(one))]
    margin = [max(pair) for pair in operation(tensor).padding]
    return bool(consumers) and all(
        isinstance(pool, keras.layers.MaxPooling2D)
        and pool.padding == "valid"
        and all(size > width for size, width in zip(pool.pool_size, margin, strict=True))
        for pool in consumers
    )


def _to_finite_padding(pad: Any, before: Any) -> Any:
    """Padding that gives the same maxima as minus infinity does, which 8-bit numbers cannot represent.

    Zeros where nothing is negative, else the pixels at the edge, which are in every such window.
    """
    source = operation(before)
    function = getattr(getattr(source, "activation", None), "__name__", "")
    relu = isinstance(source, keras.layers.ReLU) and not source.negative_slope
    positive = relu or function in ("relu", "relu6", "sigmoid")
    return layers.Pad2D(pad.padding, "zeros" if positive else "edge", pad.channels)


class _Rebuilder:
    """Rebuilds a graph, with norms folded or else with these sums merged; holds the layer names that are taken."""

    def __init__(self, merges: Mapping[int, Sequence[Cluster]] | None = None, merged: Container[int] = ()) -> None:
        self.names: set[str] = set()
        self.merges, self.merged = merges, merged

    def rebuild(self, inputs: Sequence[Any], outputs: Sequence[Any], values: Sequence[Any]) -> list[Any]:
        """The tensors `outputs`, which follow from `inputs`, rebuilt from `values`."""
        known = {id(tensor) for tensor in inputs}
        walked = topological_order(*outputs, sources=lambda one: () if id(one) in known else producers(one))
        order = [tensor for tensor in walked if id(tensor) not in known]
        before, after, removed, bare = ({}, {}, self.merged, ()) if self.merges else find_folds(order, outputs)
        rebuilt = {id(tensor): value for tensor, value in zip(inputs, values, strict=True)}

        def call(tensor: Any, args: Any, kwargs: Any) -> Any:
            result = call_layer(tensor, args, kwargs)
            rebuilt.update(zip(map(id, outputs_of_call(tensor)), keras.tree.flatten(result), strict=True))
            return result

        def call_layer(tensor: Any, args: Any, kwargs: Any) -> Any:
            layer = operation(tensor)
            if id(tensor) in removed:
                return keras.tree.flatten(args)[0]
            if self.merges and id(tensor) in self.merges:
                return self._add_clusters(tensor, self.merges[id(tensor)], rebuilt)
            if id(tensor) in bare:
                return self._copy(keras.layers.LayerNormalization, layer, scale=False, center=False)(*args)
            if (
                isinstance(layer, layers.Pad2D)
                and layer.padding_mode == "lowest"
                and _feeds_only_max_pools(tensor, order)
            ):
                return _to_finite_padding(layer, producers(tensor)[0]).call(*args)
            kwargs = {name: value for name, value in kwargs.items() if name not in ("training", "mask")}
            return self._rebuild_layer(layer, args, kwargs, before.get(id(tensor)), after.get(id(tensor)))

        return replay(outputs, list(zip(inputs, values, strict=True)), call)

    def _rebuild_layer(self, layer: Any, args: Any, kwargs: Any, before: Affine | None, after: Affine | None) -> Any:
        """What a layer makes of new tensors, with the norms before and after it folded in."""
        if mode := getattr(layer, "quantization_mode", None):
            raise TypeError(f"layer {layer.name!r} is quantized ({mode}): optimize the model before you quantize it")
        if isinstance(layer, keras.Model) and getattr(layer, "inputs", None):
            return self.rebuild(layer.inputs, layer.outputs, keras.tree.flatten(args))
        if is_plain(layer, FOLDING):
            return self._fold_layer(layer, args[0], before, after)
        if is_plain(layer, layers.BatchNormalization):
            return _call_with_weights(self._copy(keras.layers.BatchNormalization, layer), layer.get_weights(), *args)
        if is_plain(layer, keras.layers.Normalization):
            return _normalize(layer, *args)
        if not isinstance(layer, keras.layers.Layer):  # an op of Keras'
            return layer(*args, **kwargs)
        if type(layer).__module__.partition(".")[0] == "keras":
            return _call_with_weights(self._copy(type(layer), layer), layer.get_weights(), *args, **kwargs)
        if hasattr(layer, "to_inference_layer"):
            return self._flatten(layer.to_inference_layer(*args), args)
        hint = (
            f"layer {layer.name!r} is a {type(layer).__qualname__}, not Keras' own; give the class a method "
            "to_inference_layer(x) that computes the same with Keras' layers and ops"
        )
        if layer.weights:
            raise TypeError(hint)
        if "training" in inspect.signature(layer.call).parameters:
            kwargs = {**kwargs, "training": False}
        try:
            return layer.call(*args, **kwargs)
        except ValueError as error:
            if "KerasTensor" not in str(error):
                raise
            raise TypeError(f"{hint}: its `call` has functions of a backend") from None

    def _add_clusters(self, tensor: Any, clusters: Sequence[Cluster], rebuilt: Mapping[int, Any]) -> Any:
        """The sum of merged branches, and of the tensors that are not."""
        terms = [
            apply_merged(cluster, rebuilt[id(cluster.branches[0].source)], self._unique_name)
            if len(cluster.branches) > 1
            else rebuilt[id(cluster.branches[0].tensor)]
            for cluster in clusters
        ]
        add = keras.layers.Add(name=self._unique_name(operation(tensor).name), dtype="float32")
        return terms[0] if len(terms) == 1 else add(terms)

    def _flatten(self, result: Any, args: Sequence[Any]) -> Any:
        """What a layer's `to_inference_layer` made, with nested models flattened."""
        inputs, known = keras.tree.flatten(args), {id(one) for one in keras.tree.flatten(args)}
        inner = topological_order(result, sources=lambda one: () if id(one) in known else producers(one))
        nested = any(isinstance(operation(one), keras.Model) for one in inner if id(one) not in known)
        return self.rebuild(inputs, [result], inputs)[0] if nested else result

    def _fold_layer(self, layer: Any, x: Any, before: Affine | None, after: Affine | None) -> Any:
        """A convolution or dense layer with its norms folded into its kernel."""
        if isinstance(layer, keras.layers.SeparableConv2D):
            return self._fold_separable(layer, x, before, after)
        kernel, layer_class = layer.kernel, type(layer)
        if isinstance(layer, layers.SubsampledConv2D):
            layer_class = keras.layers.Conv2D  # no gradient is needed
        if isinstance(layer, normalization.StandardizedConv2D):
            kernel = normalization.standardize(kernel)
        arrays = fold_norms(layer, kernel, layer.bias if layer.use_bias else None, before, after)
        initializer = (
            "depthwise_initializer" if isinstance(layer, keras.layers.DepthwiseConv2D) else "kernel_initializer"
        )
        new = self._copy(layer_class, layer, use_bias=len(arrays) == 2, **{initializer: "zeros"})
        return _call_with_weights(new, arrays, x)

    def _fold_separable(self, layer: Any, x: Any, before: Affine | None, after: Affine | None) -> Any:
        """A depthwise and a pointwise convolution, of which a separable one is made."""
        shared = {"data_format": layer.data_format, "dtype": "float32"}
        arrays = fold_norms(layer, layer.depthwise_kernel, None, before, None)
        first = keras.layers.DepthwiseConv2D(
            layer.kernel_size,
            layer.strides,
            layer.padding,
            layer.depth_multiplier,
            dilation_rate=layer.dilation_rate,
            use_bias=len(arrays) == 2,
            name=self._unique_name(f"{layer.name}_depthwise"),
            **shared,
        )
        x = _call_with_weights(first, arrays, x)
        arrays = fold_norms(layer, layer.pointwise_kernel, layer.bias if layer.use_bias else None, None, after)
        second = keras.layers.Conv2D(
            layer.filters,
            1,
            activation=layer.activation,
            use_bias=len(arrays) == 2,
            name=self._unique_name(layer.name),
            **shared,
        )
        return _call_with_weights(second, arrays, x)

    def _copy(self, layer_class: Any, layer: Any, **changes: Any) -> Any:
        """A layer of that class with the same config and a unique name, in float32."""
        config = {**layer.get_config(), "name": self._unique_name(layer.name), "dtype": "float32", **changes}
        if callable(getattr(layer, "activation", None)):  # it may be a function that no config can name
            config["activation"] = layer.activation
        return layer_class.from_config(config)

    def _unique_name(self, name: str) -> str:
        free = unique_name(name, self.names)
        self.names.add(free)
        return free


def _call_with_weights(layer: Any, arrays: Sequence[np.ndarray], *args: Any, **kwargs: Any) -> Any:
    """What the layer makes of the tensors, with these weights."""
    result = layer(*args, **kwargs)
    layer.set_weights(arrays)
    return result


def _normalize(layer: Any, x: Any) -> Any:
    """What a Normalization makes of a tensor, by constants: Keras' layer has tensors, which ONNX takes for inputs."""
    mean, variance = (keras.ops.convert_to_numpy(one).astype("float32") for one in (layer.mean, layer.variance))
    deviation = np.maximum(np.sqrt(variance), np.float32(keras.backend.epsilon()))
    return x * deviation + mean if layer.invert else (x - mean) / deviation
