"""Keras layers that classify windows, and that apply a model to every position of a map."""

import keras
import numpy as np
from keras import ops

from kcnn.keras_bridge.layers import registered


def _first(outputs):
    """The logits of a model with several outputs."""
    return keras.tree.flatten(outputs)[0]


def _sizes(layer, x):
    """(rows, columns, channels) of maps; an inference model requires them fixed."""
    if None in x.shape[1:]:
        raise ValueError(
            f"layer {layer.name!r} slides over images of an open size, and an inference model has a fixed one; give "
            "kcnn.sliding_window an input_shape"
        )
    return x.shape[1:]


@registered
class Windows(keras.layers.Layer):
    """Applies a classifier to every window of larger images, a row of windows of all images at a time.

    Maps (n, rows, columns, channels) to (n, down, across, classes).
    """

    def __init__(self, model, window, stride, **kwargs):
        super().__init__(**kwargs)
        self.model, self.window, self.stride = model, tuple(window), tuple(stride)

    def build(self, input_shape):
        """Do nothing: the model inside is built."""
        self.built = True  # the classifier is

    def call(self, inputs):
        """Return the logits of every window."""
        count, rows, columns, channels = ops.shape(inputs)
        (high, wide), (down, right) = self.window, self.stride
        starts = ops.arange(0, rows - high + 1, down, dtype="int32")
        lefts = ops.arange(0, columns - wide + 1, right, dtype="int32")
        columns_of_windows = lefts[:, None] + ops.arange(wide, dtype="int32")

        def classify_row(top):
            strip = ops.take(inputs, top + ops.arange(high, dtype="int32"), axis=1)
            cut = ops.transpose(ops.take(strip, columns_of_windows, axis=2), (0, 2, 1, 3, 4))
            logits = _first(self.model(ops.reshape(cut, (-1, high, wide, channels)), training=False))
            return ops.reshape(logits, (count, -1, logits.shape[-1]))

        return ops.transpose(ops.map(classify_row, starts), (1, 0, 2, 3))

    def to_inference_layer(self, x):
        """Return the logits of all windows at once, from Keras ops alone.

        Raises:
            ValueError: The image's size is open; the windows' positions are part of the graph.
        """
        rows, columns, channels = _sizes(self, x)
        (high, wide), (down, right) = self.window, self.stride
        tops = np.arange(0, rows - high + 1, down)[:, None] + np.arange(high)
        lefts = np.arange(0, columns - wide + 1, right)[:, None] + np.arange(wide)
        x = ops.take(ops.take(x, tops.astype("int32"), axis=1), lefts.astype("int32"), axis=3)
        cut = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, high, wide, channels))
        return ops.reshape(_first(self.model(cut)), (-1, len(tops), len(lefts), self.model.outputs[0].shape[-1]))

    def compute_output_shape(self, input_shape):
        """Return the shape of the logits."""
        sizes = (
            n and (n - window) // stride + 1
            for n, window, stride in zip(input_shape[1:3], self.window, self.stride, strict=True)
        )
        return (input_shape[0], *sizes, self.model.outputs[0].shape[-1])

    def compute_output_spec(self, inputs):
        """Return the logits as a symbolic tensor."""
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), self.model.outputs[0].dtype)

    def get_config(self):
        """Return the config, with the model inside."""
        model = keras.saving.serialize_keras_object(self.model)
        return {**super().get_config(), "model": model, "window": self.window, "stride": self.stride}

    @classmethod
    def from_config(cls, config):
        """Return the layer that `get_config` described."""
        return cls(**{**config, "model": keras.saving.deserialize_keras_object(config["model"])})


@registered
class PositionwiseModel(keras.layers.Layer):
    """Applies a model from features to logits at every position of a map (n, rows, columns, channels)."""

    def __init__(self, model, **kwargs):
        super().__init__(**kwargs)
        self.model = model

    def build(self, input_shape):
        """Do nothing: the model inside is built."""
        self.built = True  # the model is

    def call(self, inputs):
        """Return the logits at every position."""
        count, rows, columns, channels = ops.shape(inputs)
        logits = self.model(ops.reshape(inputs, (-1, channels)), training=False)
        return ops.reshape(logits, (count, rows, columns, logits.shape[-1]))

    def to_inference_layer(self, x):
        """Return the same, from Keras ops alone."""
        rows, columns, channels = _sizes(self, x)
        logits = self.model(ops.reshape(x, (-1, channels)))
        return ops.reshape(logits, (-1, rows, columns, logits.shape[-1]))

    def compute_output_shape(self, input_shape):
        """Return the shape of the logits."""
        return (*input_shape[:3], self.model.outputs[0].shape[-1])

    def get_config(self):
        """Return the config, with the model inside."""
        return {**super().get_config(), "model": keras.saving.serialize_keras_object(self.model)}

    @classmethod
    def from_config(cls, config):
        """Return the layer that `get_config` described."""
        return cls(**{**config, "model": keras.saving.deserialize_keras_object(config["model"])})
