"""Random changes of training images, by whole batches inside tf.data.

This room is TensorFlow's, but for the record `Augmentation`: it changes what goes into a network, and is never exported
with it. Images are batches (n, rows, columns, 1 or 3) of 0 to 255, seeds are stateless, int (2,).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kcnn.augment.augmentation import Augmentation

if TYPE_CHECKING:
    from kcnn.augment.change import apply, flip, jitter, over, padded_crop, rand_augment, resized_crop, turn
    from kcnn.augment.mix import cutmix, erase, mixup

__all__ = [
    "Augmentation",
    "apply",
    "cutmix",
    "erase",
    "flip",
    "jitter",
    "mixup",
    "over",
    "padded_crop",
    "rand_augment",
    "resized_crop",
    "turn",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'kcnn.augment' has no attribute {name!r}")
    value = getattr(import_module(f"kcnn.augment.{'mix' if name in ('cutmix', 'erase', 'mixup') else 'change'}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
