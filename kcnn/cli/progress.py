"""A progress bar over a training, and a line per finished epoch."""

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
        self.bars.console.print(
            f"epoch {epoch + 1:>3} of {self.epochs}: loss {numbers['loss']:.4f}, accuracy {numbers['accuracy']:.2%}; "
            f"validation loss {numbers['val_loss']:.4f}, accuracy {numbers['val_accuracy']:.2%}"
        )
