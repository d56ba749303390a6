"""What is to be trained, settled, and how Keras is told: the model, its optimizer, loss and metrics, and its fit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from kcnn import runs
from kcnn.data import Data
from kcnn.drawing import Drawing
from kcnn.models import build
from kcnn.training import devices, losses, optimizers, watch
from kcnn.training import precision as precisions
from kcnn.training.recipes import Recipe


@dataclass(frozen=True)
class Job:
    """What is to be trained, settled: the request by which its folder is known, and what follows from it."""

    out: Path
    request: Mapping[str, Any]
    drawing: Drawing
    data: Data
    recipe: Recipe
    policy: str
    strategy: Any  # of tf.distribute; None on other backends
    seed: int
    callbacks: Sequence[keras.callbacks.Callback]
    say: Callable[[str], None]

    @property
    def chief(self) -> bool:
        """Whether this process writes the files of the run, as one of several workers does."""
        return devices.place(self.strategy)[0] == 0

    @property
    def states(self) -> Path:
        """This worker's own folder of checkpoints."""
        number, workers = devices.place(self.strategy)
        return self.out / runs.STATES / (f"worker-{number}" if workers > 1 else "")

    @property
    def run(self) -> str:
        return runs.identity(self.request)

    def rate(self, step: int) -> float:
        """The learning rate of a step of the whole training, counted from 0."""
        found = self.schedule
        return float(keras.ops.convert_to_numpy(found(step))) if callable(found) else found

    @property
    def schedule(self) -> Any:
        """The learning rate over all steps, as Keras' optimizers take it."""
        recipe, steps = self.recipe, self.data.steps * self.recipe.epochs
        return optimizers.schedule(recipe.schedule, self.peak_rate, steps, warm_up=recipe.warm_up, drops=recipe.drops)

    @property
    def peak_rate(self) -> float:
        """The highest learning rate; that of SGD shrinks with a batch that had to (arXiv:1706.02677)."""
        fitted = self.data.batch_size / self.recipe.batch_size if self.recipe.optimizer == "sgd" else 1.0
        return self.recipe.learning_rate * fitted


def made(job: Job) -> Any:
    """The model at the start of the training: compiled, on every device, in the precision asked for."""
    with precisions.computing(job.policy), devices.scope(job.strategy):
        model = build(job.drawing, seed=job.seed)
        devices.prepare(job.strategy, model)
        compile(model, job)
    return model


def compile(model: Any, job: Job) -> None:
    """Give a model the optimizer, loss and metrics of the recipe."""
    recipe, data = job.recipe, job.data
    rate = job.schedule
    shared = {"weight_decay": recipe.weight_decay, "clip": recipe.clip, "ema": recipe.ema}
    if recipe.optimizer == "sgd":
        optimizer = optimizers.sgd(rate, momentum=recipe.momentum, nesterov=recipe.nesterov, **shared)
    else:
        optimizer = optimizers.adamw(rate, **shared)
    weights = losses.balanced(data.splits["train"].labels, len(data.classes)) if recipe.class_weights else None
    model.compile(
        optimizer,
        losses.CrossEntropy(recipe.label_smoothing, weights),
        weighted_metrics=[losses.accuracy()],
        # XLA is slower on CPUs, fails on replicas, and was not tried on one GPU
        jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
    )


def fit(model: Any, job: Job, first: int, last: int, keeper: keras.callbacks.Callback) -> None:
    """Keras' fit over whole epochs; averages of the weights take their place in validation."""
    data, recipe = job.data, job.recipe
    swap = [keras.callbacks.SwapEMAWeights()] if recipe.ema else []
    model.fit(
        devices.training(job.strategy, data, first, last, recipe.augmentation),
        steps_per_epoch=data.steps,
        initial_epoch=first,
        epochs=last,
        **devices.validation(job.strategy, data),
        callbacks=[watch.Finite(), *swap, keeper, *job.callbacks],
        shuffle=False,  # the data comes shuffled
        verbose=0,
    )


class averaged:  # noqa: N801 - reads as a verb
    """While it lasts, averages of the weights stand in their place, where the optimizer keeps some."""

    def __init__(self, model: Any):
        optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        self.swap = keras.callbacks.SwapEMAWeights() if optimizer.use_ema else None
        if self.swap:
            self.swap.set_model(model)

    def __enter__(self) -> None:
        if self.swap:
            self.swap.on_test_begin()

    def __exit__(self, *_: Any) -> None:
        if self.swap:
            self.swap.on_test_end()


def at_step(model: Any, step: int) -> None:
    """Set the optimizer's count of steps, by which schedules go; another batch size makes it another."""
    for optimizer in (model.optimizer, getattr(model.optimizer, "inner_optimizer", None)):
        if optimizer is not None:
            optimizer.iterations.assign(step)
