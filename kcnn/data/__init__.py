"""Image classification data with splits and class names, from one word, as tf.data or, without TensorFlow, for Keras.

`tfdata` alone is TensorFlow's; Keras trains from what it makes on every backend.
"""

from kcnn.data.dataset import ImageDataset, has_tensorflow
from kcnn.data.loading import load

__all__ = ["ImageDataset", "has_tensorflow", "load"]
