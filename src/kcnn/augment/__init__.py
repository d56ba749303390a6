"""Data augmentation of training images, by batches inside tf.data.

Everything but the record `Augmentation` needs TensorFlow. Images are batches (n, rows, columns, 1 or 3) of 0 to 255;
seeds are stateless, int (2,).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
