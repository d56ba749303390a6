"""What layers of a model give for pictures, and the kernels that they slide over them."""

from typing import Any

import keras
import numpy as np
from keras import ops

from kcnn.explain import model_access


def activations(model: Any, images: Any, layers: str = "*") -> dict[str, np.ndarray]:
    """The outputs of every layer whose name fits the glob `layers`, by name in order, float32 (n, ...).

    `images` are pictures (n, rows, columns, channels) as the model takes them; they go through it once, in inference.
    LookupError, with the nearest names, where no layer answers; TypeError where the model has no graph; ValueError.
    """
    wanted = model_access.match_layers(model, layers)
    x = ops.convert_to_tensor(model_access.to_batch(model, images))
    found = model_access.replay(list(wanted.values()), [(model_access.find_image_input(model), x)])
    return {name: ops.convert_to_numpy(ops.cast(value, "float32")) for name, value in zip(wanted, found, strict=True)}


def filters(model: Any, layer: str | None = None) -> np.ndarray:
    """The kernels of a convolution, by default of the first: float32 (rows, columns, in, out).

    A depthwise one's out is its filters per channel, a grouped one's in is the channels of one group.
    LookupError, with the nearest names, for a layer that is not there; ValueError where it is no convolution.
    """
    if layer is None:
        layer = find_first_convolution(model)
        if layer is None:
            hint = model_access.find_nested(model_access.list_layers(model).values())
            raise ValueError(f"{model.name!r} has no convolution, so there are no filters to see{hint}")
    kernel = _kernel(model_access.keras_operation(model_access.find_layer(model, layer)))
    if kernel is None:
        raise ValueError(
            f"layer {layer!r} of {model.name!r} is no convolution; the first one is {find_first_convolution(model)!r}"
        )
    return ops.convert_to_numpy(ops.cast(kernel, "float32"))


def find_first_convolution(model: Any) -> str | None:
    """The name of a model's first convolution, None where it has none."""
    return next(
        (
            name
            for name, one in model_access.list_layers(model).items()
            if _kernel(model_access.keras_operation(one)) is not None
        ),
        None,
    )


def _kernel(layer: Any) -> Any:
    if isinstance(layer, keras.layers.SeparableConv2D):
        return layer.depthwise_kernel
    kernel = getattr(layer, "kernel", None)
    if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D | keras.layers.Conv2DTranspose):
        return ops.swapaxes(kernel, 2, 3) if isinstance(layer, keras.layers.Conv2DTranspose) else kernel
    own = getattr(layer, "_kernel", None)  # convolutions of plugins that keep their kernel in another form
    return None if own is None or not hasattr(layer, "to_op") else own()
