"""Nouns: the layers a network is drawn from, as frozen records of their geometry.

A size that may differ by axis (`kernel`, `stride`, `dilation`) is an int or (rows, columns).

`padding` is "same" (TensorFlow's), "valid", "half" (kernel // 2 pixels on every side, what PyTorch
networks write), "ceil" (a pool that rounds its output size up), or explicit pixels taken literally:
`p` on every side, `(rows, columns)`, or `((top, bottom), (left, right))`.

An op from elsewhere is any record with `shape(*shapes)` and `layer(name)`, and, where they are not
zero or none, `params`, `state`, `macs` and `window` of the same arguments (see kcnn.graph.shape_inference).
"""

from dataclasses import dataclass

Size = int | tuple[int, int]
Padding = str | int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Conv:
    """Convolution to `filters` maps; `fill` is what its padding holds: zeros, reflect or edge."""

    filters: int
    kernel: Size = 3
    stride: Size = 1
    padding: Padding = "same"
    dilation: Size = 1
    groups: int = 1
    bias: bool = True
    padding_mode: str = "zeros"
    kernel_initializer: str = "he_uniform"


@dataclass(frozen=True, slots=True)
class Depthwise:
    """One convolution per channel, which stays in its channel."""

    kernel: Size = 3
    stride: Size = 1
    padding: Padding = "same"
    dilation: Size = 1
    bias: bool = True
    padding_mode: str = "zeros"
    kernel_initializer: str = "he_uniform"


@dataclass(frozen=True, slots=True)
class Pool:
    """Sliding "max" or "average"; padding is minus infinity under max, zeros under average.

    `count_padding` says whether padded pixels count in the average; those of "ceil" never do.
    """

    kernel: Size = 2
    stride: Size = 2
    padding: Padding = "valid"
    mode: str = "max"
    count_include_pad: bool = False


@dataclass(frozen=True, slots=True)
class AdaptivePool:
    """Rows and columns averaged to `size` positions, whatever they were, in windows as equal as can be.

    Window i of n pixels to m positions goes from floor(i n / m) to ceil((i + 1) n / m).
    """

    size: Size


@dataclass(frozen=True, slots=True)
class Pad:
    """A margin of its own: zeros, reflect, edge, or "lowest" (minus infinity).

    `channels` are channels of zeros (before, behind).
    """

    padding: Padding
    padding_mode: str = "zeros"
    channels: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """Batch normalisation (arXiv:1502.03167); `momentum` is the share of the old moving average."""

    epsilon: float = 1e-5
    momentum: float = 0.9
    scale: bool = True
    center: bool = True


@dataclass(frozen=True, slots=True)
class LocalResponseNorm:
    """x / (bias + alpha * sum of squares over `size` neighbouring channels) ** beta.

    The defaults are AlexNet's: n = 5, k = 2, alpha = 1e-4, beta = 0.75 (NIPS 2012, section 3.3).
    """

    size: int = 5
    bias: float = 2.0
    alpha: float = 1e-4
    beta: float = 0.75


@dataclass(frozen=True, slots=True)
class Activation:
    """An activation function by its Keras name."""

    function: str = "relu"


@dataclass(frozen=True, slots=True)
class Rescale:
    """scale * x + offset; a tuple has one value a channel.

    On another number of channels than the tuple's, every channel takes the tuple's mean.
    """

    scale: float | tuple[float, ...] = 1 / 127.5
    offset: float | tuple[float, ...] = -1.0


@dataclass(frozen=True, slots=True)
class Dropout:
    """In training each number is zero at this rate, and scaled up otherwise (arXiv:1207.0580)."""

    rate: float = 0.5


@dataclass(frozen=True, slots=True)
class DropPath:
    """Stochastic depth: in training an image's whole tensor is zero at this rate, and scaled up otherwise."""

    rate: float


@dataclass(frozen=True, slots=True)
class Dense:
    """A fully connected layer on a flat tensor."""

    units: int
    bias: bool = True
    kernel_initializer: str = "glorot_uniform"


@dataclass(frozen=True, slots=True)
class GlobalPool:
    """One number a channel: its "average" or "max" over the whole map; `keepdims` leaves a map of one pixel."""

    mode: str = "average"
    keepdims: bool = False


@dataclass(frozen=True, slots=True)
class Flatten:
    """Rows, columns and channels as one axis, channels fastest."""


@dataclass(frozen=True, slots=True)
class Concat:
    """Branches side by side on the channel axis."""


@dataclass(frozen=True, slots=True)
class Add:
    """The sum of tensors of one shape."""


@dataclass(frozen=True, slots=True)
class Multiply:
    """The product of tensors of one shape; a map of one pixel weighs the channels of the other."""


# What published weights take for pixels 0..255 RGB, besides Rescale(), which is x / 127.5 - 1.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, pixels 0..1
STANDARDIZED = Rescale(
    tuple(1 / (255 * d) for d in _DEVIATION), tuple(-m / d for m, d in zip(_MEAN, _DEVIATION, strict=True))
)
CENTERED = Rescale(1.0, (-123.68, -116.779, -103.939))  # Caffe's mean; its BGR is folded into the first kernel
