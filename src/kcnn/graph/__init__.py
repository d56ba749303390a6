"""A network as data: ops, tensors without values, and what they cost. Imports neither NumPy nor Keras."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
