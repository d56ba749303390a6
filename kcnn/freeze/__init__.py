"""What of a network moves in a training, what is known to have stood still, and what of it need not be computed again.

Each function works on any flat Keras model, and with Keras' own fit.
"""

from kcnn.freeze.moved import Entry, Violation, ledger
from kcnn.freeze.phase import Phase
from kcnn.freeze.select import freeze, places, rates, unfreeze

__all__ = ["Entry", "Phase", "Violation", "freeze", "ledger", "places", "rates", "unfreeze"]
