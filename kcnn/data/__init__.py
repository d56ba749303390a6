"""Image classification data with splits and class names, from one word, as tf.data or, without TensorFlow, for Keras.

`tfdata` alone is TensorFlow's; Keras trains from what it makes on every backend.
"""

from kcnn.data.load import load
from kcnn.data.serve import ImageDataset, has_tensorflow

__all__ = ["ImageDataset", "has_tensorflow", "load"]
