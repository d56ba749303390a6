"""The configuration of data augmentation: values that fit into JSON, checked once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kcnn.graph.arguments import check_keywords

MAX_CROP, MAX_OPS, MAX_ALPHA = 1 << 16, 16, 100  # beyond which a value is a mistake
MAX_RESIZE_FACTOR = 2.0  # of more, photos take much memory for few crops


@check_keywords
@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images, all off by default, drawn for each image separately.

    Args:
        flip: Mirror half of the images left to right.
        flip_vertical: Mirror half of the images top to bottom.
        crop: Pixels of black padding on each side, from which an image of the original size is cropped.
        resized_crop: Smallest and largest fraction of the area that is cropped, with an aspect ratio of 3/4 to 4/3,
            and resized.
        shift: Largest shift along each side, as a fraction of the side.
        rotate: Largest rotation in either direction, in degrees.
        zoom: Largest change of scale, as a fraction: 0.2 is a scale of 0.8 to 1.2.
        brightness: Largest addition or subtraction, as a fraction of white.
        contrast: Largest change of the distance to the mean, as a fraction: 0.4 is a factor of 0.6 to 1.4.
        saturation: Largest change of the distance to gray, as a fraction.
        rand_augment: Number of changes per image, and their strength from 0 to 1 (arXiv:1909.13719).
        erase: Probability that a rectangle becomes noise (arXiv:1708.04896).
        mixup: Alpha of the Beta distribution by which two images are blended (arXiv:1710.09412).
        cutmix: Alpha of the Beta distribution of the area pasted from another image (arXiv:1905.04899);
            with mixup too, each batch takes one of the two.

    Raises:
        ValueError: Values are out of range, all of them in one message.
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
        if errors := list(_errors(self)):
            raise ValueError(f"Augmentation: {'; '.join(errors)}")

    @property
    def resize_factor(self) -> float:
        """Return how many times the result's sides a large image is best kept at: `resize_factor` of kcnn.data.load.

        The smallest crop then has as many pixels as the result; but at most 2, and 1 without crops that are resized.
        """
        return min(MAX_RESIZE_FACTOR, self.resized_crop[0] ** -0.5) if self.resized_crop else 1.0

    def check_size(self, size: Sequence[int | None]) -> None:
        """Check that no crop can lie wholly in the padding, which is black.

        Args:
            size: (rows, columns) of the images that are trained on; None is an open side.

        Raises:
            ValueError: The padding is as large as a side, or larger.
        """
        sides = [side for side in size if side is not None]
        if self.crop and sides and self.crop >= min(sides):
            raise ValueError(
                f"Augmentation: crop={self.crop} makes crops of only black padding possible on images of "
                f"{'x'.join(map(str, size))} pixels; crop must be less than {min(sides)}"
            )


def _is_number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _errors(a: Augmentation) -> Iterator[str]:
    """What is out of range, a sentence each."""
    for name in ("flip", "flip_vertical"):
        if not isinstance(getattr(a, name), bool):
            yield f"{name} is True or False, got {getattr(a, name)!r}"
    if not (_is_number(a.crop, 0, MAX_CROP) and isinstance(a.crop, int)):
        yield f"crop is an integer number of pixels, 0 or more, got {a.crop!r}"
    limits = {"shift": 1, "rotate": 180, "zoom": 0.99, "brightness": 1, "contrast": 1, "saturation": 1, "erase": 1}
    for name, high in {**limits, "mixup": MAX_ALPHA, "cutmix": MAX_ALPHA}.items():
        if not _is_number(getattr(a, name), 0, high):
            yield f"{name} is a number from 0 to {high}, got {getattr(a, name)!r}"
    if (fractions := a.resized_crop) is not None:
        pair = isinstance(fractions, tuple) and len(fractions) == 2 and all(_is_number(f, 0, 1) for f in fractions)
        if not (pair and 0 < fractions[0] <= fractions[1]):
            yield f"resized_crop is two fractions of the area such as (0.08, 1.0), got {fractions!r}"
        if a.crop:
            yield "crop and resized_crop exclude each other; choose one"
    if (draw := a.rand_augment) is not None:
        pair = (
            isinstance(draw, tuple) and len(draw) == 2 and isinstance(draw[0], int) and _is_number(draw[0], 1, MAX_OPS)
        )
        if not (pair and _is_number(draw[1], 0, 1)):
            yield f"rand_augment is a number of changes and a strength from 0 to 1 such as (2, 0.5), got {draw!r}"
