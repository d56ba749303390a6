"""From a graph to a Keras model and back: the one room that touches Keras' private graph."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
