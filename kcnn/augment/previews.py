"""Pictures of what an augmentation makes of an image, drawn with Matplotlib; `kcnn.plots.figures.save` saves them."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from kcnn.augment import color, geometry, random_changes
from kcnn.augment.augmentation import Augmentation
from kcnn.augment.transforms import augment
from kcnn.plots.figures import STYLE


def plot_samples(
    augmentation: Augmentation, image: Any, *, size: Sequence[int], count: int = 15, seed: int = 0
) -> Figure:
    """An image (rows, columns, 1 or 3) of 0 to 255, and what so many draws make of it; it mixes with itself."""
    batch = tf.stack([image] * count)
    pixels, _ = augment(augmentation, batch, tf.zeros([count], tf.int64), size=size, classes=1, seed=(seed, 0))
    return _grid([("as it came", image), *((str(i + 1), one) for i, one in enumerate(pixels.numpy()))], columns=8)


def plot_kinds(image: Any) -> Figure:
    """The kinds of RandAugment, a row each, with strengths from -1 to 1 where a kind has signs, else from 0."""
    image = tf.cast(image, tf.float32)
    size = tuple(image.shape[:2])
    panels = []
    for kind in random_changes.KINDS:
        signed = kind not in ("posterise", "solarise", "auto_contrast", "equalise")
        for strength in (-1.0, -0.5, -0.25, 0.25, 0.5, 1.0) if signed else (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
            changed = _one(kind, image[None], tf.constant([strength]), size)[0].numpy()
            panels.append((f"{kind.replace('_', '-')} {strength:.2g}", changed))
    return _grid(panels, columns=6)


def _one(kind: str, image: tf.Tensor, strength: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """One kind of RandAugment at a strength of -1 to 1."""
    none = tf.zeros_like(strength)
    match kind:
        case "shear":
            return geometry.warp(image, geometry.shear_matrix(random_changes.SHEAR * strength, none), size)
        case "translation":
            return geometry.warp(
                image, geometry.translation_matrix(random_changes.SHIFT * strength * size[1], none), size
            )
        case "rotation":
            return geometry.warp(image, geometry.rotation_matrix(random_changes.TURN * strength, size), size)
        case "posterise":
            return color.posterize(image, 8 - tf.round(random_changes.BITS * strength))
        case "solarise":
            return color.solarize(image, 256 * (1 - strength))
        case "auto_contrast" | "equalise":
            return getattr(color, kind)(image)
        case "brightness":
            return color.brightness(image, random_changes.LIGHT * strength)
    return getattr(color, kind)(image, random_changes.ENHANCE * strength)


def _grid(panels: Sequence[tuple[str, Any]], columns: int) -> Figure:
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.5 * columns, 1.6 * rows), layout="constrained")
        axes = np.ravel(figure.subplots(rows, columns))
        for place in axes[len(panels) :]:
            place.remove()
        for place, (title, pixels) in zip(axes, panels, strict=False):
            pixels = np.clip(np.round(pixels), 0, 255).astype("uint8")
            place.imshow(pixels if pixels.shape[-1] == 3 else pixels[..., 0], cmap="gray", vmin=0, vmax=255)
            place.set_title(title, fontsize=7)
            place.axis("off")
    return figure
