"""Keras layers of LeNet-5; imported only when one is built or loaded."""

import hashlib

import keras
import numpy as np
from keras import ops

from kcnn_plugins import lenet

# 7x12 bitmaps of the ten digits, drawn for kcnn in the manner of the paper's figure 3, whose own
# bitmaps are not published as numbers: ink is +1, background -1, rows from the top.
DIGITS = """
.#####. ...#... .#####. .#####. ....##. ####### ..####. ####### .#####. .#####.
##...## ..##... ##...## ##...## ...###. ##..... .##.... ##...## ##...## ##...##
##...## .###... ##...## .....## ..####. ##..... ##..... .....## ##...## ##...##
##..### ...#... .....## .....## .##.##. ##..... ##..... ....##. ##...## ##...##
##.#.## ...#... ....##. ..####. ##..##. ######. ######. ....##. .#####. ##...##
###..## ...#... ...##.. .....## ##..##. .....## ##...## ...##.. ##...## .######
##...## ...#... ..##... .....## ####### .....## ##...## ...##.. ##...## .....##
##...## ...#... .##.... .....## ....##. .....## ##...## ..##... ##...## .....##
##...## ...#... ##..... ##...## ....##. ##...## ##...## ..##... ##...## ....##.
.#####. .#####. ####### .#####. ....##. .#####. .#####. ..##... .#####. .####..
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
"""


def class_codes(classes: int, units: int) -> np.ndarray:
    """Return codes (classes, units) of -1 and +1: the digits' bitmaps, then SHAKE-256 hashes of the class number."""
    rows = [line.split() for line in DIGITS.split("\n") if line]
    bitmaps = [[1.0 if c == "#" else -1.0 for row in rows for c in row[digit]] for digit in range(10)]

    def hash_bits(number: int) -> list[float]:
        bits = np.unpackbits(np.frombuffer(hashlib.shake_256(str(number).encode()).digest(units), "uint8"))
        return [1.0 if bit else -1.0 for bit in bits[:units]]

    known = bitmaps if units == len(bitmaps[0]) else []
    return np.array([known[n] if n < len(known) else hash_bits(n) for n in range(classes)], "float32")


@keras.saving.register_keras_serializable("kcnn_plugins")
class SparseConv2D(keras.layers.Layer):
    """Apply a convolution with a table of the input maps that each output map sees."""

    def __init__(self, table, kernel, stride=1, padding="valid", **kwargs):
        super().__init__(**kwargs)
        self.table = tuple(map(tuple, table))
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def build(self, input_shape):
        """Create the weights."""
        channels = input_shape[-1]
        connections = [(source, i) for i, sources in enumerate(self.table) for source in sources]
        placement = np.zeros((len(connections), channels, len(self.table)), "float32")
        for row, (source, i) in enumerate(connections):
            placement[row, source, i] = 1
        self._placement = placement.reshape(len(connections), -1)
        self._dense = (self.kernel, self.kernel, channels, len(self.table))
        limit = 2.4 / (self.kernel**2 * len(connections) / len(self.table))  # the paper's, appendix A
        self.weights_ = self.add_weight(
            name="kernel",
            shape=(self.kernel**2, len(connections)),
            initializer=keras.initializers.RandomUniform(-limit, limit),
        )
        self.bias = self.add_weight(name="bias", shape=(len(self.table),), initializer="zeros")

    def to_op(self):
        """Return the op that describes this layer."""
        return lenet.SparseConv(self.table, self.kernel, self.stride, self.padding)

    def to_inference_layer(self, inputs):
        """Compute the same with a Keras convolution: connections that the table leaves out have weight zero."""
        dense = keras.layers.Conv2D(len(self.table), self.kernel, self.stride, self.padding, name=self.name)
        outputs = dense(inputs)
        dense.set_weights([self._kernel(), self.bias])
        return outputs

    def call(self, inputs):
        """Compute the output."""
        outputs = ops.conv(inputs, self._kernel(), self.stride, self.padding, data_format="channels_last")
        return outputs + self.bias

    def _kernel(self):
        return ops.reshape(ops.matmul(self.weights_, ops.cast(self._placement, self.compute_dtype)), self._dense)

    def compute_output_shape(self, input_shape):
        """Return the output shape for an input shape."""
        if self.padding == "valid":
            sizes = [n and (n - self.kernel) // self.stride + 1 for n in input_shape[1:3]]
        else:
            sizes = [n and -(-n // self.stride) for n in input_shape[1:3]]
        return (input_shape[0], *sizes, len(self.table))

    def get_config(self):
        """Return the config."""
        own = {"table": self.table, "kernel": self.kernel, "stride": self.stride, "padding": self.padding}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("kcnn_plugins")
class ScaleShift(keras.layers.Layer):
    """Multiply each map by a trainable coefficient and add a trainable bias."""

    def build(self, input_shape):
        """Create the weights."""
        self.scale = self.add_weight(name="scale", shape=(input_shape[-1],), initializer="ones")
        self.shift = self.add_weight(name="shift", shape=(input_shape[-1],), initializer="zeros")

    def to_op(self):
        """Return the op that describes this layer."""
        return lenet.ScaleShift()

    def to_inference_layer(self, inputs):
        """Compute the same with Keras ops and constants."""
        return inputs * ops.convert_to_numpy(self.scale) + ops.convert_to_numpy(self.shift)

    def call(self, inputs):
        """Compute the output."""
        return inputs * self.scale + self.shift

    def compute_output_shape(self, input_shape):
        """Return the output shape for an input shape."""
        return input_shape


@keras.saving.register_keras_serializable("kcnn_plugins")
class ScaledTanh(keras.layers.Layer):
    """Compute 1.7159 tanh(2/3 x)."""

    def to_op(self):
        """Return the op that describes this layer."""
        return lenet.ScaledTanh()

    def call(self, inputs):
        """Compute the output."""
        return 1.7159 * ops.tanh(2 / 3 * inputs)

    def compute_output_shape(self, input_shape):
        """Return the output shape for an input shape."""
        return input_shape


@keras.saving.register_keras_serializable("kcnn_plugins")
class RadialBasis(keras.layers.Layer):
    """Compute minus the squared distance of the features to each class's code."""

    def __init__(self, classes, **kwargs):
        super().__init__(**kwargs)
        self.classes = classes

    def build(self, input_shape):
        """Create the weights."""
        self._codes = class_codes(self.classes, input_shape[-1])

    def to_op(self):
        """Return the op that describes this layer."""
        return lenet.RadialBasis(self.classes)

    def call(self, inputs):
        """Compute the output."""
        difference = ops.expand_dims(inputs, 1) - ops.cast(self._codes, inputs.dtype)
        return -ops.sum(ops.square(difference), axis=-1)

    def compute_output_shape(self, input_shape):
        """Return the output shape for an input shape."""
        return (input_shape[0], self.classes)

    def get_config(self):
        """Return the config."""
        return {**super().get_config(), "classes": self.classes}
