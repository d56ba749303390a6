"""What a training does beside its steps: keep its state, measure itself, stop when it has gone wrong or is done."""

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import psutil

from kcnn.atomic_io import write_text
from kcnn.training import checkpoints
from kcnn.training import run_directory as folder


class NonFiniteLossError(FloatingPointError):
    """The loss is NaN or infinite: in which epoch and at which step, both from 0; step None in validation."""

    def __init__(self, epoch: int, step: int | None, loss: float):
        super().__init__(f"the loss is {loss}")
        self.epoch, self.step, self.loss = epoch, step, loss


class StopOnNonFinite(keras.callbacks.Callback):
    """Stops with NotFinite at the first step whose loss is no number.

    Keras calls it beside the training, on threads that may overtake each other, so that no step waits for a loss.
    """

    async_safe = True

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch
        self.losses: dict[int, float] = {}
        self.bad: list[int] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.losses[batch] = loss = float((logs or {})["loss"])
        if not math.isfinite(loss):
            self.bad.append(batch)
        if self.bad and all(earlier in self.losses for earlier in range(min(self.bad))):
            self._stop()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.bad:
            self._stop()
        validation = float((logs or {}).get("val_loss", 0.0))
        if not math.isfinite(validation):
            raise NonFiniteLossError(epoch, None, validation)

    def _stop(self) -> None:
        first = min(self.bad)
        raise NonFiniteLossError(self.epoch, first, self.losses[first])


class Checkpointer(keras.callbacks.Callback):
    """After each epoch: a row of history, the state on disk, the best model so far, and an end when patience is over.

    `rows` is the history, and grows. `rate` tells the learning rate of an epoch's last step, epochs
    counted from 0. `best()` keeps the model, which is better than all before. `out` is the folder of
    the history, None for all but the chief of several workers.
    """

    def __init__(
        self,
        rows: list[dict[str, float]],
        *,
        states: Path,
        run: str,
        images: int,
        batch_size: int,
        rate: Callable[[int], float],
        patience: int,
        out: Path | None,
        best: Callable[[], None],
        about: Mapping[str, Any],
    ):
        super().__init__()
        self.rows, self.states, self.run = rows, states, run
        self.images, self.batch_size, self.rate, self.patience = images, batch_size, rate, patience
        self.out, self.best, self.about = out, best, about

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.begun = time.perf_counter()
        self.trained: float | None = None

    def on_test_begin(self, logs: Any = None) -> None:
        self.trained = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        now = time.perf_counter()
        row = {
            "epoch": epoch + 1,
            **{name: float(value) for name, value in (logs or {}).items()},
            "learning_rate": self.rate(epoch),
            "seconds": round(now - self.begun, 2),
            "images_per_second": round(self.images / ((self.trained or now) - self.begun), 1),
            "peak_memory_mb": measure_peak_memory_mb(),
        }
        self.rows.append(row)
        if self.out is not None:
            with checkpoints.report_full_disk(self.states, folder.HISTORY):
                write_text(self.out / folder.HISTORY, folder.to_csv(self.rows))
        if find_best_epoch(self.rows) == len(self.rows):
            self.best()
        checkpoints.save_checkpoint(
            self.states,
            self.model,
            run=self.run,
            history=self.rows,
            batch_size=self.batch_size,
            about=self.about,
        )
        if is_out_of_patience(self.rows, self.patience):
            self.model.stop_training = True


def find_best_epoch(rows: Sequence[Mapping[str, float]]) -> int:
    """The epoch, from 1, with the highest validation accuracy, the first of several; the last without validation.

    Where a picture may have several labels, with the highest average precision.
    """
    word = "val_average_precision" if "val_average_precision" in rows[0] else "val_accuracy"
    if word not in rows[0]:
        return len(rows)
    return max(range(len(rows)), key=lambda i: rows[i][word]) + 1


def is_out_of_patience(rows: Sequence[Mapping[str, float]], patience: int) -> bool:
    """Whether the last `patience` epochs brought no new best; never where patience is 0."""
    return bool(patience and rows) and len(rows) - find_best_epoch(rows) >= patience


def measure_peak_memory_mb() -> float:
    """The most memory so far, in MB: of the first GPU where there is one, else of this process."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        if tf.config.list_logical_devices("GPU"):
            return round(tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e6, 1)
    if backend == "jax":
        import jax

        said = jax.local_devices()[0].memory_stats()
        if said and "peak_bytes_in_use" in said:
            return round(said["peak_bytes_in_use"] / 1e6, 1)
    if sys.platform == "win32":
        return round(psutil.Process().memory_info().peak_wset / 1e6, 1)
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in kB, on macOS in bytes
    return round(most / (1e6 if sys.platform == "darwin" else 1e3), 1)
