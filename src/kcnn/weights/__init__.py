"""Pretrained weights: published by name, or in files of Keras, PyTorch and kcnn, matched layer by layer."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
