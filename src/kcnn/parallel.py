"""Work on many images, by threads: what decodes, resizes and changes pixels does so without Python's lock."""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def count_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def thread_pool() -> ThreadPoolExecutor:
    """Return the one pool for all work on images."""
    return ThreadPoolExecutor(count_cores(), thread_name_prefix="kcnn-images")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=thread_pool.cache_clear)  # threads do not survive a fork


def map_parallel(work: Callable[[Any], None], items: Sequence[Any]) -> None:
    """Call `work` with every item on all threads, several items per task.

    Args:
        work: Function of one item.
        items: Its arguments.
    """
    size = max(1, len(items) // (4 * count_cores()))

    def run_task(indices: range) -> None:
        for i in indices:
            work(items[i])

    for _ in thread_pool().map(run_task, split_into_runs(len(items), size)):
        pass


def split_into_runs(count: int, size: int) -> Iterator[range]:
    """Yield 0 to count - 1 as ranges of at most `size` numbers.

    Args:
        count: How many numbers there are.
        size: Length of each range but the last.
    """
    return (range(first, min(first + size, count)) for first in range(0, count, size))
