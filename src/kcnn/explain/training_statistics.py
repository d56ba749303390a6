"""Gradient and activation statistics of every layer during training, on a small fixed batch."""

import csv
from os import PathLike
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from kcnn.atomic_io import write_text
from kcnn.explain import model_access
from kcnn.explain.gradients import differentiate
from kcnn.graph.argument_kinds import check_arguments
from kcnn.keras_bridge.keras_graph import operation
from kcnn.training.run_directory import to_csv


@check_arguments
class TrainingStatistics(keras.callbacks.Callback):
    """Records gradient and activation statistics per layer, after the first step and every `every` steps from there.

    A row has the step, counted from 1, the layer, the norm of the loss gradient over the layer's trainable weights
    (None without any), and the mean, standard deviation and fraction of zeros of its output in training mode. `rows`
    has them, and `path` gets them as CSV after each epoch; rows of a training that is resumed are kept. Training is
    unchanged: weights, moving statistics, metrics and random numbers stay as they are.

    Args:
        images: A small batch (n, rows, columns, channels), as `fit` takes it.
        labels: Its labels.
        path: The CSV file; None writes none.
        every: Steps from sample to sample.
        layers: A glob of the layers to watch.

    Raises:
        ValueError: `every` is below 1, or there are more or fewer labels than images; when training begins, images
            that the model does not take.
        UnknownNameError: No layer matches, when training begins.
        TypeError: The model has no graph, when training begins.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        path: str | PathLike[str] | None = None,
        every: int = 50,
        layers: str = "*",
    ):
        super().__init__()
        if every < 1:
            raise ValueError(f"every must be at least 1 step, got {every}")
        if len(images) != len(labels):
            raise ValueError(f"expected one label for each image, got {len(images)} images and {len(labels)} labels")
        self.images, self.labels = np.asarray(images), np.asarray(labels)
        self.path = None if path is None else Path(path)
        self.every, self.layers = every, layers
        self.rows: list[dict[str, Any]] = []

    def on_train_begin(self, logs: Any = None) -> None:
        """Find the layers to watch, and the rows of a training that is resumed."""
        model = self.model
        tensors = model_access.match_layers(model, self.layers)
        self._x = ops.convert_to_tensor(model_access.to_batch(model, self.images))
        self._y = ops.convert_to_tensor(self.labels)
        self._watched = keras.Model(model.inputs, [list(model.outputs), list(tensors.values())])
        self._names = list(tensors)
        weights: dict[str, list[Any]] = {}
        for name, tensor in tensors.items():
            own = getattr(operation(tensor), "trainable_variables", [])
            if own and not any(own[0] is one for group in weights.values() for one in group):
                weights[name] = own
        self._weights = weights
        self._differentiated_loss = differentiate(self._compute_loss)
        self._done = int(ops.convert_to_numpy(model.optimizer.iterations))
        self._next = self._done + 1 + -self._done % self.every  # as without the interruption
        self.rows = [row for row in self._read_rows() if row["step"] <= self._done] if self._done else []
        self._before = self._done  # steps before this epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Take a sample where one is due."""
        self._done = self._before + batch + 1
        if self._done >= self._next:  # fit may take several steps at once
            self._next += -(-(self._done + 1 - self._next) // self.every) * self.every
            self.rows += self._sample(self._done)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write the rows."""
        self._before = self._done
        self._write_rows()

    def on_train_end(self, logs: Any = None) -> None:
        """Write the rows."""
        self._write_rows()

    def _sample(self, step: int) -> list[dict[str, Any]]:
        if hasattr(self.model, "jax_state_sync"):  # on JAX the weights are elsewhere during fit
            self.model.jax_state_sync()
        values = [ops.copy(one) for own in self._weights.values() for one in own]
        gradients, outputs = self._differentiated_loss(values)
        squares = [0.0 if one is None else ops.sum(ops.square(ops.cast(one, "float32"))) for one in gradients]
        numbers = ops.convert_to_numpy(ops.stack([*squares, *(one for output in outputs for one in _describe(output))]))
        sums, moments = numbers[: len(squares)].tolist(), numbers[len(squares) :].reshape(-1, 3).tolist()
        norms: dict[str, float] = {}
        for name, own in self._weights.items():
            norms[name] = float(np.sqrt(sum(sums[: len(own)])))
            sums = sums[len(own) :]
        return [
            {"step": step, "layer": name, "gradient_norm": norms.get(name), "mean": mean, "std": std, "zeros": zeros}
            for name, (mean, std, zeros) in zip(self._names, moments, strict=True)
        ]

    def _compute_loss(self, values: list[Any]) -> tuple[Any, list[Any]]:
        """The loss with these values of the variables, and each layer's output."""
        variables = [one for own in self._weights.values() for one in own]
        with keras.StatelessScope(list(zip(variables, values, strict=True))):
            outputs, watched = self._watched(self._x, training=True)
            outputs = outputs[0] if len(outputs) == 1 else outputs
            return self.model.compute_loss(self._x, self._y, outputs, None, training=True), watched

    def _read_rows(self) -> list[dict[str, Any]]:
        """The rows in the file."""
        if self.path is None or not self.path.exists():
            return []
        with self.path.open(encoding="utf-8") as file:
            return [
                {
                    "step": int(row.pop("step")),
                    "layer": row.pop("layer"),
                    **{column: float(value) if value else None for column, value in row.items()},
                }
                for row in csv.DictReader(file)
            ]

    def _write_rows(self) -> None:
        if self.path is not None and self.rows:
            write_text(self.path, to_csv(self.rows))


def _describe(output: Any) -> tuple[Any, Any, Any]:
    """Mean, standard deviation and fraction of zeros."""
    one = ops.cast(output, "float32")
    return ops.mean(one), ops.std(one), ops.mean(ops.cast(ops.equal(one, 0.0), "float32"))
