"""Which taps of a new window read what an old window read, along one axis: larger kernels, other strides, dilation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kcnn.graph.shape_inference import Shape
from kcnn.graph.windows import dilated_size, output_size, padding_amounts, to_pair


@dataclass(frozen=True, slots=True)
class Axis:
    """Where an axis of a new network has the positions of the old one: number step * i + offset is the old i-th."""

    step: int = 1
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Slide:
    """A window that slides along one axis.

    Attributes:
        taps: Pixels that one position reads.
        stride: Pixels between neighboring positions.
        dilation: Pixels between neighboring taps.
        before: Pixels of padding before the axis.
        size: Pixels of the axis.
        positions: Positions of the window.
    """

    taps: int
    stride: int
    dilation: int
    before: int
    size: int
    positions: int

    @property
    def reads_padding(self) -> tuple[bool, bool]:
        """Whether a tap lies before the axis, and behind it."""
        last = (self.positions - 1) * self.stride - self.before + (self.taps - 1) * self.dilation
        return self.before > 0, last >= self.size


def make_slide(op: Any, shape: Shape, axis: int) -> Slide:
    """Return how a Conv, Depthwise or Pool slides along an axis of an input.

    Args:
        op: The op.
        shape: Shape of its input.
        axis: 0 for rows, 1 for columns.

    Raises:
        ValueError: The input is too small.
    """
    taps, stride, dilation = (to_pair(value)[axis] for value in (op.kernel, op.stride, getattr(op, "dilation", 1)))
    kernel = dilated_size(taps, dilation)
    before, _ = padding_amounts(shape[axis], kernel, stride, op.padding, axis)
    positions = output_size(shape[axis], kernel, stride, op.padding, axis)
    return Slide(taps, stride, dilation, before, shape[axis], positions)


def identity_slide(size: int) -> Slide:
    """Return the window of one pixel that leaves an axis as it is."""
    return Slide(1, 1, 1, 0, size, size)


def align(old: Slide, new: Slide, at: Axis) -> tuple[Axis, tuple[int, ...]] | None:
    """Find the taps of a new window that read what those of an old one read.

    Args:
        old: The window in the old network.
        new: The window in the new network.
        at: Where the input of the new network has the positions of the old one's.

    Returns:
        Where its output has the old positions, and the new tap for each old one; None where no choice of taps reads the
        same pixels, and zeros of the padding where the old window did.
    """
    reads_before, reads_behind = old.reads_padding
    if reads_before and at.offset >= at.step:
        return None  # an unknown pixel is where the old network has padding
    if reads_behind and at.offset + at.step * old.size < new.size:
        return None
    step, rest = divmod(at.step * old.stride, new.stride)
    if rest:
        return None
    for offset in range(new.positions - step * (old.positions - 1)):
        shift = at.offset - at.step * old.before + new.before - offset * new.stride
        places = [divmod(tap * at.step * old.dilation + shift, new.dilation) for tap in range(old.taps)]
        if all(rest == 0 and 0 <= tap < new.taps for tap, rest in places):
            return Axis(step, offset), tuple(tap for tap, _ in places)
    return None


def center_taps(old: int, new: int) -> tuple[Sequence[int], Sequence[int]]:
    """Return the middle taps of two kernels that differ in size: those of the old one, and of the new one."""
    shared = min(old, new)
    first, other = (old - shared) // 2, (new - shared) // 2
    return range(first, first + shared), range(other, other + shared)
