"""Data augmentation of training images, on every backend of Keras.

Images are batches (n, rows, columns, 1 or 3) of 0 to 255, rounded to these 256 levels as in a file; threads change one
image each. Seeds are two integers, on which alone the changes depend. Only `augment_dataset`, for pipelines of tf.data,
needs TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
