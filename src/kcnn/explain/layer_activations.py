"""What layers of a model give for images, and the kernels of its convolutions."""

from typing import Any

import keras
import numpy as np
from keras import ops

from kcnn.explain import model_access
from kcnn.graph.argument_kinds import check_arguments
from kcnn.keras_bridge.keras_graph import operation, replay


@check_arguments
def activations(model: Any, images: Any, layers: str = "*") -> dict[str, np.ndarray]:
    """Compute the outputs of layers for images, in inference mode and one forward pass.

    Args:
        model: A flat Keras model.
        images: (n, rows, columns, channels), scaled as the model takes them.
        layers: A glob of layer names, such as "inception_4{a,e}_*".

    Returns:
        float32 (n, ...) by the layer's name, inputs before outputs.

    Raises:
        UnknownNameError: No layer matches; the message has the nearest names.
        TypeError: The model has no graph.
        ValueError: The model takes images of another shape.
    """
    tensors = model_access.match_layers(model, layers)
    x = ops.convert_to_tensor(model_access.to_batch(model, images))
    values = replay(list(tensors.values()), [(model_access.find_image_input(model), x)])
    return {name: ops.convert_to_numpy(ops.cast(value, "float32")) for name, value in zip(tensors, values, strict=True)}


@check_arguments
def filters(model: Any, layer: str | None = None) -> np.ndarray:
    """Return the kernels of a convolution.

    Args:
        model: A flat Keras model.
        layer: The layer's name; by default the first convolution.

    Returns:
        float32 (rows, columns, in, out). Of a depthwise convolution, out are the filters per channel; of a grouped
        one, in are the channels of one group.

    Raises:
        UnknownNameError: No layer has this name; the message has the nearest.
        ValueError: The layer is not a convolution, or the model has none.
    """
    if layer is None:
        layer = find_first_convolution(model)
        if layer is None:
            hint = model_access.describe_nested_model(model_access.list_layers(model).values())
            raise ValueError(f"{model.name!r} has no convolution, so it has no filters{hint}")
    kernel = _get_kernel(operation(model_access.find_layer(model, layer)))
    if kernel is None:
        first = find_first_convolution(model)
        raise ValueError(f"layer {layer!r} of {model.name!r} is not a convolution; the first one is {first!r}")
    return ops.convert_to_numpy(ops.cast(kernel, "float32"))


def find_first_convolution(model: Any) -> str | None:
    """Return the name of a model's first convolution, None where it has none."""
    layers = model_access.list_layers(model).items()
    return next((name for name, one in layers if _get_kernel(operation(one)) is not None), None)


def _get_kernel(layer: Any) -> Any:
    if isinstance(layer, keras.layers.SeparableConv2D):
        return layer.depthwise_kernel
    kernel = getattr(layer, "kernel", None)
    if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D | keras.layers.Conv2DTranspose):
        return ops.swapaxes(kernel, 2, 3) if isinstance(layer, keras.layers.Conv2DTranspose) else kernel
    own = getattr(layer, "_kernel", None)  # convolutions of plugins that keep their kernel in another form
    return None if own is None or not hasattr(layer, "to_op") else own()
