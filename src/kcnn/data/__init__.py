"""Image classification datasets with splits and class names, as tf.data or, without TensorFlow, for Keras.

Only `tf_pipeline` needs TensorFlow; Keras trains from the batches on every backend.
"""

from kcnn.data.dataset import ImageDataset, has_tensorflow
from kcnn.data.loading import load

__all__ = ["ImageDataset", "has_tensorflow", "load"]
