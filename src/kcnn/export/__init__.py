"""Export a trained network: optimized for inference, and as files for phones and servers.

Nothing is imported until it is used: an exported file runs without Keras.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
