"""Merging of parallel linear branches: convolutions of one tensor that are added become one convolution.

A branch is a convolution, a batch norm, a scaling of channels, or the tensor itself. Its taps say which pixels of the
tensor it sees. Branches are merged where one convolution of Keras has the taps of all and needs no more
multiplications than they do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd, prod
from typing import Any

import keras
import numpy as np

from kcnn.export.folding import ends_linear, find_users, to_affine, to_array
from kcnn.graph.windows import Pair, dilated_size, padding_amounts
from kcnn.keras_bridge import layers
from kcnn.keras_bridge.keras_graph import call_arguments, operation, producers

_CONVOLUTIONS = (keras.layers.Conv2D, layers.SubsampledConv2D, keras.layers.DepthwiseConv2D)


@dataclass(frozen=True)
class Window:
    """The taps of a convolution along one axis: output i sees pixels stride * i + start + dilation * tap.

    Attributes:
        start: First pixel that output 0 sees; negative in the padding. None for "same" of an open size, where it
            depends on the image.
        taps: Number of pixels.
        dilation: Pixels between neighboring taps.
        stride: Pixels between neighboring outputs.
        slack: There are (size + slack) // stride + 1 outputs.
    """

    start: int | None = 0
    taps: int = 1
    dilation: int = 1
    stride: int = 1
    slack: int = -1

    @property
    def extent(self) -> int:
        """Pixels from the first to the last tap."""
        return dilated_size(self.taps, self.dilation)


@dataclass(frozen=True)
class Branch:
    """A linear function of a tensor.

    Attributes:
        tensor: Its output.
        source: Its input; `tensor` itself for the identity.
        padding: The padded input of a convolution where a layer of its own pads, else None.
        windows: Of rows and columns.
        groups: Of channels.
        cost: Multiplications for each output position.
    """

    tensor: Any
    source: Any
    padding: Any
    windows: tuple[Window, Window]
    groups: int
    cost: int


@dataclass(frozen=True)
class Cluster:
    """Branches of one tensor that a single convolution computes, with its geometry; or one branch."""

    branches: tuple[Branch, ...]
    windows: tuple[Window, Window]
    groups: int
    cost: int


def find_merges(order: Sequence[Any], outputs: Sequence[Any]) -> tuple[dict[int, list[Cluster]], set[int]]:
    """Return the clusters of each sum in which branches merge, by its tensor's id, and ids of tensors to remove."""
    users = find_users(order, outputs)
    inside = {id(tensor) for tensor in order}

    def is_used_once(tensor: Any) -> bool:
        return id(tensor) in inside and len(users[id(tensor)]) == 1

    merges: dict[int, list[Cluster]] = {}
    removed: set[int] = set()
    nested: set[int] = set()
    for tensor in reversed(order):  # a sum before those within it
        if id(tensor) in nested or not _is_sum(tensor):
            continue
        terms, within = [], set()
        waiting = producers(tensor)[::-1]
        while waiting:
            term = waiting.pop()
            if is_used_once(term) and _is_sum(term):
                within.add(id(term))
                waiting += producers(term)[::-1]
            else:
                terms.append(term)
        nested |= within
        clusters = _cluster([_describe(term, is_used_once(term), is_used_once) for term in terms])
        if len(clusters) == len(terms):
            continue
        merges[id(tensor)] = clusters
        removed |= within
        for branch in (one for cluster in clusters if len(cluster.branches) > 1 for one in cluster.branches):
            removed |= {id(one) for one in (branch.tensor, branch.padding) if one is not branch.source}
    return merges, removed


def _is_sum(tensor: Any) -> bool:
    """Whether a tensor is the sum of others of its shape: by the layer Add, by `+`, or by Python's sum, from 0 on."""
    layer = operation(tensor)
    if not isinstance(layer, keras.layers.Add) and (
        isinstance(layer, keras.layers.Layer) or type(layer).__name__ != "Add"
    ):
        return False
    sources = producers(tensor)
    values = [one for one in call_arguments(tensor) if one is not None and not (isinstance(one, int) and one == 0)]
    return len(values) == len(sources) and all(source.shape == tensor.shape for source in sources)


def _describe(tensor: Any, is_removable: bool, is_used_once: Any) -> Branch:
    """The branch that ends in a tensor; of what is not linear, or is needed elsewhere, the output itself."""
    channels = tensor.shape[-1]
    point = (Window(), Window())
    itself = Branch(tensor, tensor, None, point, channels, 0)
    layer = operation(tensor)
    if len(tensor.shape) != 4 or not is_removable:
        return itself
    source, padding = producers(tensor)[0], None
    if to_affine(layer, tensor.shape) is not None and source.dtype == tensor.dtype:
        return Branch(tensor, source, None, point, channels, channels)
    if type(layer) not in _CONVOLUTIONS or not ends_linear(layer) or source.dtype != tensor.dtype:
        return itself
    sides: tuple[Pair, Pair] = ((0, 0), (0, 0))
    pad = operation(source)
    if isinstance(pad, keras.layers.ZeroPadding2D) and pad.data_format == "channels_last" and is_used_once(source):
        sides, padding, source = pad.padding, source, producers(source)[0]
    shape = zip(source.shape[1:3], sides, strict=True)
    rows, columns = (_make_window(layer, axis, size, side) for axis, (size, side) in enumerate(shape))
    groups = getattr(layer, "groups", 1) if isinstance(layer, keras.layers.Conv2D) else source.shape[-1]
    return Branch(
        tensor,
        source,
        padding,
        (rows, columns),
        groups,
        _count_multiplications((rows, columns), source, groups, channels),
    )


def _make_window(layer: Any, axis: int, size: int | None, side: Pair) -> Window:
    """The taps of a convolution along an axis of the input before padding."""
    taps, dilation, stride = (pair[axis] for pair in (layer.kernel_size, layer.dilation_rate, layer.strides))
    extent = dilated_size(taps, dilation)
    is_open = size is None and layer.padding == "same" and stride > 1 and extent > 1
    own = padding_amounts((size or 1) + sum(side), extent, stride, layer.padding, axis)
    start = None if is_open else -side[0] - own[0]
    return Window(start, taps, dilation, stride, sum(side) + sum(own) - extent)


def _count_multiplications(windows: Sequence[Window], source: Any, groups: int, filters: int) -> int:
    return prod(window.taps for window in windows) * source.shape[-1] // groups * filters


def _cluster(branches: Sequence[Branch]) -> list[Cluster]:
    """The branches, those merged that may be."""
    clusters: list[Cluster] = []
    # convolutions before norms, and those first that the others fit into
    for branch in sorted(branches, key=lambda one: (not _is_convolution(one), -one.cost)):
        single = Cluster((branch,), branch.windows, branch.groups, branch.cost)
        for number, cluster in enumerate(clusters):
            merged = _merge(cluster, single)
            if merged:
                clusters[number] = merged
                break
        else:
            clusters.append(single)
    return clusters


def _is_convolution(branch: Branch) -> bool:
    return branch.tensor is not branch.source and isinstance(operation(branch.tensor), _CONVOLUTIONS)


def _merge(first: Cluster, second: Cluster) -> Cluster | None:
    """Both in one convolution; None where there is none, or where it multiplies more often."""
    source = first.branches[0].source
    if source is not second.branches[0].source or not _is_convolution(first.branches[0]):
        return None
    rows, columns = (
        _merge_windows(one, other, size)
        for one, other, size in zip(first.windows, second.windows, source.shape[1:3], strict=True)
    )
    if rows is None or columns is None:
        return None
    groups = gcd(first.groups, second.groups)
    cost = _count_multiplications((rows, columns), source, groups, first.branches[0].tensor.shape[-1])
    if cost > first.cost + second.cost or not _find_padding((rows, columns), source):
        return None
    return Cluster(first.branches + second.branches, (rows, columns), groups, cost)


def _merge_windows(first: Window, second: Window, size: int | None) -> Window | None:
    """The taps of both along an axis; None where no convolution has them."""
    if first.stride != second.stride or (size is None and first.slack != second.slack):
        return None
    if first.start is None or second.start is None:
        return first if first == second else None
    start = min(first.start, second.start)
    end = max(first.start + first.extent, second.start + second.extent)
    dilation = gcd(first.start - second.start, *(one.dilation for one in (first, second) if one.taps > 1))
    dilation = (dilation or 1) if first.stride == 1 else 1  # Keras has no strides with dilation
    # Where the size is known, both slacks give the same number of outputs; the smaller one pads less.
    slack = max(min(first.slack, second.slack), -end)
    return Window(start, (end - start - 1) // dilation + 1, dilation, first.stride, slack)


def _find_padding(windows: tuple[Window, Window], source: Any) -> tuple[str, tuple[Pair, Pair]] | None:
    """Keras' name of the padding, and pixels to pad before it; None where Keras has no such convolution."""
    if any(window.stride > 1 for window in windows) and any(window.dilation > 1 for window in windows):
        return None
    pairs: list[Pair] = []
    same: list[bool] = []
    for axis, (window, size) in enumerate(zip(windows, source.shape[1:3], strict=True)):
        if window.start is None:
            same.append(True)
            continue
        pairs.append((-window.start, window.slack + window.extent + window.start))
        usual = padding_amounts(size or 1, window.extent, window.stride, "same", axis)
        same.append(pairs[-1] == usual and (size is not None or window.stride == 1 or window.extent == 1))
    if len(pairs) == 2 and pairs[0] == pairs[1] == (0, 0):
        return "valid", ((0, 0), (0, 0))
    if all(same):
        return "same", ((0, 0), (0, 0))
    return ("valid", (pairs[0], pairs[1])) if len(pairs) == 2 else None


def apply_merged(cluster: Cluster, x: Any, unique_name: Any) -> Any:
    """Return what one convolution makes of a tensor: the sum of the branches.

    Args:
        cluster: The branches.
        x: The tensor that they take.
        unique_name: Function from the name of a layer to one that is free.
    """
    branch, source = cluster.branches[0], cluster.branches[0].source
    channels, filters = source.shape[-1], branch.tensor.shape[-1]
    padding, sides = _find_padding(cluster.windows, source) or ("valid", ((0, 0), (0, 0)))
    kernel, bias = _add_weights(cluster, channels, filters)
    rows, columns = cluster.windows
    config = {
        "kernel_size": (rows.taps, columns.taps),
        "strides": (rows.stride, columns.stride),
        "dilation_rate": (rows.dilation, columns.dilation),
        "padding": padding,
        "use_bias": bias is not None,
        "data_format": "channels_last",
        "dtype": "float32",
    }
    name = operation(branch.tensor).name
    if any(map(any, sides)):
        x = keras.layers.ZeroPadding2D(
            sides, data_format="channels_last", dtype="float32", name=unique_name(f"{name}_pad")
        )(x)
    layer: Any
    if cluster.groups == channels > 1 and rows.stride == columns.stride:
        layer = keras.layers.DepthwiseConv2D(
            depth_multiplier=filters // channels, depthwise_initializer="zeros", name=unique_name(name), **config
        )
        kernel = kernel.reshape(*kernel.shape[:2], channels, filters // channels)
    else:
        layer = keras.layers.Conv2D(
            filters, groups=cluster.groups, kernel_initializer="zeros", name=unique_name(name), **config
        )
    result = layer(x)
    layer.set_weights([kernel] if bias is None else [kernel, bias])
    return result


def _add_weights(cluster: Cluster, channels: int, filters: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The kernel (rows, columns, channels of a group, filters) of merged branches, and their bias if any has one."""
    width = channels // cluster.groups
    total = np.zeros((*(window.taps for window in cluster.windows), width, filters))
    biases = []
    for branch in cluster.branches:
        kernel, bias = _read_weights(branch, filters)
        biases += [] if bias is None else [bias]
        rows, columns = (
            _place_taps(window, merged) for window, merged in zip(branch.windows, cluster.windows, strict=True)
        )
        own, share = channels // branch.groups, filters // branch.groups
        for group in range(branch.groups):
            here, first = slice(group * share, (group + 1) * share), group * own % width
            total[rows, columns, first : first + own, here] += kernel[..., here]
    return total, np.sum(biases, axis=0) if biases else None


def _place_taps(window: Window, merged: Window) -> slice:
    """Where the taps of a branch are among those of the merged kernel."""
    first = 0 if window.start is None or merged.start is None else (window.start - merged.start) // merged.dilation
    step = max(window.dilation // merged.dilation, 1)
    return slice(first, first + (window.taps - 1) * step + 1, step)


def _read_weights(branch: Branch, filters: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The kernel (rows, columns, channels of a group, filters) and the bias of one branch."""
    if branch.tensor is branch.source:
        return np.ones((1, 1, 1, filters)), None
    layer = operation(branch.tensor)
    affine = to_affine(layer, branch.tensor.shape)
    if affine is not None:
        return affine.scale.reshape(1, 1, 1, filters), affine.shift
    kernel = to_array(layer.kernel)
    bias = to_array(layer.bias) if layer.use_bias else None
    return kernel.reshape(*kernel.shape[:2], -1, filters), bias
