"""Pages of runs, searches, transfers and experiments, and the comparison of runs.

Nothing is imported until it is used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
