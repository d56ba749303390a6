"""Image classification data as tf.data, with splits and class names, from one word.

This room is TensorFlow's: it makes tf.data pipelines, which Keras trains from on every backend.
"""

from kcnn.data.load import Data, load

__all__ = ["Data", "load"]
