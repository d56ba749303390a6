"""Training on several devices and machines, with tf.distribute around Keras' fit. TensorFlow only.

Nothing is imported until it is used, so that `launch` and `detect_cluster` need no TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
