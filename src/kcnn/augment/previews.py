"""Plots of augmented images, with Matplotlib; `kcnn.plots.figures.save_figure` saves them."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from kcnn.augment import color, geometry, random_changes
from kcnn.augment.augmentation import Augmentation
from kcnn.augment.batches import to_images
from kcnn.augment.transforms import augment
from kcnn.plots.figures import STYLE


def plot_samples(
    augmentation: Augmentation, image: Any, *, size: Sequence[int], count: int = 15, seed: int = 0
) -> Figure:
    """Plot an image and augmented versions of it; it mixes with itself.

    Args:
        augmentation: What to change.
        image: (rows, columns, 1 or 3) of 0 to 255.
        size: (rows, columns) of the augmented images.
        count: Number of augmented images.
        seed: Draws them.

    Returns:
        The figure.
    """
    batch, labels = np.stack([image] * count), np.zeros(count, "int64")
    pixels, _ = augment(augmentation, batch, labels, size=size, classes=1, seed=(seed, 0))
    return _grid([("original", image), *((str(i + 1), one) for i, one in enumerate(pixels))], columns=8)


def plot_kinds(image: Any) -> Figure:
    """Plot the kinds of RandAugment, a row each, with strengths from -1 to 1, or from 0 for a kind without signs.

    Args:
        image: (rows, columns, 1 or 3) of 0 to 255.

    Returns:
        The figure.
    """
    (image,) = to_images(np.asarray(image)[None])
    panels: list[tuple[str, np.ndarray]] = []
    for kind in random_changes.KINDS:
        signed = kind not in ("posterize", "solarize", "auto_contrast", "equalize")
        strengths = (-1.0, -0.5, -0.25, 0.25, 0.5, 1.0) if signed else (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
        titles = [f"{kind.replace('_', '-')} {strength:.2g}" for strength in strengths]
        panels += zip(titles, (_apply_kind(kind, image, strength) for strength in strengths), strict=True)
    return _grid(panels, columns=6)


def _apply_kind(kind: str, image: np.ndarray, strength: float) -> np.ndarray:
    """One kind of RandAugment at a strength of -1 to 1."""
    size = image.shape[:2]
    match kind:
        case "shear":
            return geometry.warp(image, geometry.shear_matrix(random_changes.SHEAR * strength, 0)[0], size)
        case "translation":
            shift = random_changes.SHIFT * strength * size[1]
            return geometry.warp(image, geometry.translation_matrix(shift, 0)[0], size)
        case "rotation":
            return geometry.warp(image, geometry.rotation_matrix(random_changes.ROTATE * strength, size)[0], size)
        case "posterize":
            return color.posterize(image, 8 - round(random_changes.BITS * strength))
        case "solarize":
            return color.solarize(image, 256 * (1 - strength))
        case "auto_contrast" | "equalize":
            return getattr(color, kind)(image)
        case "brightness":
            return color.brightness(image, random_changes.BRIGHTNESS * strength)
    return getattr(color, kind)(image, random_changes.ENHANCE * strength)


def _grid(panels: Sequence[tuple[str, Any]], columns: int) -> Figure:
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.5 * columns, 1.6 * rows), layout="constrained")
        axes = np.ravel(figure.subplots(rows, columns))
        for unused in axes[len(panels) :]:
            unused.remove()
        for ax, (title, pixels) in zip(axes, panels, strict=False):
            pixels = np.clip(np.round(pixels), 0, 255).astype("uint8")
            ax.imshow(pixels if pixels.shape[-1] == 3 else pixels[..., 0], cmap="gray", vmin=0, vmax=255)
            ax.set_title(title, fontsize=7)
            ax.axis("off")
    return figure
