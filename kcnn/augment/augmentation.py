"""The record of what changes: plain numbers that fit into JSON, checked once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images, all off by default; drawn for every image on its own.

    Args:
        flip: mirror left to right, half of the images.
        flip_vertical: mirror top to bottom, half of the images.
        crop: pixels of black margin on every side, out of which an image of the old size is cut.
        resized_crop: smallest and largest share of the area that is cut out, with sides of 3/4 to 4/3, and resized.
        shift: largest shift along each side, as a share of the side.
        rotate: largest turn either way, in degrees.
        zoom: largest change of scale, as a share: 0.2 is a scale of 0.8 to 1.2.
        brightness: largest addition or subtraction, as a share of white.
        contrast: largest change of the distance to the mean, as a share: 0.4 is a factor of 0.6 to 1.4.
        saturation: largest change of the distance to grey, as a share.
        rand_augment: how many changes an image gets, and their strength, 0 to 1 (arXiv:1909.13719).
        erase: probability that a rectangle becomes noise (arXiv:1708.04896).
        mixup: alpha of the Beta distribution by which two images are blended (arXiv:1710.09412).
        cutmix: alpha of the Beta distribution of the area pasted from another image (arXiv:1905.04899);
            with mixup too, each batch takes one of the two.

    Raises:
        ValueError: values out of range, all of them in one message.
    """

    flip: bool = False
    flip_vertical: bool = False
    crop: int = 0
    resized_crop: tuple[float, float] | None = None
    shift: float = 0.0
    rotate: float = 0.0
    zoom: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    rand_augment: tuple[int, float] | None = None
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for name in ("resized_crop", "rand_augment"):
            if isinstance(value := getattr(self, name), list):  # what JSON makes of a tuple
                object.__setattr__(self, name, tuple(value))
        if wrong := list(_wrong(self)):
            raise ValueError(f"Augmentation: {'; '.join(wrong)}")


def _number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _wrong(a: Augmentation) -> Iterator[str]:
    """What is out of range, a sentence each."""
    for name in ("flip", "flip_vertical"):
        if not isinstance(getattr(a, name), bool):
            yield f"{name} is True or False, not {getattr(a, name)!r}"
    if not (_number(a.crop, 0, 1 << 16) and isinstance(a.crop, int)):
        yield f"crop is a whole number of pixels, 0 or more, not {a.crop!r}"
    limits = {"shift": 1, "rotate": 180, "zoom": 0.99, "brightness": 1, "contrast": 1, "saturation": 1, "erase": 1}
    for name, high in {**limits, "mixup": 100, "cutmix": 100}.items():
        if not _number(getattr(a, name), 0, high):
            yield f"{name} is a number from 0 to {high}, not {getattr(a, name)!r}"
    if (share := a.resized_crop) is not None:
        pair = isinstance(share, tuple) and len(share) == 2 and all(_number(s, 0, 1) for s in share)
        if not (pair and 0 < share[0] <= share[1]):
            yield f"resized_crop is two shares of the area such as (0.08, 1.0), not {share!r}"
        if a.crop:
            yield "crop and resized_crop both cut: take one"
    if (drawn := a.rand_augment) is not None:
        pair = isinstance(drawn, tuple) and len(drawn) == 2 and isinstance(drawn[0], int) and _number(drawn[0], 1, 16)
        if not (pair and _number(drawn[1], 0, 1)):
            yield f"rand_augment is a number of changes and a strength from 0 to 1 such as (2, 0.5), not {drawn!r}"
