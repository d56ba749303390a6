"""Keras callbacks of a run: checkpoints, history, early stopping, and a stop at a loss that is not finite."""

import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import psutil

from kcnn.atomic_io import write_text
from kcnn.training import checkpoints
from kcnn.training.best_epoch import find_best_epoch, is_out_of_patience
from kcnn.training.run_directory import HISTORY, to_csv


class NonFiniteLossError(FloatingPointError):
    """Raised where the loss is NaN or infinite.

    Attributes:
        epoch: The epoch, counted from 0.
        step: The step, counted from 0; None in validation.
        loss: The loss.
    """

    def __init__(self, epoch: int, step: int | None, loss: float):
        super().__init__(f"the loss is {loss}")
        self.epoch, self.step, self.loss = epoch, step, loss


class StopOnNonFinite(keras.callbacks.Callback):
    """Raise NonFiniteLossError at the first step whose loss is not finite.

    Keras calls it beside the training, on threads that may overtake each other, so that no step waits for a loss.
    """

    async_safe = True

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start to collect the losses of an epoch."""
        self.epoch = epoch
        self.losses: dict[int, float] = {}
        self.non_finite: list[int] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Check the loss of a step, once all earlier ones have arrived."""
        self.losses[batch] = loss = float((logs or {})["loss"])
        if not math.isfinite(loss):
            self.non_finite.append(batch)
        if self.non_finite and all(earlier in self.losses for earlier in range(min(self.non_finite))):
            self._stop()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Check the loss of validation."""
        if self.non_finite:
            self._stop()
        validation = float((logs or {}).get("val_loss", 0.0))
        if not math.isfinite(validation):
            raise NonFiniteLossError(epoch, None, validation)

    def _stop(self) -> None:
        first = min(self.non_finite)
        raise NonFiniteLossError(self.epoch, first, self.losses[first])


class Checkpointer(keras.callbacks.Callback):
    """Write history, best model and checkpoint after each epoch, and stop early when patience runs out.

    Args:
        rows: The history so far; it grows.
        folder: Folder of checkpoints.
        request_hash: Hash of the run's request.
        images: Images per epoch.
        validation_images: Number of validation images.
        batch_size: Images per step.
        learning_rate: Returns the learning rate of the last step of an epoch, counted from 0.
        patience: Epochs without a new best validation accuracy; 0 for no early stopping.
        out: Folder of the history; None for workers other than the chief.
        save_best: Called with each epoch, counted from 1, whose weights count so far.
        versions: Versions of the libraries, and the number of replicas.
    """

    def __init__(
        self,
        rows: list[dict[str, float]],
        *,
        folder: Path,
        request_hash: str,
        images: int,
        validation_images: int,
        batch_size: int,
        learning_rate: Callable[[int], float],
        patience: int,
        out: Path | None,
        save_best: Callable[[int], None],
        versions: Mapping[str, Any],
    ):
        super().__init__()
        self.rows, self.folder, self.request_hash = rows, folder, request_hash
        self.images, self.validation_images = images, validation_images
        self.batch_size, self.learning_rate = batch_size, learning_rate
        self.patience, self.out, self.save_best, self.versions = patience, out, save_best, versions

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clock of an epoch."""
        self.start = time.perf_counter()
        self.end_of_training: float | None = None

    def on_test_begin(self, logs: Any = None) -> None:
        """Note when training ended and validation began."""
        self.end_of_training = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write everything, and stop where patience has run out."""
        end = time.perf_counter()
        row = {
            "epoch": epoch + 1,
            **{name: float(value) for name, value in (logs or {}).items()},
            "learning_rate": self.learning_rate(epoch),
            "seconds": round(end - self.start, 2),
            "images_per_second": round(self.images / ((self.end_of_training or end) - self.start), 1),
            "peak_memory_mb": measure_peak_memory_mb(),
        }
        self.rows.append(row)
        if self.out is not None:
            with checkpoints.report_full_disk(self.folder, HISTORY):
                write_text(self.out / HISTORY, to_csv(self.rows))
        if find_best_epoch(self.rows, self.validation_images) == len(self.rows):
            self.save_best(len(self.rows))
        checkpoints.save_checkpoint(
            self.folder,
            self.model,
            request_hash=self.request_hash,
            history=self.rows,
            batch_size=self.batch_size,
            versions=self.versions,
        )
        if is_out_of_patience(self.rows, self.patience):
            self.model.stop_training = True


def measure_peak_memory_mb() -> float:
    """Return the peak memory so far in MB: of the first GPU if there is one, else of this process."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        if tf.config.list_logical_devices("GPU"):
            return round(tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e6, 1)
    if backend == "jax":
        import jax

        statistics = jax.local_devices()[0].memory_stats()
        if statistics and "peak_bytes_in_use" in statistics:
            return round(statistics["peak_bytes_in_use"] / 1e6, 1)
    if sys.platform == "win32":
        return round(psutil.Process().memory_info().peak_wset / 1e6, 1)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in kB, on macOS in bytes
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)
