"""Fine-tune pretrained networks: replace the head, train in phases, compare with training from scratch.

Nothing is imported until it is used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
