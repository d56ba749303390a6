"""A progress bar over a training, a line per finished epoch, and Ctrl-C that is heard."""

import signal
import threading
from typing import Any

import keras
from rich.progress import Progress


class EpochBars(keras.callbacks.Callback):
    """Steps of the epoch under way as a bar; what each epoch came to as a line that stays."""

    async_safe = True

    def __init__(self, bars: Progress, epochs: int):
        super().__init__()
        self.bars, self.epochs = bars, epochs

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.task = self.bars.add_task(f"epoch {epoch + 1} of {self.epochs}", total=self.params["steps"])

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.bars.update(self.task, completed=batch + 1)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.bars.remove_task(self.task)
        numbers = {name: float(value) for name, value in (logs or {}).items()}
        word = "average_precision" if "average_precision" in numbers else "accuracy"
        said = word.replace("_", " ")
        line = f"epoch {epoch + 1:>3} of {self.epochs}: loss {numbers['loss']:.4f}, {said} {numbers[word]:.2%}"
        if "val_loss" in numbers:
            line += f"; validation loss {numbers['val_loss']:.4f}, {said} {numbers[f'val_{word}']:.2%}"
        self.bars.console.print(line)


class Interruptible(keras.callbacks.Callback):
    """While its `with` lasts, Ctrl-C ends a training at the next step at the latest.

    A KeyboardInterrupt that Python raises inside another library's C code may be lost there; this remembers it.
    """

    async_safe = True

    def __init__(self) -> None:
        super().__init__()
        self.asked = False

    def __enter__(self) -> "Interruptible":
        if threading.current_thread() is threading.main_thread():  # Python hands signals to no other
            self.before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *_: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self.before)

    def _hear(self, *_: Any) -> None:
        self.asked = True
        raise KeyboardInterrupt

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.asked:
            raise KeyboardInterrupt
