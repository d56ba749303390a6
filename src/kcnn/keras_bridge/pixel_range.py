"""Notice images that are scaled already, where a network expects pixels 0..255 and scales them itself."""

from typing import Any

import numpy as np

SAMPLE = 16  # images that are looked at


class PixelRangeWarning(UserWarning):
    """Warns of images that seem to be scaled already: the network would scale them again."""


def describe_scaled_pixels(images: Any) -> str | None:
    """Return what is wrong with images that seem to be scaled already.

    Args:
        images: What a Keras model takes. Only arrays of floats are looked at: a few images of them.

    Returns:
        What to do; None for pixels 0..255, however dark they are, and for anything but an array of floats.
    """
    if not isinstance(images, np.ndarray) or images.dtype.kind != "f" or images.ndim != 4 or not images.size:
        return None
    sample = images[:: -(-len(images) // SAMPLE)].astype("float32")
    least, most, mean = float(sample.min()), float(sample.max()), float(sample.mean())
    cure = "the network takes pixels 0..255 and scales them itself"
    if least >= 0 and most <= 1 and (sample != np.round(sample)).any():
        return f"the images are 0..1; {cure}: multiply them by 255"
    # values below 0 that resizing leaves at edges are few and small
    if least < -0.1 * most and abs(mean) < float(sample.std()):
        return f"the images are preprocessed already ({least:.3g}..{most:.3g}); {cure}: pass the original pixels"
    return None
