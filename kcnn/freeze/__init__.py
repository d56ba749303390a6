"""What of a network moves in a training, what is known to have stood still, and what of it need not be computed again.

Each function works on any flat Keras model, and with Keras' own fit. Each word is imported when it is first used:
a Phase can be made without Keras.
"""

from typing import TYPE_CHECKING

from kcnn.lazy import words

if TYPE_CHECKING:
    from kcnn.freeze.moved import WeightAudit, FrozenWeightChangedError, audit_weights
    from kcnn.freeze.phase import TrainingPhase
    from kcnn.freeze.select import freeze, group_by_stage, resolve_lr_multipliers, unfreeze

__all__ = ["WeightAudit", "TrainingPhase", "FrozenWeightChangedError", "freeze", "audit_weights", "group_by_stage", "resolve_lr_multipliers", "unfreeze"]

__getattr__, __dir__ = words(
    __name__,
    {
        "moved": ("Entry", "Violation", "ledger"),
        "phase": ("Phase",),
        "select": ("freeze", "places", "rates", "unfreeze"),
    },
    globals(),
)
