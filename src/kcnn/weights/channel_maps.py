"""Which channel of an old network each channel of a new one carries, through every op, and how kernels follow."""

from collections.abc import Mapping
from zlib import crc32

import numpy as np

Channels = np.ndarray  # for each channel of the new network the number of the old one; -1 for none
Arrays = dict[str, np.ndarray]


def stretch(old: int, new: int) -> Channels:
    """Return the old channel of each of a number of new ones, in their order: split evenly, or left out evenly.

    Halves, groups and branches of the channels keep their places, so that slices, grouped convolutions and sums of
    tensors of one width agree on what each channel carries.

    Args:
        old: Channels of the old network.
        new: Channels of the new one.
    """
    return np.arange(new) * old // new


def is_identity(channels: Channels, count: int) -> bool:
    """Return whether every channel of the old network is in its place, and there are no others."""
    return len(channels) == count and bool((channels == np.arange(count)).all())


def is_even(channels: Channels, count: int) -> bool:
    """Return whether each channel of the old network is carried equally often, so that means over channels agree."""
    return bool((channels >= 0).all()) and len({*np.bincount(channels, minlength=count).tolist()}) == 1


def share(channels: Channels, filters: int, name: str) -> np.ndarray:
    """Return (channels, filters): the part that each copy of a channel has in each filter; parts of a channel sum to 1.

    Copies with equal parts would have equal gradients forever; unequal ones let them part (arXiv:1511.05641).

    Args:
        channels: The old channel of each new one; none is -1.
        filters: Number of filters.
        name: Name of the layer, from which the parts are drawn.
    """
    copies = np.bincount(channels)[channels]
    if copies.max(initial=1) == 1:
        return np.ones((len(channels), filters))
    parts = np.random.RandomState(crc32(name.encode())).uniform(0.5, 1.5, (len(channels), filters))
    totals = np.zeros((channels.max() + 1, filters))
    np.add.at(totals, channels, parts)
    return parts / totals[channels]


def spread_kernel(
    old: np.ndarray, channels: Channels, filters: Channels, groups: tuple[int, int], name: str
) -> tuple[np.ndarray, bool]:
    """Return a kernel of the new network that computes what the old one did.

    Args:
        old: (taps, channels per old group, old filters), the taps in one axis.
        channels: The old channel of each new input channel.
        filters: The old filter of each new filter.
        groups: Number of groups before and now.
        name: Name of the layer.

    Returns:
        (taps, channels per new group, new filters), and whether each filter finds all the channels that it reads.
    """
    taps, depth, _ = old.shape
    inputs, outputs = len(channels) // groups[1], len(filters) // groups[1]
    old_outputs = old.shape[2] // groups[0]
    kernel = np.zeros((taps, inputs, len(filters)), old.dtype)
    is_complete = True
    for group in range(groups[1]):
        own = channels[group * inputs : (group + 1) * inputs]
        members = np.arange(group * outputs, (group + 1) * outputs)
        for source in np.unique(filters[members] // old_outputs):
            chosen = members[filters[members] // old_outputs == source]
            places = np.flatnonzero((own >= source * depth) & (own < (source + 1) * depth))
            local = own[places] - source * depth
            is_complete = is_complete and len(np.unique(local)) == depth
            if len(places):
                values = old[:, local][:, :, filters[chosen]] * share(local, len(chosen), f"{name}/{group}")
                kernel[:, places[:, None], chosen] = values
    return kernel, is_complete


def take(old: np.ndarray, initial: np.ndarray, channels: Channels) -> np.ndarray:
    """Return the values of the old channels that the new ones carry; initial values where they carry none.

    Args:
        old: The old values by channel.
        initial: The initial values of the new network.
        channels: The old channel of each new one.
    """
    values = old[np.maximum(channels, 0)]
    return np.where(channels >= 0, values, initial).astype(initial.dtype)


def take_groups(channels: Channels, old: int, groups: tuple[int, int]) -> bool:
    """Return whether each group of the new channels carries one group of the old ones, each channel equally often.

    Args:
        channels: The old channel of each new one.
        old: Number of old channels.
        groups: Number of groups before and now.
    """
    size, new_size = old // groups[0], len(channels) // groups[1]
    for group in range(groups[1]):
        own = channels[group * new_size : (group + 1) * new_size]
        source = own[0] // size
        if own.min() < 0 or (own // size != source).any() or not is_even(own - source * size, size):
            return False
    return True


def shuffle_order(channels: int, groups: int) -> Channels:
    """Return the input channel of each output channel of a ChannelShuffle."""
    return np.arange(channels).reshape(groups, -1).T.ravel()


def equal(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    """Return whether two sets of arrays are equal by name and value."""
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
