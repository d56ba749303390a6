"""A training run that is ready to start, and how Keras runs it: the model, its optimizer, loss and metrics, and fit."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from kcnn.architectures.spec import ModelSpec
from kcnn.building import build
from kcnn.data import ImageDataset
from kcnn.graph.graph import Graph
from kcnn.keras_bridge.keras_graph import flatten_layers, output_activation
from kcnn.training import devices, feature_cache, losses, optimizers, run_directory
from kcnn.training.callbacks import Checkpointer, StopOnNonFinite
from kcnn.training.config import TrainConfig
from kcnn.training.fold_scores import CrossValidation
from kcnn.training.freezing import freeze, resolve_lr_multipliers
from kcnn.training.precision import apply_policy
from kcnn.training.recipes import Recipe
from kcnn.weights import MorphedWeightsWarning, PartialWeightsWarning, load_into_graph


@dataclass(frozen=True)
class TrainJob:
    """Hold everything that a training run needs.

    Attributes:
        out: Folder of the run.
        request: What distinguishes the run from others; checkpoints hold its hash.
        spec: The network, and its pretrained weights.
        config: The training.
        graph: The traced network.
        data: The data.
        policy: The dtype policy.
        strategy: Of tf.distribute; None on other backends.
        callbacks: Keras callbacks of the caller.
        log: Called with each message for a person.
        verbose: Progress that Keras' fit shows: 0, 1 or 2.
        cached_layer: The layer whose outputs the data has in place of images; None for images.
        metrics: Names of further metrics of each epoch, of `kcnn.training.losses.make_metrics`.
        cross_validation: The scores of the folds of the run, which choose its last epoch; None for a run without folds.
    """

    out: Path
    request: Mapping[str, Any]
    spec: ModelSpec
    config: TrainConfig
    graph: Graph
    data: ImageDataset
    policy: str
    strategy: Any
    callbacks: Sequence[keras.callbacks.Callback]
    log: Callable[[str], None]
    verbose: int = 0
    cached_layer: str | None = None
    metrics: Sequence[str] = ()
    cross_validation: CrossValidation | None = None

    @property
    def recipe(self) -> Recipe:
        """The recipe with all overrides applied."""
        return self.config.resolved_recipe

    @property
    def last_epoch(self) -> int:
        """The number of epochs to train: the recipe's, or fewer where folds have chosen the epoch."""
        return self.cross_validation.epoch if self.cross_validation else self.recipe.epochs

    @property
    def is_chief(self) -> bool:
        """Whether this process is worker 0 (the chief), which writes the files of the run."""
        return devices.worker_position(self.strategy)[0] == 0

    @property
    def checkpoint_folder(self) -> Path:
        """This worker's own folder of checkpoints."""
        number, workers = devices.worker_position(self.strategy)
        return self.out / run_directory.CHECKPOINTS / (f"worker-{number}" if workers > 1 else "")

    @property
    def validation_images(self) -> int:
        """The number of validation images; 0 without a validation split."""
        return len(self.data.splits.get("validation", ()))

    @property
    def request_hash(self) -> str:
        """The hash of the request."""
        return run_directory.hash_request(self.request)

    @property
    def versions(self) -> dict[str, str]:
        """What else the numbers of a run depend on: versions of the libraries, and the number of replicas."""
        return {**run_directory.library_versions(), "replicas": str(devices.count_replicas(self.strategy))}

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step of the run, counted from 0."""
        schedule = self.schedule
        return float(keras.ops.convert_to_numpy(schedule(step))) if callable(schedule) else schedule

    @property
    def schedule(self) -> Any:
        """The learning-rate schedule over all steps, or a constant learning rate."""
        recipe, steps = self.recipe, self.data.steps * self.recipe.epochs
        return optimizers.schedule(
            recipe.schedule, self.peak_learning_rate, steps, warmup=recipe.warmup, milestones=recipe.milestones
        )

    @property
    def peak_learning_rate(self) -> float:
        """The peak learning rate; SGD's is scaled with a batch size that had to shrink (arXiv:1706.02677)."""
        scale = self.data.batch_size / self.recipe.batch_size if self.recipe.optimizer == "sgd" else 1.0
        return self.recipe.learning_rate * scale

    def make_checkpointer(
        self, rows: list[dict[str, float]], *, save_best: Callable[[int], None] = lambda epoch: None
    ) -> Checkpointer:
        """Return the callback that writes history and state after each epoch.

        Args:
            rows: The history so far; it grows.
            save_best: Called with each epoch, counted from 1, whose weights count so far.

        Returns:
            The callback.
        """
        data = self.data
        return Checkpointer(
            rows,
            folder=self.checkpoint_folder,
            request_hash=self.request_hash,
            images=data.steps * min(data.batch_size, len(data.splits["train"])),
            validation_images=self.validation_images,
            batch_size=data.batch_size,
            learning_rate=lambda epoch: self.learning_rate((epoch + 1) * data.steps - 1),
            patience=self.recipe.patience,
            out=self.out if self.is_chief else None,
            save_best=save_best,
            versions=self.versions,
        )


def initialize_model(job: TrainJob, log: Callable[[str], None] = lambda line: None) -> Any:
    """Return the model at the start of the run, not compiled, in float32 on one device.

    Args:
        job: The run.
        log: Called with what became of pretrained weights that were morphed for a network with overrides.

    Returns:
        The model with initial or pretrained weights, and frozen as the training phase has it.

    Raises:
        ValueError: The pretrained weights do not fit, or the network ends in a softmax or sigmoid.
    """
    model = build(job.graph, seed=job.config.seed)
    for output in model.outputs:
        if activation := output_activation(output):
            raise ValueError(f"{job.graph.name} ends in a {activation}; training needs logits: remove the {activation}")
    if job.spec.weights is not None:
        strict = None if job.spec.overrides else True  # with overrides weights are morphed where they do not fit
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", PartialWeightsWarning)  # a run never starts from weights that half fit
                warnings.simplefilter("ignore", MorphedWeightsWarning)  # the log says what became of them
                head = job.config.load_head
                report = load_into_graph(model, job.graph, job.spec.weights, strict=strict, with_head=head)
        except PartialWeightsWarning as error:
            raise ValueError(f"{error}; training needs weights that fit: use weights of this network") from None
        if report.morphing:
            log(f"{job.spec.weights}: {report.morphing.line}")
    if job.config.phase:
        freeze(model, job.config.phase.trainable, batch_norm=job.config.phase.batch_norm)
    return model


def build_training_model(job: TrainJob) -> Any:
    """Return the compiled model that trains: the model, or its part behind cached features, in the dtype policy."""
    with apply_policy(job.policy), devices.scope(job.strategy):
        model = initialize_model(job)
        phase = job.config.phase
        if (limit := job.recipe.norm_momentum) is not None:
            for layer in flatten_layers(model):
                if isinstance(layer, keras.layers.BatchNormalization):
                    layer.momentum = min(layer.momentum, limit)
        multipliers = resolve_lr_multipliers(model, phase.lr_multipliers) if phase else {}
        if job.cached_layer:
            model = feature_cache.build_head(model, job.cached_layer)
        devices.synchronize_replicas(job.strategy, model)
        compile_model(model, job, multipliers)
    return model


def copy_weights(source: Any, target: Any) -> None:
    """Copy the weights of each layer to the layer of the same name in another model."""
    for layer in source.layers:
        if layer.weights:
            target.get_layer(layer.name).set_weights(layer.get_weights())


def compile_model(model: Any, job: TrainJob, lr_multipliers: Mapping[str, float] | None = None) -> None:
    """Compile a model with the optimizer, loss and metrics of the recipe.

    Args:
        model: The model.
        job: The run.
        lr_multipliers: Factors to the learning rate by the names of layers.
    """
    recipe, data = job.recipe, job.data
    shared: dict[str, Any] = {
        "weight_decay": recipe.weight_decay,
        "clip_global_norm": recipe.clip_global_norm,
        "ema_momentum": recipe.ema_momentum,
        "lr_multipliers": lr_multipliers,
    }
    if recipe.optimizer == "sgd":
        optimizer: Any = optimizers.sgd(job.schedule, momentum=recipe.momentum, nesterov=recipe.nesterov, **shared)
    else:
        optimizer = optimizers.adamw(job.schedule, **shared)
    if job.policy == "mixed_float16":
        optimizer = optimizers.LossScaleOptimizer(optimizer)
    weights = (
        losses.balance_class_weights(data.splits["train"].labels, len(data.classes)) if recipe.class_weights else None
    )
    model.compile(
        optimizer,
        losses.make_loss(data.multi_label, recipe.label_smoothing, weights),
        weighted_metrics=losses.make_metrics(data.multi_label, len(data.classes), job.metrics),
        # XLA is slower on CPUs, fails on replicas, and was not tried on one GPU
        jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
    )


def fit_epochs(
    model: Any,
    job: TrainJob,
    first: int,
    last: int,
    checkpointer: keras.callbacks.Callback,
    measuring: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Train complete epochs with Keras' fit; validation uses averaged weights where the recipe has them.

    Args:
        model: The compiled model.
        job: The run.
        first: The epoch to start with, counted from 0.
        last: The epoch to end before.
        checkpointer: From TrainJob.make_checkpointer.
        measuring: Callbacks that add values to the logs of an epoch, before they are written.

    Raises:
        NonFiniteLossError: The loss is not finite.
    """
    data, recipe = job.data, job.recipe
    averaging = [keras.callbacks.SwapEMAWeights()] if recipe.ema_momentum else []
    boards = []
    if job.config.tensorboard and job.is_chief:
        boards.append(keras.callbacks.TensorBoard(job.out / "tensorboard", write_graph=False))
    model.fit(
        devices.distribute_training(job.strategy, data, first, last, recipe.augmentation),
        steps_per_epoch=data.steps,
        initial_epoch=first,
        epochs=last,
        **devices.distribute_validation(job.strategy, data),
        callbacks=[StopOnNonFinite(), *averaging, *measuring, checkpointer, *job.callbacks, *boards],
        shuffle=False,  # the data is shuffled already
        verbose=job.verbose,
    )


class averaged_weights:  # noqa: N801 - reads as a verb
    """Replace the weights of a model by their averages meanwhile, where the optimizer has averages.

    Args:
        model: The compiled model.
    """

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
    """Set the optimizer's count of steps, which its schedule reads; it depends on the batch size."""
    for optimizer in (model.optimizer, getattr(model.optimizer, "inner_optimizer", None)):
        if optimizer is not None:
            optimizer.iterations.assign(step)
