"""What is to be trained, settled, and how Keras is told: the model, its optimizer, loss and metrics, and its fit."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from kcnn.building import build
from kcnn.data import ImageDataset
from kcnn.graph.graph import Graph
from kcnn.training import callbacks as watch
from kcnn.training import devices, feature_cache, losses, optimizers, run_directory
from kcnn.training import precision as precisions
from kcnn.training.freezing import freeze, resolve_lr_multipliers
from kcnn.training.phases import TrainingPhase
from kcnn.training.recipes import Recipe
from kcnn.weights import PartialWeightsWarning, load_into_graph


@dataclass(frozen=True)
class TrainJob:
    """What is to be trained, settled: the request by which its folder is known, and what follows from it."""

    out: Path
    request: Mapping[str, Any]
    graph: Graph
    data: ImageDataset
    recipe: Recipe
    policy: str
    strategy: Any  # of tf.distribute; None on other backends
    seed: int
    callbacks: Sequence[keras.callbacks.Callback]
    log: Callable[[str], None]
    weights: str | None = None  # to start from: a file, or published ones
    head: bool = True  # whether they bring the classifier too
    phase: TrainingPhase | None = None  # what trains; None for everything
    cut: str | None = None  # the layer whose outputs the data has in the place of pictures

    @property
    def chief(self) -> bool:
        """Whether this process writes the files of the run, as one of several workers does."""
        return devices.worker_position(self.strategy)[0] == 0

    @property
    def checkpoint_folder(self) -> Path:
        """This worker's own folder of checkpoints."""
        number, workers = devices.worker_position(self.strategy)
        return self.out / run_directory.CHECKPOINTS / (f"worker-{number}" if workers > 1 else "")

    @property
    def run(self) -> str:
        return run_directory.hash_request(self.request)

    def rate(self, step: int) -> float:
        """The learning rate of a step of the whole training, counted from 0."""
        found = self.schedule
        return float(keras.ops.convert_to_numpy(found(step))) if callable(found) else found

    @property
    def schedule(self) -> Any:
        """The learning rate over all steps, as Keras' optimizers take it."""
        recipe, steps = self.recipe, self.data.steps * self.recipe.epochs
        return optimizers.schedule(
            recipe.schedule, self.peak_rate, steps, warmup=recipe.warmup, milestones=recipe.milestones
        )

    @property
    def peak_rate(self) -> float:
        """The highest learning rate; that of SGD shrinks with a batch that had to (arXiv:1706.02677)."""
        fitted = self.data.batch_size / self.recipe.batch_size if self.recipe.optimizer == "sgd" else 1.0
        return self.recipe.learning_rate * fitted

    def make_checkpointer(
        self, rows: list[dict[str, float]], *, best: Callable[[], None] = lambda: None
    ) -> watch.Checkpointer:
        """What keeps the state after each epoch, on from `rows`; `best` is called with each best one."""
        data = self.data
        return watch.Checkpointer(
            rows,
            states=self.checkpoint_folder,
            run=self.run,
            images=data.steps * min(data.batch_size, len(data.splits["train"])),
            batch_size=data.batch_size,
            rate=lambda epoch: self.rate((epoch + 1) * data.steps - 1),
            patience=self.recipe.patience,
            out=self.out if self.chief else None,
            best=best,
            about=run_directory.library_versions(),
        )


def initialize_model(job: TrainJob) -> Any:
    """The model at the start of the training, not compiled: initial or given weights, frozen as the phase has it."""
    model = build(job.graph, seed=job.seed)
    if job.weights is not None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", PartialWeightsWarning)  # what a training starts from is no guess
                load_into_graph(model, job.graph, job.weights, strict=True, with_head=job.head)
        except PartialWeightsWarning as error:
            raise ValueError(
                f"{error}; a training starts from weights that fit, so give those of this network"
            ) from None
    if job.phase:
        freeze(model, job.phase.trainable, batch_norm=job.phase.batch_norm)
    return model


def build_training_model(job: TrainJob) -> Any:
    """What is trained: that model, or what of it stands behind cached features, in the precision asked for."""
    with precisions.apply_policy(job.policy), devices.scope(job.strategy):
        model = initialize_model(job)
        factors = resolve_lr_multipliers(model, job.phase.lr_multipliers) if job.phase else {}
        if job.cut:
            model = feature_cache.build_head(model, job.cut)
        devices.prepare(job.strategy, model)
        compile_model(model, job, factors)
    return model


def copy_weights(model: Any, whole: Any) -> None:
    """Give the layers of a whole model the weights that those of the trained one have."""
    for layer in model.layers:
        if layer.weights:
            whole.get_layer(layer.name).set_weights(layer.get_weights())


def compile_model(model: Any, job: TrainJob, factors: Mapping[str, float] | None = None) -> None:
    """Give a model the optimizer, loss and metrics of the recipe; `factors` to the learning rate by layers."""
    recipe, data = job.recipe, job.data
    rate = job.schedule
    shared: dict[str, Any] = {
        "weight_decay": recipe.weight_decay,
        "clip_global_norm": recipe.clip_global_norm,
        "ema_momentum": recipe.ema_momentum,
        "lr_multipliers": factors,
    }
    if recipe.optimizer == "sgd":
        optimizer = optimizers.sgd(rate, momentum=recipe.momentum, nesterov=recipe.nesterov, **shared)
    else:
        optimizer = optimizers.adamw(rate, **shared)
    weights = (
        losses.balance_class_weights(data.splits["train"].labels, len(data.classes)) if recipe.class_weights else None
    )
    model.compile(
        optimizer,
        losses.make_loss(data.multi_label, recipe.label_smoothing, weights),
        weighted_metrics=losses.make_metrics(data.multi_label, len(data.classes)),
        # XLA is slower on CPUs, fails on replicas, and was not tried on one GPU
        jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
    )


def fit_epochs(model: Any, job: TrainJob, first: int, last: int, keeper: keras.callbacks.Callback) -> None:
    """Keras' fit over whole epochs; averages of the weights take their place in validation."""
    data, recipe = job.data, job.recipe
    swap = [keras.callbacks.SwapEMAWeights()] if recipe.ema_momentum else []
    model.fit(
        devices.distribute_training(job.strategy, data, first, last, recipe.augmentation),
        steps_per_epoch=data.steps,
        initial_epoch=first,
        epochs=last,
        **devices.distribute_validation(job.strategy, data),
        callbacks=[watch.StopOnNonFinite(), *swap, keeper, *job.callbacks],
        shuffle=False,  # the data comes shuffled
        verbose=0,
    )


class averaged_weights:  # noqa: N801 - reads as a verb
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


def set_step(model: Any, step: int) -> None:
    """Set the optimizer's count of steps, by which schedules go; another batch size makes it another."""
    for optimizer in (model.optimizer, getattr(model.optimizer, "inner_optimizer", None)):
        if optimizer is not None:
            optimizer.iterations.assign(step)
