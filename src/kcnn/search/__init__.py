"""Hyperparameter search over networks with keras-tuner.

Nothing is imported until it is used: `search` needs pip install "kcnn[search]", the spaces in kcnn.search.space do not.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
