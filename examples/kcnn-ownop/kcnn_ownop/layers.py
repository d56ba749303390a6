"""The Keras layer of the op; imported only when a model is built or loaded."""

import keras
from keras import ops

import kcnn_ownop


@keras.saving.register_keras_serializable("kcnn_ownop")
class ChannelAttention(keras.layers.Layer):
    """Each channel times a sigmoid of its neighbourhood's mean (arXiv:1910.03151, equation 9)."""

    def __init__(self, kernel=3, **kwargs):
        super().__init__(**kwargs)
        self.kernel = kernel

    def build(self, input_shape):
        self.weight = self.add_weight(name="kernel", shape=(self.kernel, 1, 1), initializer="glorot_uniform")

    def call(self, inputs):
        means = ops.mean(inputs, axis=(1, 2))[..., None]
        weight = ops.cast(self.weight, means.dtype)
        scores = ops.conv(means, weight, padding="same", data_format="channels_last")
        return inputs * ops.sigmoid(scores)[:, None, None, :, 0]

    def compute_output_shape(self, input_shape):
        return input_shape

    def to_op(self):
        """What kcnn.keras_bridge.from_keras sketches this layer as."""
        return kcnn_ownop.ChannelAttention(self.kernel)

    def to_inference_layer(self, inputs):
        """The same of Keras' own layers, for deployment."""
        means = keras.layers.GlobalAveragePooling2D(keepdims=True)(inputs)
        channels = inputs.shape[-1]
        row = keras.layers.Reshape((channels, 1))(means)
        slide = keras.layers.Conv1D(1, self.kernel, padding="same", use_bias=False)
        scores = keras.layers.Reshape((1, 1, channels))(slide(row))
        slide.set_weights([self.weight])
        return keras.layers.Multiply(name=self.name)([inputs, keras.layers.Activation("sigmoid")(scores)])

    def get_config(self):
        return {**super().get_config(), "kernel": self.kernel}
