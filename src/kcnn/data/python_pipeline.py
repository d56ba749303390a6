"""Batches as Keras takes them on every backend, for installations without TensorFlow."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

AHEAD = 2  # batches that are read, each by a thread, while another is trained on


class Prefetch(keras.utils.PyDataset):
    """Batches as float32 pixels and labels, read ahead by threads where they are asked for in order.

    The workers of Keras end with an epoch, and would end with them data of several epochs. Keras' `fit` shuffles the
    batches of each epoch, by a seed of its own, unless it is given shuffle=False.

    Args:
        batches: Sequence of uint8 or float32 pixels and labels.
    """

    def __init__(self, batches: Any):
        super().__init__()
        self.batches = batches
        self._threads = ThreadPoolExecutor(AHEAD, thread_name_prefix="kcnn-ahead")
        self._pending: dict[int, Future[Any]] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        if not 0 <= number < len(self):
            raise IndexError(f"batch {number} of {len(self)}")
        is_in_order = number in (0, self._next)
        self._next = number + 1
        numbers = range(number, min(number + (AHEAD if is_in_order else 0) + 1, len(self)))
        self._pending = {n: self._pending.get(n) or self._threads.submit(self._read, n) for n in numbers}
        return self._pending.pop(number).result()

    def _read(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        pixels, labels = self.batches[number]
        return pixels.astype("float32", copy=False), labels
