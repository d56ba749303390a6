"""Training: `train` a network into a folder by a recipe, and the pieces of recipes, each usable with plain Keras.

Nothing is imported until it is used: recipes can be looked at and checked without Keras.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
