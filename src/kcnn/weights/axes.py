"""Arrays of a file in the order of axes that a Keras model has, and back."""

from typing import Any

import keras
import numpy as np

from kcnn.keras_bridge.keras_graph import operation, producers


def transpose(array: np.ndarray, layer: Any, variable: Any, kind: str) -> np.ndarray:
    """An array with its axes as Keras has them."""
    if variable.name != "kernel":
        return array.reshape(-1) if array.ndim > 1 and array.size == max(array.shape) else array
    if kind == "torch" and array.ndim == 4:
        is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        array = array.transpose((2, 3, 0, 1) if is_depthwise else (2, 3, 1, 0))
    elif kind == "torch" and array.ndim == 2:
        array = _reorder_flattened(array, layer).T
    if kind == "keras" and isinstance(layer, keras.layers.DepthwiseConv2D) and array.shape[2:3] == (1,):
        array = array.transpose(0, 1, 3, 2)  # a convolution with a group for each channel
    axes = len(variable.shape)  # a dense layer and a 1x1 convolution have the same weights
    if (array.ndim, axes) == (4, 2) and array.shape[:3] in ((1, 1, array.shape[2]), _find_flattened_map(layer)):
        return array.reshape(-1, array.shape[3])  # or one of a flattened map, and a convolution as large as the map
    return array[None, None] if (array.ndim, axes) == (2, 4) else array


def to_torch_axes(layer: Any, variable: Any, *, is_reshaped: bool = False) -> np.ndarray:
    """Return the values of a variable with their axes as PyTorch has them.

    Args:
        layer: A convolution, a dense layer, on a flattened map only if it is reshaped, a normalization or a scale.
        variable: One of its variables.
        is_reshaped: Whether a dense layer is a convolution as large as its map there, or a 1x1 convolution dense.

    Returns:
        The array: kernels of convolutions (filters, channels, rows, columns), of dense layers (units, features).
    """
    array = keras.ops.convert_to_numpy(variable)
    if variable.name == "kernel" and array.ndim == 4:
        is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        array = array.transpose((2, 3, 0, 1) if is_depthwise else (3, 2, 0, 1))
        array = array[:, :, 0, 0] if is_reshaped else array
    elif variable.name == "kernel":
        rows, columns, channels = _find_flattened_map(layer) or (1, 1, len(array))
        array = array.reshape(rows, columns, channels, -1).transpose(3, 2, 0, 1) if is_reshaped else array.T
    return np.ascontiguousarray(array)


def _reorder_flattened(array: np.ndarray, layer: Any) -> np.ndarray:
    """(units, features) for a map that was flattened channels last, where PyTorch flattens channels first."""
    map_shape = _find_flattened_map(layer)
    if map_shape is None or array.shape[1] != np.prod(map_shape):
        return array
    rows, columns, channels = map_shape
    return array.reshape(-1, channels, rows, columns).transpose(0, 2, 3, 1).reshape(array.shape)


def _find_flattened_map(layer: Any) -> tuple[int, ...] | None:
    """The shape that a dense layer's input had, where only a Flatten and layers without weights lie between."""
    tensor = layer.input
    while True:
        source = operation(tensor)
        if isinstance(source, keras.layers.Flatten):
            return tuple(source.input.shape[1:])
        inputs = producers(tensor)
        if len(inputs) != 1 or getattr(source, "weights", None):
            return None
        tensor = inputs[0]
