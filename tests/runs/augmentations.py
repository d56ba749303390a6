"""Augmentations of every kind, and a small batch of photos to apply them to."""

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_sample_images

from kcnn import augment
from kcnn.augment import Augmentation

SIZE = (24, 32)
EVERYTHING = {
    "flip": Augmentation(flip=True),
    "flip_vertical": Augmentation(flip_vertical=True),
    "crop": Augmentation(crop=4),
    "resized_crop": Augmentation(resized_crop=(0.08, 1.0)),
    "affine": Augmentation(shift=0.1, rotate=15, zoom=0.2),
    "brightness": Augmentation(brightness=0.4),
    "contrast": Augmentation(contrast=0.4),
    "saturation": Augmentation(saturation=0.4),
    "rand_augment": Augmentation(rand_augment=(2, 0.5)),
    "erase": Augmentation(erase=0.7),
    "mixup": Augmentation(mixup=0.3),
    "cutmix": Augmentation(cutmix=1.0),
    "margin": Augmentation(flip=True, crop=3, rotate=10),
    "strong": Augmentation(
        flip=True, resized_crop=(0.25, 1.0), rand_augment=(3, 0.8), erase=0.25, mixup=0.2, cutmix=1.0
    ),
}


def batch(n=6, channels=3, size=SIZE, dtype="uint8"):
    photos = [np.asarray(tf.image.resize(p, size)) for p in load_sample_images().images]
    random = np.random.default_rng(0)
    images = np.stack([np.clip(photos[i % 2] + random.normal(0, 9, (*size, 3)), 0, 255) for i in range(n)])
    return images[..., :channels].astype(dtype), np.arange(n, dtype="int64") % 4


def applied(augmentation, images, labels, seed=(1, 2), size=SIZE):
    return augment.augment(augmentation, images, labels, size=size, classes=4, seed=seed)
