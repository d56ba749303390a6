"""A classifier applied to every window of larger images: by convolutions where that is exact, else window by window.

A network without padding gives for a window what its own layers, run over the larger image, give at the window's
position. Where it strides further than the windows, its maps are kept at the windows' step and what follows takes
its pixels from further apart (Giusti et al., arXiv:1302.1700; Sermanet et al., arXiv:1312.6229).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from kcnn.export.sliding.convolution import NotConvolutionalError, slide_convolutions, to_inference_model
from kcnn.export.sliding.layers import Windows
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.windows import Pair
from kcnn.keras_bridge.keras_graph import flatten_layers, operation

log = logging.getLogger("kcnn.export.sliding")


@dataclass(frozen=True)
class SlidingMode:
    """How a model slides over images.

    Attributes:
        mode: "convolution", its layers run over the larger image; or "windows", cut out and classified.
        window: Pixels (rows, columns).
        stride: Pixels (rows, columns) from window to window.
        reason: Why the mode is "windows"; None for "convolution".
    """

    mode: str
    window: Pair
    stride: Pair
    reason: str | None = None


@check_arguments
def sliding_window(model: Any, stride: int | Pair, *, input_shape: Sequence[int | None] | None = None) -> Any:
    """Return a model that classifies every window of larger images.

    Where that gives the same scores up to rounding, the model's layers run over the larger image as convolutions, with
    copies of the weights. Otherwise windows are cut out and classified by `model` itself, a row of them at a time: a
    layer with padding sees padding at the edge of a window, where the larger image has pixels.

    Args:
        model: A Keras classifier of images of a fixed size, which is the window.
        stride: Pixels from window to window, or (rows, columns).
        input_shape: (rows, columns, channels) of the larger images; None for rows or columns leaves them open.

    Returns:
        A model from images (n, rows, columns, channels) to logits (n, down, across, classes). Position (i, j) has the
        logits of the window whose first pixel is (i, j) times `stride`. Its attribute `sliding` is a SlidingMode.

    Raises:
        TypeError: `model` is not a Keras model of one input.
        ValueError: The input is not an image of a fixed size, channels last; the output is not (n, classes); or
            `stride` or `input_shape` does not fit.
    """
    window = _find_window(model)
    channels = model.inputs[0].shape[-1]
    step = _to_pair(stride)
    shape = tuple(input_shape) if input_shape is not None else (None, None, channels)
    if len(shape) != 3 or shape[2] != channels:
        raise ValueError(f"input_shape must be (rows, columns, {channels}) for {model.name!r}, got {shape}")
    if any(size is not None and size < least for size, least in zip(shape[:2], window, strict=True)):
        raise ValueError(f"input_shape {shape} is smaller than the window of {window[0]}x{window[1]} pixels")
    image = keras.Input(shape, name=operation(model.inputs[0]).name, dtype=model.inputs[0].dtype)
    try:
        logits = slide_convolutions(to_inference_model(model), image, window, step)
        sliding = SlidingMode("convolution", window, step)
    except NotConvolutionalError as error:
        logits = Windows(model, window, step, name="windows")(image)
        sliding = SlidingMode("windows", window, step, str(error))
        log.info("%s slides window by window: %s", model.name, error)
    result = keras.Model(image, logits, name=f"{model.name}_sliding")
    result.sliding = sliding
    return result


def _find_window(model: Any) -> Pair:
    """(rows, columns) that a classifier takes."""
    inputs = getattr(model, "inputs", None) if isinstance(model, keras.Model) else None
    if not inputs or len(inputs) != 1:
        raise TypeError(f"sliding_window expects a functional or sequential Keras model of one input, got {model!r}")
    shape, output = tuple(inputs[0].shape[1:]), tuple(model.outputs[0].shape)
    if len(shape) != 3 or None in shape:
        raise ValueError(f"{model.name!r} takes {shape}; a window needs fixed rows, columns and channels")
    if len(output) != 2:
        raise ValueError(f"{model.name!r} gives {output}, not logits (n, classes); build it with top=True")
    if any(getattr(layer, "data_format", None) == "channels_first" for layer in flatten_layers(model)):
        raise ValueError(f"{model.name!r} has its channels first; expected (n, rows, columns, channels)")
    return shape[0], shape[1]


def _to_pair(stride: Any) -> Pair:
    pair = stride if isinstance(stride, tuple | list) else (stride, stride)
    if len(pair) != 2 or not all(isinstance(one, int) and not isinstance(one, bool) and one >= 1 for one in pair):
        raise ValueError(f"stride must be pixels from window to window, at least 1, or (rows, columns); got {stride!r}")
    return pair[0], pair[1]
