"""Ops: the layers of a network, as frozen records of their geometry.

A size that may differ by axis (`kernel`, `stride`, `dilation`) is an int or (rows, columns).

`padding` is "same" (TensorFlow's), "valid", "half" (kernel // 2 pixels on every side, as in PyTorch
networks), "ceil" (a pool that rounds its output size up), or explicit pixels taken literally:
`p` on every side, `(rows, columns)`, or `((top, bottom), (left, right))`.

A custom op is a frozen dataclass with the methods `shape(*shapes)` (output shape) and `layer(name)` (Keras layer), and
optionally `params`, `non_trainable_params`, `macs` and `window`, with the arguments of `shape`: see
kcnn.graph.shape_inference.
"""

from dataclasses import dataclass, fields
from functools import lru_cache
from math import isfinite
from typing import Any

from kcnn.graph.arguments import wrong_kind, wrong_value

Size = int | tuple[int, int]
Padding = str | int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Conv:
    """Convolve to `filters` feature maps; `padding_mode` is zeros, reflect or edge.

    `standardized` kernels have mean 0 and variance 1 for each filter when they are applied (arXiv:1903.10520).
    """

    filters: int
    kernel: Size = 3
    stride: Size = 1
    padding: Padding = "same"
    dilation: Size = 1
    groups: int = 1
    bias: bool = True
    padding_mode: str = "zeros"
    kernel_initializer: str = "he_uniform"
    standardized: bool = False


@dataclass(frozen=True, slots=True)
class Depthwise:
    """Convolve each channel by itself."""

    kernel: Size = 3
    stride: Size = 1
    padding: Padding = "same"
    dilation: Size = 1
    bias: bool = True
    padding_mode: str = "zeros"
    kernel_initializer: str = "he_uniform"


@dataclass(frozen=True, slots=True)
class Pool:
    """Pool by "max" or "average"; padding is minus infinity for max, zeros for average.

    `count_include_pad` is whether padded pixels count in the average; those of "ceil" never do.
    """

    kernel: Size = 2
    stride: Size = 2
    padding: Padding = "valid"
    mode: str = "max"
    count_include_pad: bool = False


@dataclass(frozen=True, slots=True)
class AdaptivePool:
    """Average to `size` positions, in windows as equal as possible.

    Window i of n pixels to m positions goes from floor(i n / m) to ceil((i + 1) n / m).
    """

    size: Size


@dataclass(frozen=True, slots=True)
class Pad:
    """Pad with zeros, reflect, edge, or "lowest" (minus infinity).

    `channels` are channels of zeros (before, after).
    """

    padding: Padding
    padding_mode: str = "zeros"
    channels: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Crop:
    """Cut pixels off the edges: ((top, bottom), (left, right))."""

    cropping: tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """Normalize by batch statistics (arXiv:1502.03167); `momentum` is the weight of the old moving average."""

    epsilon: float = 1e-5
    momentum: float = 0.9
    scale: bool = True
    center: bool = True


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """Normalize each position over its channels (arXiv:1607.06450)."""

    epsilon: float = 1e-6
    scale: bool = True
    center: bool = True


@dataclass(frozen=True, slots=True)
class GroupNorm:
    """Normalize each of `groups` groups of channels over the image and the group (arXiv:1803.08494)."""

    groups: int = 32
    epsilon: float = 1e-5
    scale: bool = True
    center: bool = True


@dataclass(frozen=True, slots=True)
class GlobalResponseNorm:
    """Compute x + scale * x * n + offset, n the channel's norm over the image by the mean norm of all channels.

    As in arXiv:2301.00808, algorithm 1: scale and offset are learned for each channel and start from 0; the norm is the
    root of the sum of squares, and `epsilon` is added to the mean.
    """

    epsilon: float = 1e-6


@dataclass(frozen=True, slots=True)
class LayerScale:
    """Multiply each channel by a learned factor, at first `initial_value` (arXiv:2103.17239)."""

    initial_value: float = 1e-6


@dataclass(frozen=True, slots=True)
class LocalResponseNorm:
    """Compute x / (bias + alpha * sum of squares over `size` neighboring channels) ** beta.

    The defaults are AlexNet's: n = 5, k = 2, alpha = 1e-4, beta = 0.75 (NIPS 2012, section 3.3).
    """

    size: int = 5
    bias: float = 2.0
    alpha: float = 1e-4
    beta: float = 0.75


@dataclass(frozen=True, slots=True)
class Activation:
    """Apply an activation function, by its Keras name."""

    function: str = "relu"


@dataclass(frozen=True, slots=True)
class LeakyRelu:
    """Multiply negative values by `negative_slope`."""

    negative_slope: float = 0.1


@dataclass(frozen=True, slots=True)
class Rescale:
    """Compute scale * x + offset; a tuple has one value for each channel.

    Of fewer channels, the first takes the first value, the last one the last, and others those between; a single one
    the mean. More channels take the values in turn.
    """

    scale: float | tuple[float, ...] = 1 / 127.5
    offset: float | tuple[float, ...] = -1.0

    @property
    def channels(self) -> int:
        """The number of channels that are scaled each by its own values; 1 where all are scaled alike."""
        return max(
            len(value) if isinstance(value, tuple) and len(set(value)) > 1 else 1 for value in (self.scale, self.offset)
        )

    def per_channel(self, channels: int) -> "Rescale":
        """Return the op with one value for each of a number of channels, where it has more than one value."""

        def spread(value: float | tuple[float, ...]) -> float | tuple[float, ...]:
            if not isinstance(value, tuple) or len(value) == channels:
                return value
            if channels == 1:
                return sum(value) / len(value)
            if channels > len(value):
                return tuple(value[number % len(value)] for number in range(channels))
            return tuple(value[round(number * (len(value) - 1) / (channels - 1))] for number in range(channels))

        return Rescale(spread(self.scale), spread(self.offset))


@dataclass(frozen=True, slots=True)
class Dropout:
    """Set a fraction `rate` of values to zero in training, and scale up the others (arXiv:1207.0580)."""

    rate: float = 0.5


@dataclass(frozen=True, slots=True)
class DropPath:
    """Set the tensor of an image to zero at this rate in training, and scale it up otherwise: stochastic depth."""

    rate: float


@dataclass(frozen=True, slots=True)
class Dense:
    """Connect a flat input fully to `units` outputs."""

    units: int
    bias: bool = True
    kernel_initializer: str = "glorot_uniform"


@dataclass(frozen=True, slots=True)
class GlobalPool:
    """Reduce each channel to its "average" or "max"; `keepdims` leaves a map of one pixel."""

    mode: str = "average"
    keepdims: bool = False


@dataclass(frozen=True, slots=True)
class Flatten:
    """Flatten rows, columns and channels to one axis, channels fastest."""


@dataclass(frozen=True, slots=True)
class Concat:
    """Concatenate branches on the channel axis."""


@dataclass(frozen=True, slots=True)
class ChannelSlice:
    """Take the channels from `start` to `stop`, which is not one of them; None for all from `start` on."""

    start: int = 0
    stop: int | None = None


@dataclass(frozen=True, slots=True)
class ChannelShuffle:
    """Interleave `groups` groups of channels: the first of each group, then the second (arXiv:1707.01083, figure 1)."""

    groups: int = 2


@dataclass(frozen=True, slots=True)
class Add:
    """Add tensors of one shape."""


@dataclass(frozen=True, slots=True)
class Multiply:
    """Multiply tensors of one shape; a map of one pixel scales the channels of the other."""


# Input scaling of pretrained weights for pixels 0..255 RGB, besides Rescale(), which is x / 127.5 - 1.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, for pixels 0..1
STANDARDIZED = Rescale(
    tuple(1 / (255 * d) for d in _DEVIATION), tuple(-m / d for m, d in zip(_MEAN, _DEVIATION, strict=True))
)
CENTERED = Rescale(1.0, (-123.68, -116.779, -103.939))  # Caffe's mean; its BGR is folded into the first kernel


_FIELD_KINDS: dict[str, tuple[Any, str]] = {
    str(bool): (bool, "True or False"),
    str(str): (str, "text"),
    str(float): ((int, float), "a number"),
}


@lru_cache(maxsize=4096)
def check_fields(op: Any) -> None:
    """Check that the fields of an op have the right kinds, after an override that may have any value.

    Args:
        op: An op of kcnn.graph.ops; others are not checked.

    Raises:
        TypeError: A field should be True or False, text or a number, and is not.
        ValueError: A number is not finite.
    """
    if type(op).__module__ != __name__:
        return
    for field in fields(op):
        value, kinds = getattr(op, field.name), _FIELD_KINDS.get(str(field.type))
        is_bool = isinstance(value, bool)
        if kinds and (not isinstance(value, kinds[0]) or (is_bool and kinds[0] is not bool)):
            raise wrong_kind(field.name, kinds[1], value)
        if kinds and isinstance(value, float) and not isfinite(value):
            raise wrong_value(field.name, "a finite number", value)
