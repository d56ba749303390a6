"""Explain a model: activations, filters, Grad-CAM, occlusion, receptive fields, training statistics.

Each function takes any flat Keras model. Nothing is imported until it is used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
