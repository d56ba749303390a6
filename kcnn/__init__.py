"""Convolutional networks for Keras 3, built by name and measured without TensorFlow.

`import kcnn` loads nothing heavy: each public name is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

from kcnn.keras_bridge.registration import register_lazily  # noqa: E402 - the names of this package come first

register_lazily()
del register_lazily

__version__ = "0.1.0"
