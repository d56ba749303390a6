"""What plugins publish: architectures, how they are found by name, and what each of them declares."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
