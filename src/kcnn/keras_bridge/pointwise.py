"""Convolutions of one pixel in TensorFlow's training step on a CPU: their gradients by matrix multiplication."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

SMALL = 64  # pixels of a map up to which filters outweigh it, and oneDNN's reorders of filters what they gain

_state = threading.local()  # replicas of a strategy are called in threads of their own


@contextmanager
def training_step(training: Any) -> Iterator[None]:
    """Let layers of `use_matmul` know whether their network is called in training."""
    before, _state.training = is_training(), bool(training)
    try:
        yield
    finally:
        _state.training = before


def is_training() -> bool:
    """Return whether this thread is in a call in training."""
    return getattr(_state, "training", False)


def use_matmul(layer: Any) -> None:
    """Let a convolution of single pixels multiply matrices in training; other layers stay as they are.

    Args:
        layer: A Keras layer. Its config stays that of Keras, and so does its code in inference and exports.
    """
    if (
        keras.backend.backend() == "tensorflow"
        and type(layer) is keras.layers.Conv2D
        and layer.kernel_size == layer.strides == (1, 1)
        and layer.groups == 1
        and layer.data_format == "channels_last"
        and "convolution_op" not in vars(layer)
    ):
        layer.convolution_op = partial(_convolve, layer)


def _convolve(layer: Any, inputs: Any, kernel: Any) -> Any:
    kernel = tf.convert_to_tensor(kernel)
    rows, columns = inputs.shape[1:3]
    is_float32 = inputs.dtype == kernel.dtype == tf.float32
    if not is_training() or not is_float32 or None in (rows, columns) or tf.config.list_physical_devices("GPU"):
        return keras.layers.Conv2D.convolution_op(layer, inputs, kernel)
    channels, filters = kernel.shape[2:]
    is_small = rows * columns <= SMALL

    @tf.custom_gradient
    def convolve(x: Any, kernel: Any) -> Any:
        pixels, matrix = tf.reshape(x, (-1, channels)), tf.reshape(kernel, (channels, filters))
        if is_small:
            y = tf.reshape(tf.matmul(pixels, matrix), (-1, rows, columns, filters))
        else:
            y = tf.nn.conv2d(x, kernel, 1, "VALID")

        def differentiate(dy: Any) -> Any:
            dy_pixels = tf.reshape(dy, (-1, filters))
            if is_small:
                dx = tf.reshape(tf.matmul(dy_pixels, matrix, transpose_b=True), (-1, rows, columns, channels))
            else:
                dx = tf.nn.conv2d_transpose(dy, kernel, tf.shape(x), 1, "VALID")
            if is_small or filters >= channels:
                gradient = tf.matmul(pixels, dy_pixels, transpose_a=True)
            else:  # long rows are faster than short ones
                gradient = tf.transpose(tf.matmul(dy_pixels, pixels, transpose_a=True))
            return dx, tf.reshape(gradient, (1, 1, channels, filters))

        return y, differentiate

    return convolve(inputs, kernel)
