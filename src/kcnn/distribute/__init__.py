"""Train on several devices and machines, with tf.distribute around Keras' fit. TensorFlow only.

Names are imported when they are first used, so that `launch` needs no TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
