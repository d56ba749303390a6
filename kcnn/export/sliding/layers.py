"""Keras layers that classify windows, and what stands on every one of them."""

import keras
import numpy as np
from keras import ops

from kcnn.keras_bridge.layers import registered


def _first(outputs):
    """The logits, of a model that gives more."""
    return keras.tree.flatten(outputs)[0]


def _sizes(layer, x):
    """(rows, columns, channels) of maps, which a deployed model fixes."""
    if None in x.shape[1:]:
        raise ValueError(
            f"kcnn.export: layer {layer.name!r} slides over pictures of any size, and a deployed model is of one; give "
            "kcnn.sliding_window an input_shape"
        )
    return x.shape[1:]


@registered
class Windows(keras.layers.Layer):
    """A classifier on every window of larger images, a row of windows of all images at a time.

    (n, rows, columns, channels) to (n, down, across, classes).
    """

    def __init__(self, model, window, stride, **kwargs):
        super().__init__(**kwargs)
        self.model, self.window, self.stride = model, tuple(window), tuple(stride)

    def build(self, input_shape):
        self.built = True  # the classifier was

    def call(self, inputs):
        count, rows, columns, channels = ops.shape(inputs)
        (high, wide), (down, right) = self.window, self.stride
        starts = ops.arange(0, rows - high + 1, down, dtype="int32")
        lefts = ops.arange(0, columns - wide + 1, right, dtype="int32")
        places = lefts[:, None] + ops.arange(wide, dtype="int32")

        def row(top):
            strip = ops.take(inputs, top + ops.arange(high, dtype="int32"), axis=1)
            cut = ops.transpose(ops.take(strip, places, axis=2), (0, 2, 1, 3, 4))
            logits = _first(self.model(ops.reshape(cut, (-1, high, wide, channels)), training=False))
            return ops.reshape(logits, (count, -1, logits.shape[-1]))

        return ops.transpose(ops.map(row, starts), (1, 0, 2, 3))

    def to_inference_layer(self, x):
        """All windows at once; ValueError where the image's size is open, for their places are part of the graph."""
        rows, columns, channels = _sizes(self, x)
        (high, wide), (down, right) = self.window, self.stride
        tops = np.arange(0, rows - high + 1, down)[:, None] + np.arange(high)
        lefts = np.arange(0, columns - wide + 1, right)[:, None] + np.arange(wide)
        x = ops.take(ops.take(x, tops.astype("int32"), axis=1), lefts.astype("int32"), axis=3)
        cut = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, high, wide, channels))
        return ops.reshape(_first(self.model(cut)), (-1, len(tops), len(lefts), self.model.outputs[0].shape[-1]))

    def compute_output_shape(self, input_shape):
        sizes = (
            n and (n - window) // stride + 1
            for n, window, stride in zip(input_shape[1:3], self.window, self.stride, strict=True)
        )
        return (input_shape[0], *sizes, self.model.outputs[0].shape[-1])

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), self.model.outputs[0].dtype)

    def get_config(self):
        model = keras.saving.serialize_keras_object(self.model)
        return {**super().get_config(), "model": model, "window": self.window, "stride": self.stride}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "model": keras.saving.deserialize_keras_object(config["model"])})


@registered
class WholeInput(keras.layers.Layer):
    """A model from features to logits at every position of a map; (n, rows, columns, channels) in and out."""

    def __init__(self, model, **kwargs):
        super().__init__(**kwargs)
        self.model = model

    def build(self, input_shape):
        self.built = True  # the model was

    def call(self, inputs):
        count, rows, columns, channels = ops.shape(inputs)
        logits = self.model(ops.reshape(inputs, (-1, channels)), training=False)
        return ops.reshape(logits, (count, rows, columns, logits.shape[-1]))

    def to_inference_layer(self, x):
        rows, columns, channels = _sizes(self, x)
        logits = self.model(ops.reshape(x, (-1, channels)))
        return ops.reshape(logits, (-1, rows, columns, logits.shape[-1]))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:3], self.model.outputs[0].shape[-1])

    def get_config(self):
        return {**super().get_config(), "model": keras.saving.serialize_keras_object(self.model)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "model": keras.saving.deserialize_keras_object(config["model"])})
