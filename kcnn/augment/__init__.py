"""Random changes of training images, by whole batches inside tf.data.

This room is TensorFlow's, but for the record `Augmentation`: it changes what goes into a network, and is never exported
with it. Images are batches (n, rows, columns, 1 or 3) of 0 to 255, seeds are stateless, int (2,).
"""

from typing import TYPE_CHECKING

from kcnn.augment.augmentation import Augmentation
from kcnn.lazy import words

if TYPE_CHECKING:
    from kcnn.augment.change import augment, flip, color_jitter, augment_dataset, padded_crop, rand_augment, resized_crop, rotate
    from kcnn.augment.mix import cutmix, erase, mixup

__all__ = [
    "Augmentation",
    "augment",
    "cutmix",
    "erase",
    "flip",
    "color_jitter",
    "mixup",
    "augment_dataset",
    "padded_crop",
    "rand_augment",
    "resized_crop",
    "rotate",
]

__getattr__, __dir__ = words(
    __name__,
    {
        "change": ("apply", "flip", "jitter", "over", "padded_crop", "rand_augment", "resized_crop", "turn"),
        "mix": ("cutmix", "erase", "mixup"),
    },
    globals(),
)
