"""Training on several devices and machines, with tf.distribute around Keras' fit: TensorFlow's alone.

Each public word is imported when it is first used, so that `launch` and `cluster` need no TensorFlow.
"""

from typing import TYPE_CHECKING

from kcnn.lazy import words

if TYPE_CHECKING:
    from kcnn.distribute.agreement import preflight
    from kcnn.distribute.batches import ahead, padded, predict, spread
    from kcnn.distribute.processes import launch
    from kcnn.distribute.strategies import KINDS, is_chief, place, plain, strategy, synchronize, together

__all__ = [
    "KINDS",
    "ahead",
    "is_chief",
    "launch",
    "padded",
    "place",
    "plain",
    "predict",
    "preflight",
    "spread",
    "strategy",
    "synchronize",
    "together",
]

__getattr__, __dir__ = words(
    __name__,
    {
        "strategies": ("KINDS", "is_chief", "place", "plain", "strategy", "synchronize", "together"),
        "batches": ("ahead", "padded", "predict", "spread"),
        "agreement": ("preflight",),
        "processes": ("launch",),
    },
    globals(),
)
