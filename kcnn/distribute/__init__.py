"""Training on several devices and machines, with tf.distribute around Keras' fit: TensorFlow's alone.

Each public word is imported when it is first used, so that `launch` and `cluster` need no TensorFlow.
"""

from typing import TYPE_CHECKING

from kcnn.lazy import words

if TYPE_CHECKING:
    from kcnn.distribute.agreement import check_replicas
    from kcnn.distribute.batches import prefetch, pad_batches, predict_dataset, distribute_dataset
    from kcnn.distribute.processes import launch
    from kcnn.distribute.strategies import KINDS, is_chief, worker_position, unreplicated, make_strategy, synchronize_batch_norm, join_workers

__all__ = [
    "KINDS",
    "prefetch",
    "is_chief",
    "launch",
    "pad_batches",
    "worker_position",
    "unreplicated",
    "predict_dataset",
    "check_replicas",
    "distribute_dataset",
    "make_strategy",
    "synchronize_batch_norm",
    "join_workers",
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
