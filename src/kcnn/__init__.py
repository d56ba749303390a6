"""Convolutional networks for Keras 3, built by name and measured without TensorFlow.

`import kcnn` loads nothing heavy: each public name is imported when it is first used.
"""

from pkgutil import resolve_name

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# by name: rooms below keras_bridge import this package, and none of it
resolve_name("kcnn.keras_bridge.registration:register_lazily")()
del resolve_name

__version__ = "0.1.0"
