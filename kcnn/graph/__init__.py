"""A network as data: ops, tensors without values, and what they cost. Neither NumPy nor Keras is imported here."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
