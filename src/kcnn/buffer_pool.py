"""Memory for batches: aligned, and reused after the last array in it is gone."""

import math
import weakref
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

ALIGNED = 64  # bytes: TensorFlow takes over aligned memory instead of copying it

_free: defaultdict[int, list[np.ndarray]] = defaultdict(list)  # by size in bytes; appending and popping are atomic


def allocate(shape: Sequence[int], dtype: str) -> np.ndarray:
    """Return an uninitialized array in memory of the pool.

    The memory goes back to the pool when neither the array nor a view of it exists any more. New memory costs a tenth
    of a batch's time, because the operating system clears it.

    Args:
        shape: Shape of the array.
        dtype: Its type, such as "uint8".

    Returns:
        An array of that shape and type, aligned to 64 bytes.
    """
    count = math.prod(shape)
    size = count * np.dtype(dtype).itemsize
    try:
        memory = _free[size].pop()
    except IndexError:
        _free.clear()  # batches have another size now
        memory = np.empty(size + ALIGNED, "uint8")
    first = -memory.ctypes.data % ALIGNED
    # Views refer to the array that was made from a buffer, however often they are sliced: it lives as long as they do.
    owner = np.frombuffer(memory.data, dtype, count, first)
    weakref.finalize(owner, _release, size, memory).atexit = False
    return owner.reshape(shape)


def _release(size: int, memory: np.ndarray) -> None:
    _free[size].append(memory)
