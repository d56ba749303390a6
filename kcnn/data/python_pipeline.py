"""Batches as Keras takes them on every backend, for where TensorFlow is not installed."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

AHEAD = 2  # batches that are read while another is trained on


class Prefetch(keras.utils.PyDataset):
    """Numbered batches as float32 pixels and labels, in order, some of them read ahead on a thread.

    Keras' own workers end with an epoch, and so would data of several epochs.
    """

    def __init__(self, batches: Any):
        super().__init__()
        self.batches = batches
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kcnn-ahead")
        self._coming: dict[int, Future[Any]] = {}

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        wanted = range(number, min(number + AHEAD + 1, len(self)))
        if not wanted:
            raise IndexError(f"batch {number} of {len(self)}")
        self._coming = {n: self._coming.get(n) or self._thread.submit(self._read, n) for n in wanted}
        return self._coming.pop(number).result()

    def _read(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        pixels, labels = self.batches[number]
        return pixels.astype("float32"), labels
