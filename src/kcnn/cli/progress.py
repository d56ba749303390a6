"""Progress bars of a training, a line for each completed epoch, and Ctrl-C that is never lost."""

import signal
import threading
import time
from typing import Any

import keras
from rich.progress import Progress, TaskID

from kcnn.graph.formatting import format_duration

ESTIMATE_AFTER = 5.0  # seconds of steps, from which the time left is estimated


class RunBar(keras.callbacks.Callback):
    """Show the images that are read and the steps of a run as bars, and print a line for each completed epoch.

    The bar of the steps has the loss of the epoch so far, and the time left of the run, which a line states once too,
    for logs that have no bar.

    Args:
        bars: The progress display.
        scope: The training whose time left is printed, after "all epochs": " of this fold" for one of several.
    """

    async_safe = True

    def __init__(self, bars: Progress, scope: str = ""):
        super().__init__()
        self.bars, self.scope = bars, scope
        self.reading = bars.add_task("reading images", total=None)
        self.task: TaskID | None = None
        self.first_step: tuple[float, int] | None = None  # when it ended, which compiles, and its number
        self.is_estimated = False

    def on_images_read(self, before: int, total: int, completed: int) -> None:
        """Advance the bar of the images."""
        read = before + completed
        self.bars.update(self.reading, total=total, completed=read, visible=read < total)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Show the bar."""
        epochs, self.steps = self.params["epochs"], self.params["steps"]
        self.completed, self.label = epoch * self.steps, f"epoch {epoch + 1} of {epochs}"
        if self.task is None:
            self.task = self.bars.add_task(self.label, total=epochs * self.steps, completed=self.completed)
        self._show(self.completed, self.label)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Advance the bar."""
        loss = float((logs or {})["loss"])
        completed = self.completed + batch + 1
        self._show(completed, f"{self.label}, loss {loss:.4f}")
        self._estimate(completed)

    def _estimate(self, completed: int) -> None:
        """Print once how long the run will take, from the steps after the first."""
        now = time.monotonic()
        if self.first_step is None:
            self.first_step = now, completed
        start, first = self.first_step
        if self.is_estimated or now - start < ESTIMATE_AFTER or completed == first:
            return
        self.is_estimated = True
        left = (self.params["epochs"] * self.steps - completed) * (now - start) / (completed - first)
        if left > ESTIMATE_AFTER:
            self.bars.console.print(
                f"about {format_duration(left)} left for all epochs{self.scope}, without validation", soft_wrap=True
            )

    def _show(self, completed: int, text: str) -> None:
        if self.task is not None:
            self.bars.update(self.task, completed=completed, description=text)

    def on_train_end(self, logs: Any = None) -> None:
        """Remove the bar."""
        if self.task is not None:
            self.bars.remove_task(self.task)
        self.task = self.first_step = None  # the next fold starts anew

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Print the line."""
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        name = "average_precision" if "average_precision" in metrics else "accuracy"
        label = name.replace("_", " ")
        line = (
            f"epoch {epoch + 1:>3} of {self.params['epochs']}: loss {metrics['loss']:.4f}, {label} {metrics[name]:.2%}"
        )
        if "val_loss" in metrics:
            line += f"; validation loss {metrics['val_loss']:.4f}, {label} {metrics[f'val_{name}']:.2%}"
        self.bars.console.print(line)


class InterruptHandler(keras.callbacks.Callback):
    """End a training on Ctrl-C at the next step at the latest, while its `with` block lasts.

    A KeyboardInterrupt that Python raises inside C code of another library may be lost there; this remembers it. Where
    SIGINT is ignored, as by a job in the background of a script, it stays so.
    """

    async_safe = True
    is_local = True  # the processes of a search end with this one

    def __init__(self) -> None:
        super().__init__()
        self.is_interrupted = False

    def __enter__(self) -> "InterruptHandler":
        self.is_active = (
            threading.current_thread() is threading.main_thread()  # Python handles signals in no other
            and signal.getsignal(signal.SIGINT) != signal.SIG_IGN
        )
        if self.is_active:
            self.previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: Any) -> None:
        if self.is_active:
            signal.signal(signal.SIGINT, self.previous)

    def _handle(self, *_: Any) -> None:
        self.is_interrupted = True
        raise KeyboardInterrupt

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Interrupt the training where Ctrl-C was pressed."""
        if self.is_interrupted:
            raise KeyboardInterrupt
