"""Layers with weights that Keras lacks: normalization over the image, layer scale, standardized kernels."""

import keras
from keras import ops

from kcnn.keras_bridge.layers import SubsampledConv2D, registered

SMALLEST_SQUARE = 1e-24  # of a norm: at 0 the root has no gradient
STANDARDIZATION_EPSILON = 1e-10  # as in the authors' code of BiT (arXiv:1912.11370)


@registered
class GlobalResponseNormalization(keras.layers.Layer):
    """Compute x + gamma * x * n + beta, n the channel's norm over the image by the mean norm of all channels.

    Args:
        epsilon: Added to the mean.
        **kwargs: As of keras.layers.Layer.
    """

    def __init__(self, epsilon=1e-6, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape):
        """Make the weights, zeros at first (arXiv:2301.00808, algorithm 1)."""
        self.gamma = self.add_weight(name="gamma", shape=(input_shape[-1],), initializer="zeros")
        self.beta = self.add_weight(name="beta", shape=(input_shape[-1],), initializer="zeros")

    def call(self, inputs):
        """Compute the output."""
        return self._normalize(inputs, self.gamma, self.beta)

    def to_inference_layer(self, inputs):
        """Compute the output by Keras' ops."""
        return self._normalize(inputs, *(ops.convert_to_numpy(weight) for weight in (self.gamma, self.beta)))

    def _normalize(self, x, gamma, beta):
        squares = ops.sum(ops.square(ops.cast(x, "float32")), axis=(1, 2), keepdims=True)  # they overflow float16
        norms = ops.sqrt(ops.maximum(squares, SMALLEST_SQUARE))
        ratios = ops.cast(norms / (ops.mean(norms, axis=-1, keepdims=True) + self.epsilon), x.dtype)
        return x * (ratios * gamma + 1.0) + beta  # in this order: NumPy takes no symbolic factor

    def compute_output_shape(self, input_shape):
        """Return the output shape for an input shape."""
        return input_shape

    def get_config(self):
        """Return the config."""
        return {**super().get_config(), "epsilon": self.epsilon}


@registered
class LayerScale(keras.layers.Layer):
    """Multiply each channel by a learned factor.

    Args:
        initial_value: Of each factor.
        **kwargs: As of keras.layers.Layer.
    """

    def __init__(self, initial_value=1e-6, **kwargs):
        super().__init__(**kwargs)
        self.initial_value = initial_value

    def build(self, input_shape):
        """Make the factors."""
        initializer = keras.initializers.Constant(self.initial_value)
        self.gamma = self.add_weight(name="gamma", shape=(input_shape[-1],), initializer=initializer)

    def call(self, inputs):
        """Compute the output."""
        return inputs * self.gamma

    def to_inference_layer(self, inputs):
        """Compute the output by Keras' ops."""
        return inputs * ops.convert_to_numpy(self.gamma)

    def compute_output_shape(self, input_shape):
        """Return the output shape for an input shape."""
        return input_shape

    def get_config(self):
        """Return the config."""
        return {**super().get_config(), "initial_value": self.initial_value}


@registered
class StandardizedConv2D(SubsampledConv2D):
    """Convolve with kernels of mean 0 and variance 1 for each filter (arXiv:1903.10520).

    The arguments are those of keras.layers.Conv2D.
    """

    def convolution_op(self, inputs, kernel):
        """Convolve with the standardized kernel."""
        return super().convolution_op(inputs, standardize(kernel))


def standardize(kernel):
    """Return a kernel with mean 0 and variance 1 over the rows, columns and input channels of each filter.

    Args:
        kernel: (rows, columns, input channels, filters).

    Returns:
        A tensor of the same shape and dtype.
    """
    values = ops.cast(kernel, "float32")
    centered = values - ops.mean(values, axis=(0, 1, 2), keepdims=True)
    variance = ops.mean(ops.square(centered), axis=(0, 1, 2), keepdims=True)
    return ops.cast(centered * ops.rsqrt(variance + STANDARDIZATION_EPSILON), kernel.dtype)
