"""Train a network on data into a folder with Keras' fit; an interrupted run is resumed to the same end."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import keras

from kcnn.architectures.architecture import Architecture
from kcnn.architectures.spec import ModelSpec
from kcnn.data import ImageDataset, has_tensorflow, load
from kcnn.data.folds import join_for_folds, split_folds
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_type
from kcnn.graph.ops import BatchNorm
from kcnn.graph.tracing import topological_order
from kcnn.keras_bridge.registered_gradients import release_functions
from kcnn.run_folders import check_output_folder, is_run_folder, resolve_run
from kcnn.training import devices, hardware, run_directory
from kcnn.training.config import TrainConfig
from kcnn.training.cross_validation import cross_validate, describe_folds
from kcnn.training.defaults import (
    adapt_recipe,
    advise_transfer,
    choose_regularization,
    choose_schedule,
    describe_coarse_features,
)
from kcnn.training.execution import train_in_folder, with_batch_size
from kcnn.training.job import TrainJob
from kcnn.training.precision import resolve_policy
from kcnn.training.progress import describe_data, resolve_verbosity, show_reading
from kcnn.training.recipes import RECIPES, format_options, format_recipe, list_options
from kcnn.training.request import check_request, choose_folder, keep_choices, make_request
from kcnn.training.result import TrainResult
from kcnn.training.run_data import add_pretraining, check_unseen
from kcnn.training.split_record import record_splits
from kcnn.weights.published import check_weights_file, has_published, resolve_spec

logger = logging.getLogger("kcnn.training")
FEW_IMAGES = 5_000  # below, training from scratch is told of pretrained weights


@check_arguments(
    within={
        "config=TrainConfig({}=...)": [f.name for f in dataclasses.fields(TrainConfig)],
        "config=TrainConfig(recipe_overrides={{{!r}: ...}})": list_options(),
        "ModelSpec(network=..., {}=...) as the network": [f.name for f in dataclasses.fields(ModelSpec)],
    }
)
def train(
    network: "str | Architecture | ModelSpec",
    data: Any,
    config: TrainConfig | None = None,
    *,
    out: str | Path | None = None,
    epochs: int | None = None,
    folds: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: "int | Literal['auto']" = "auto",
    log: Callable[[str], None] | None = None,
) -> TrainResult:
    """Train a network on data into a folder, and test it once at the end.

    A folder with an unfinished run of the same request is resumed after its last completed epoch; a finished run is
    returned as it is. On a CPU with TensorFlow, deterministic kernels are switched on for the whole process, so that a
    seed fixes the history to its last digit. Weights that a training phase freezes are verified not to have changed by
    one bit.

    With folds, the train and validation images are divided into folds, and each validates a training on the others, in
    folds/NUMBER. The mean of their accuracies, with its interval, is the score of these settings. It chooses the epoch
    up to which the network is then trained on all these images: that model is the result, and is tested once.

    Args:
        network: A name, an Architecture, or a ModelSpec (options, overrides, input_shape, aux, pretrained weights).
        data: What kcnn.data.load takes, or an ImageDataset.
        config: How to train; TrainConfig() where it is None.
        out: Folder of the run. Where it is None, runs/NAME by the network's name; if another run is there, runs/NAME-2,
            and so on. The same call finds its folder again.
        epochs: Number of epochs, in place of the config's.
        folds: Number of folds of a cross-validation, in place of the config's.
        callbacks: Keras callbacks of your own. One with a method `on_images_read` is called while images are read, with
            (images before, total, completed), as kcnn.data.load calls its `progress`.
        verbose: Progress as Keras' fit shows it: 0 for none, 1 for a bar and 2 for a line for each epoch; "auto" is 1
            in a notebook and on a terminal, else 0.
        log: Called with each message for a person; where it is None they are printed with the progress, or logged.

    Returns:
        Folder, metrics, history, and the model, which predicts, is evaluated and exported. Of several workers, only
        worker 0 (the chief) writes and returns metrics.

    Raises:
        FileExistsError: `out` is the folder of a transfer or a search.
        TypeError: The network, the data or the config has another type.
        UnknownNameError, ValueError, FileNotFoundError: As from kcnn.build and kcnn.data.load; or the folder holds
            another run, or one that an older version of kcnn wrote.
        OSError: The disk is full, or a checkpoint cannot be read.
        NonFiniteLossError: The loss is not finite.
        OutOfMemoryError: A step does not fit in memory.
        RuntimeError: A worker failed, or replicas disagree.
    """
    config = TrainConfig() if config is None else config
    check_type("config", config, TrainConfig)
    verbose = resolve_verbosity(verbose)
    if out is not None:
        check_output_folder(out, "run")
    readers = (one.on_images_read for one in callbacks if hasattr(one, "on_images_read"))
    progress = next(readers, show_reading(verbose))
    is_silent = log is None and not verbose
    log = log or (print if verbose else logger.info)
    if epochs is not None:
        config = dataclasses.replace(config, epochs=epochs)
    if folds is not None:
        config = dataclasses.replace(config, folds=folds)
    config.check_process()
    spec = resolve_spec(network)
    if spec.weights is not None:
        check_weights_file(spec.weights)  # a missing one is reported before data is read
    strategy = devices.make_strategy(config.strategy)  # first: workers are joined before TensorFlow does anything
    is_auto = config.recipe == "auto"
    if is_auto and not config.phase:
        channels = (data.input_shape if isinstance(data, ImageDataset) else spec.nominal_shape)[2]
        config = config.with_defaults(choose_regularization(channels))
    recipe = config.resolved_recipe
    _, workers = devices.worker_position(strategy)
    if config.tensorboard:
        _check_tensorboard()
    if config.auto_batch_size and workers > 1:
        raise ValueError("auto_batch_size works on one machine only; remove it, and set a batch_size that fits")
    is_loaded = isinstance(data, ImageDataset)
    if not is_loaded:
        spec.check()  # a mistake is reported before data is read
        data = load(
            data,
            input_shape=spec.nominal_shape,
            batch_size=recipe.batch_size,
            seed=config.seed,
            multi_label=config.multi_label,
            resize_factor=recipe.augmentation.resize_factor,
            progress=progress,
        )
    elif spec.input_shape and tuple(spec.input_shape) != tuple(data.input_shape):
        raise ValueError(f"the data was loaded with input_shape {data.input_shape}, not {tuple(spec.input_shape)}")
    parts = split_folds(data, config.folds) if config.folds else ()
    if parts:
        data = join_for_folds(data)
    # weights are loaded by initialize_model: strictly, and without a head where the config has it so
    graph = dataclasses.replace(
        spec, input_shape=data.input_shape, classes=len(data.classes), weights=None, activation=None
    ).trace()
    images = min(len(one.splits["train"]) for one in parts or (data,))
    replicas, has_validation = devices.count_replicas(strategy), "validation" in data.splits
    if is_auto:
        schedule = choose_schedule(
            images,
            replicas=replicas,
            epochs=config.epochs,
            batch_size=config.batch_size,
            has_validation=has_validation,
        )
        config = config.with_defaults(schedule)
    changes = {}
    if config.recipe_name in RECIPES and not is_auto and not config.phase:
        norms = (x.op for x in topological_order(*graph.outputs.values()) if isinstance(x.op, BatchNorm))
        momentum = max((norm.momentum for norm in norms), default=0.0)
        changes = adapt_recipe(recipe, images, momentum, fixed=config.own_options, replicas=replicas)
        config = config.with_defaults(changes)
    recipe = config.resolved_recipe
    data = with_batch_size(data, recipe.batch_size)
    for line in () if is_loaded else describe_data(data):  # who loaded it knows it
        log(line)
    for line in describe_folds(data, parts, config.seed) if parts else ():
        log(line)
    if is_auto:
        log(f"recipe auto for {images:,} training images: {format_recipe(recipe)}")
    if changes:
        log(f"recipe {config.recipe_name} adapted to {images:,} training images: {format_options(changes)}")
    check_request(data, config.multi_label, spec.aux, recipe)
    for one in (data, *(with_batch_size(part, recipe.batch_size) for part in parts)):
        devices.check_divisible(strategy, one)
    is_photo = data.input_shape[2] == 3
    if is_auto and spec.weights is None and images < FEW_IMAGES and is_photo and has_published(graph):
        log(advise_transfer(spec, data.name, config.multi_label))
    if (note := describe_coarse_features(graph)) and not config.phase:
        log(note)
    if spec.activation:
        log(f"training needs logits: activation={spec.activation!r} is left out; predictions and exports have it")
    record = record_splits(data, progress)
    with devices.join_workers(strategy):
        devices.check_same_data(strategy, record.fingerprint, sum(map(len, data.splits.values())))
    record = add_pretraining(record, spec.weights, data.splits["test"])
    if parts:
        check_unseen(spec.weights, data.splits["train"])
    if spec.weights is not None and is_run_folder(spec.weights) and (note := resolve_run(spec.weights).note):
        log(note)
    policy = resolve_policy(config.precision, None if spec.weights is not None else graph, strategy)
    config_of_request = dataclasses.replace(config, precision=policy, strategy=devices.name_strategy(strategy))
    request = make_request(spec, config_of_request, data, record.fingerprint)
    any_precision = config.precision == "auto" and workers == 1  # others see no folder of the chief
    folder = choose_folder(spec, request, any_precision=any_precision) if out is None else Path(out)
    held = (run_directory.read_config(folder) or {}).get("request")
    request = keep_choices(request, held, any_precision=any_precision)
    policy = request["config"]["precision"]
    if out is None:
        log(f"the folder of this run is {folder}")
    job = TrainJob(
        out=folder,
        request=request,
        spec=spec,
        config=config,
        graph=graph,
        data=data,
        policy=policy,
        strategy=strategy,
        callbacks=callbacks,
        log=log,
        verbose=verbose,
    )
    hardware.introduce_device(log, strategy, warn=logger.warning if is_silent else None)
    if config.precision == "auto" and policy != "float32":
        log(f"precision: {policy}")
    with devices.join_workers(strategy), release_functions():
        return train_in_folder(job, record, lambda job: cross_validate(job, parts) if parts else job)


def _check_tensorboard() -> None:
    if not has_tensorflow():
        raise ImportError("TensorBoard output needs TensorFlow, which is not installed: pip install tensorflow")
    try:
        import tensorboard  # noqa: F401 - whether it is installed
    except ImportError:
        raise ImportError('TensorBoard output needs TensorBoard: pip install "kcnn[tensorboard]"') from None
