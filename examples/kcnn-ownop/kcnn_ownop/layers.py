"""The Keras layer of the op; imported only when a model is built or loaded."""

import keras
from keras import ops

import kcnn_ownop


@keras.saving.register_keras_serializable("kcnn_ownop")
class ChannelAttention(keras.layers.Layer):
    """Multiply each channel by a sigmoid of the means around it (arXiv:1910.03151, equation 9)."""

    def __init__(self, kernel=3, **kwargs):
        super().__init__(**kwargs)
        self.kernel = kernel

    def build(self, input_shape):
        """Create the weights."""
        self.weight = self.add_weight(name="kernel", shape=(self.kernel, 1, 1), initializer="glorot_uniform")

    def call(self, inputs):
        """Compute the output."""
        means = ops.mean(inputs, axis=(1, 2))[..., None]
        weight = ops.cast(self.weight, means.dtype)
        scores = ops.conv(means, weight, padding="same", data_format="channels_last")
        return inputs * ops.sigmoid(scores)[:, None, None, :, 0]

    def compute_output_shape(self, input_shape):
        """Return the output shape."""
        return input_shape

    def to_op(self):
        """Return the op that describes this layer, for kcnn.from_keras."""
        return kcnn_ownop.ChannelAttention(self.kernel)

    def to_inference_layer(self, inputs):
        """Compute the same with layers of Keras, for kcnn.optimize_for_inference."""
        means = keras.layers.GlobalAveragePooling2D(keepdims=True)(inputs)
        channels = inputs.shape[-1]
        row = keras.layers.Reshape((channels, 1))(means)
        slide = keras.layers.Conv1D(1, self.kernel, padding="same", use_bias=False)
        scores = keras.layers.Reshape((1, 1, channels))(slide(row))
        slide.set_weights([self.weight])
        return keras.layers.Multiply(name=self.name)([inputs, keras.layers.Activation("sigmoid")(scores)])

    def get_config(self):
        """Return the config."""
        return {**super().get_config(), "kernel": self.kernel}
