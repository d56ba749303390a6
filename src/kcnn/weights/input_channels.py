"""The first kernel of a network for another number of color channels, by how each is scaled."""

import numpy as np

from kcnn.graph.ops import Rescale


def adapt_channels(array: np.ndarray, shape: tuple[int, ...], rescale: Rescale) -> tuple[np.ndarray, str]:
    """Adapt the first kernel to another number of input channels, so that a gray image gives what it gave before.

    Each of more channels takes one of the file's in turn, divided by how often that is taken. Each of fewer takes
    the sum of every n-th. Where channels are scaled each by its own values, the least change is added that keeps both
    the sum of the scaled slices and that of the offsets: then borders, which are padded with zeros after the scaling,
    are kept as well.

    Args:
        array: (rows, columns, channels in the file, filters).
        shape: (rows, columns, channels, filters) of the model's kernel.
        rescale: How the network scales the channels of an image.

    Returns:
        The new kernel and how it was adapted; the old one and "" where more than the channels differ.
    """
    before, after = array.shape[2], shape[2]
    if array.shape[:2] + array.shape[3:] != shape[:2] + shape[3:]:
        return array, ""
    shares = np.zeros((after, before))
    for channel in range(max(after, before)):
        shares[channel % after, channel % before] = 1
    how = f"{before} channels {'summed to' if after < before else 'spread over'} {after}"
    shares /= shares.sum(axis=0)
    theirs, ours = (scales_and_offsets(rescale, channels) for channels in (before, after))
    if not np.allclose(ours @ shares, theirs):
        shares += np.linalg.pinv(ours) @ (theirs - ours @ shares)
        how += ", by their scaling"
    return np.einsum("mc,rkcf->rkmf", shares, array.astype("float64")).astype(array.dtype), how


def scales_and_offsets(rescale: Rescale, channels: int) -> np.ndarray:
    """(2, channels): how each channel of an image is scaled."""
    own = rescale.per_channel(channels)
    return np.stack([np.broadcast_to(np.asarray(value, "float64"), channels) for value in (own.scale, own.offset)])
