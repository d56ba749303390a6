"""A classifier slid over larger images: by convolutions where arithmetic allows, else window by window.

A network without padding gives for a window what its own layers, run over the whole image, give at the window's
place. Where it strides further than the windows, its maps are kept at the windows' step and what follows takes
its pixels from further apart (Giusti et al., arXiv:1302.1700; Sermanet et al., arXiv:1312.6229).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from kcnn.export.sliding.convolution import NotConvolutionalError, slide_convolutions, to_inference_layers
from kcnn.export.sliding.layers import Windows
from kcnn.graph.shape_inference import Pair

log = logging.getLogger("kcnn.export.sliding")


@dataclass(frozen=True)
class SlidingMode:
    """How a model slides: as a "convolution" of the whole image, or over "windows" cut out, and then why."""

    mode: str
    window: Pair  # pixels
    stride: Pair  # pixels
    reason: str | None = None


def sliding_window(model: Any, stride: int | Pair, *, input_shape: Sequence[int | None] | None = None) -> Any:
    """A model for inference, from images (n, rows, columns, channels) to logits (n, down, across, classes) of windows.

    Position (i, j) has the logits of the window whose first pixel is (i, j) times `stride`, of the size that `model`
    takes: any Keras classifier of images of one size. `input_shape` (rows, columns, channels) of the larger images is
    open where it is None. `sliding` of the result, a record, says whether the whole image goes through convolutions,
    with equal scores but for rounding and with copies of the weights, or windows are cut out and classified a row of
    them at a time, by `model` itself, and for what reason: a layer that pads sees a margin in a window where the image
    has pixels.

    TypeError where `model` is no Keras model of one input; ValueError where that is no image of a fixed size, channels
    last, or the output is not (n, classes), or for another stride or input_shape than that.
    """
    window = _window_of(model)
    channels = model.inputs[0].shape[-1]
    step = _stride(stride)
    shape = tuple(input_shape) if input_shape is not None else (None, None, channels)
    if len(shape) != 3 or shape[2] != channels:
        raise ValueError(f"{model.name!r} takes (rows, columns, {channels}), open or not; input_shape is {shape}")
    if any(size is not None and size < least for size, least in zip(shape[:2], window, strict=True)):
        raise ValueError(f"input_shape {shape} has no room for a window of {window[0]}x{window[1]} pixels")
    image = keras.Input(shape, name=model.inputs[0]._keras_history.operation.name, dtype=model.inputs[0].dtype)
    try:
        logits = slide_convolutions(to_inference_layers(model), image, window, step)
        how = SlidingMode("convolution", window, step)
    except NotConvolutionalError as error:
        logits = Windows(model, window, step, name="windows")(image)
        how = SlidingMode("windows", window, step, str(error))
        log.info("%s slides window by window: %s", model.name, error)
    made = keras.Model(image, logits, name=f"{model.name}_sliding")
    made.sliding = how
    return made


def _window_of(model: Any) -> Pair:
    """(rows, columns) that a classifier takes."""
    ins = getattr(model, "inputs", None) if isinstance(model, keras.Model) else None
    if not ins or len(ins) != 1:
        raise TypeError(f"kcnn.sliding_window takes a functional or sequential Keras model of one input, not {model!r}")
    shape, answer = tuple(ins[0].shape[1:]), tuple(model.outputs[0].shape)
    if len(shape) != 3 or None in shape:
        raise ValueError(f"{model.name!r} takes {shape}; a window has fixed rows, columns and channels")
    if len(answer) != 2:
        raise ValueError(f"{model.name!r} gives {answer}, not logits (n, classes); a classifier has a top")
    if any(getattr(layer, "data_format", None) == "channels_first" for layer in model._flatten_layers()):
        raise ValueError(f"{model.name!r} has its channels first; kcnn slides over (n, rows, columns, channels)")
    return shape[0], shape[1]


def _stride(stride: Any) -> Pair:
    both = stride if isinstance(stride, tuple | list) else (stride, stride)
    if len(both) != 2 or not all(isinstance(one, int) and not isinstance(one, bool) and one >= 1 for one in both):
        raise ValueError(f"stride is pixels from window to window, 1 or more, or (rows, columns); not {stride!r}")
    return both[0], both[1]
