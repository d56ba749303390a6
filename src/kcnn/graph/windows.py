"""Windows that slide over an image: kernel, stride and padding along each axis, and the number of their positions."""

from dataclasses import dataclass

from kcnn.graph.ops import Padding, Size

Pair = tuple[int, int]


class InputTooSmallError(ValueError):
    """Raised where a kernel is larger than its padded input: a larger image may fit."""


@dataclass(frozen=True, slots=True)
class Window:
    """Define what one output position sees of an op's input, by (rows, columns)."""

    kernel: Pair  # pixels from the first to the last one seen, dilation included
    stride: Pair
    pad_before: Pair  # padding above and to the left


WHOLE_INPUT = "whole"  # a window as large as the image, at every position


def to_pair(value: Size) -> Pair:
    """Return a size given as an int or a pair as (rows, columns)."""
    if isinstance(value, tuple):
        rows, columns = value
        return rows, columns
    return value, value


def dilated_size(kernel: int, dilation: int) -> int:
    """Return the pixels from the first to the last tap of a dilated kernel, along one axis."""
    return (kernel - 1) * dilation + 1


def padding_amounts(size: int, kernel: int, stride: int, padding: Padding, axis: int) -> Pair:
    """Return the pixels of padding before and after one axis.

    Args:
        size: Pixels of the input along the axis.
        kernel: Pixels from the first to the last tap, dilation included.
        stride: Pixels between neighboring positions.
        padding: As in kcnn.graph.ops.
        axis: 0 for rows, 1 for columns; picks from a padding given by axis.

    Returns:
        (before, after).

    Raises:
        ValueError: The padding is none of the forms that an op takes.
    """
    if padding == "valid":
        return 0, 0
    if padding == "same":
        missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return missing // 2, missing - missing // 2
    if padding == "half":
        return kernel // 2, kernel // 2
    if padding == "ceil":  # lets the last window begin inside the image and hang over its edge
        return 0, min(kernel, stride) - 1
    if isinstance(padding, int) and padding >= 0:
        return padding, padding
    if isinstance(padding, tuple) and len(padding) == 2:
        side = padding[axis]
        before, after = side if isinstance(side, tuple) else (side, side)
        if min(before, after) >= 0:
            return before, after
    raise ValueError(
        'padding must be "same", "valid", "half", "ceil" (pools), pixels, (rows, columns) or '
        f"((top, bottom), (left, right)), got {padding!r}"
    )


def output_size(size: int, kernel: int, stride: int, padding: Padding, axis: int = 0) -> int:
    """Return the number of positions of a window along one axis.

    Args:
        size: Pixels of the input along the axis.
        kernel: Pixels from the first to the last tap, dilation included.
        stride: Pixels between neighboring positions.
        padding: As in kcnn.graph.ops.
        axis: 0 for rows, 1 for columns.

    Returns:
        Output pixels along the axis.

    Raises:
        InputTooSmallError: The kernel is larger than the padded input.
    """
    if padding == "same":
        return -(-size // stride)
    before, after = padding_amounts(size, kernel, stride, padding, axis)
    padded = size + before + after
    if kernel > padded:
        side = "width" if axis else "height"
        raise InputTooSmallError(f"kernel size {kernel} exceeds the padded input {side} of {padded}")
    return (padded - kernel) // stride + 1
