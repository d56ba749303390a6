"""A network trained on data into a folder, with Keras' fit; stopped at any time, it goes on where it was."""

import contextlib
import dataclasses
import gc
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from kcnn.architectures.architecture import Architecture
from kcnn.architectures.spec import ModelSpec, to_spec
from kcnn.atomic_io import replace_atomically, write_text
from kcnn.augment import Augmentation
from kcnn.data import ImageDataset, has_tensorflow, load
from kcnn.keras_bridge.saved_models import load_model as load_model
from kcnn.training import audit, checkpoints, devices, diagnosis, evaluation, evidence, feature_cache, request
from kcnn.training import callbacks as watch
from kcnn.training import precision as precisions
from kcnn.training import run_directory as folder
from kcnn.training.config import TrainConfig
from kcnn.training.job import (
    TrainJob,
    averaged_weights,
    build_training_model,
    copy_weights,
    fit_epochs,
    initialize_model,
    set_step,
)

log = logging.getLogger("kcnn.training")
CROP_RESIZE_FACTOR = 8 / 7  # of pictures that are cropped at random: 256 pixels for 224, as is customary


@dataclass(frozen=True)
class TrainResult:
    """What a training left in its folder."""

    folder: Path
    metrics: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]  # a row per epoch
    resumed_epochs: int  # epochs that were there already


class OutOfMemoryError(MemoryError):
    """A training step did not fit into memory."""


def train(
    network: "str | Architecture | ModelSpec",
    data: Any,
    config: TrainConfig | None = None,
    *,
    out: str | Path,
    epochs: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: Callable[[int, int, int], None] | None = None,
    log: Callable[[str], None] = log.info,
) -> TrainResult:
    """Train a network on data into a folder, by a recipe, and test it once at the end.

    A folder with an unfinished run of the same request is resumed after its last completed epoch; a finished run is
    returned as it is. On a CPU with TensorFlow, deterministic kernels are switched on for the whole process, so that a
    seed fixes the history to its last digit. What is frozen by a phase is verified not to have changed by one bit.

    Args:
        network: A name, an Architecture, or a ModelSpec (options, overrides, input_shape, aux, pretrained weights).
        data: What kcnn.data.load takes, or an ImageDataset.
        config: How to train; TrainConfig() where it is None.
        out: Folder of the run.
        epochs: Number of epochs, in place of the config's.
        callbacks: Keras callbacks of your own.
        progress: Called with (images before, total, done) while images are read.
        log: Called with each message for a person.

    Returns:
        Folder, metrics and history. Of several workers, only worker 0 (the chief) writes and returns metrics.

    Raises:
        UnknownNameError, ValueError, FileNotFoundError: As from kcnn.build and kcnn.data.load; the folder holds
            another run, or one that an older version of kcnn wrote.
        OSError: The disk is full.
        NonFiniteLossError: The loss is not finite.
        OutOfMemoryError: A step does not fit in memory.
        RuntimeError: A worker is gone, or replicas disagree.
    """
    config = config or TrainConfig()
    if epochs is not None:
        config = dataclasses.replace(config, epochs=epochs)
    spec, recipe = to_spec(network), config.resolved_recipe
    several = devices.make_strategy(config.strategy)  # first: workers are joined before TensorFlow does anything
    policy = precisions.resolve_policy(config.precision)
    root = Path(out)
    if recipe.augmentation != Augmentation():
        _takes_tensorflow("augmentation, which runs in tf.data,")
    number, workers = devices.worker_position(several)
    if config.tensorboard and not number:
        callbacks = [*callbacks, _tensorboard(root)]
    if config.auto_batch_size and workers > 1:
        raise ValueError(
            "auto_batch_size is for one machine: a worker out of memory cannot tell the others; leave it out"
        )
    if not isinstance(data, ImageDataset):
        spec.check()  # a mistake is reported before data is read
        data = load(
            data,
            input_shape=spec.nominal_shape,
            batch_size=recipe.batch_size,
            seed=config.seed,
            multi_label=config.multi_label,
            resize_factor=CROP_RESIZE_FACTOR if recipe.augmentation.resized_crop else 1.0,
            progress=progress,
        )
    elif spec.input_shape and tuple(spec.input_shape) != tuple(data.input_shape):
        raise ValueError(f"the data was loaded with input_shape {data.input_shape}, not {tuple(spec.input_shape)}")
    else:
        data = with_batch_size(data, recipe.batch_size)
    request.check_request(data, config.multi_label, spec.aux, recipe)
    devices.check_divisible(several, data)
    graph = dataclasses.replace(spec, input_shape=data.input_shape, classes=len(data.classes)).trace()
    job = TrainJob(
        out=root,
        request=request.make_request(spec, dataclasses.replace(config, precision=policy), data),
        graph=graph,
        data=data,
        recipe=recipe,
        policy=policy,
        strategy=several,
        seed=config.seed,
        callbacks=callbacks,
        log=log,
        weights=spec.weights,
        head=config.load_head,
        phase=config.phase,
    )
    with devices.join_workers(several), devices.release_functions():
        return _claimed(job, config.auto_batch_size, config.cache_features)


def _claimed(job: TrainJob, auto_batch: bool, cache: bool) -> TrainResult:
    """Train in a folder that is this request's own and nobody else's meanwhile; halve a batch that does not fit."""
    out = job.out
    with folder.lock_folder(out) if job.chief else contextlib.nullcontext():
        in_use = folder.claim_folder(out, job.request) if job.chief else 0
        in_use, *_ = devices.all_gather(job.strategy, in_use)  # the chief's folder counts: others may not see it
        finished, *_ = devices.all_gather(job.strategy, int((out / folder.METRICS).exists()))
        if finished:
            rows = folder.read_history(out) if job.chief else []
            return TrainResult(out, folder.read_metrics(out) if job.chief else {}, rows, len(rows))
        make_reproducible(job.seed)
        job = dataclasses.replace(job, data=with_batch_size(job.data, in_use))
        while True:
            try:
                return _run(job, cache)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                size, replicas = job.data.batch_size, devices.count_replicas(job.strategy)
                smaller = size // 2 // replicas * replicas
                said = f"{size} images of {'x'.join(map(str, job.data.input_shape))} a step do not fit into memory"
                if not auto_batch or not smaller:
                    advice = f"; give --batch-size {smaller}, or --auto-batch-size to have it halved until it fits"
                    raise OutOfMemoryError(said + (advice if smaller else "")) from None
            job.log(f"{said}: continuing with {smaller}")
            folder.record_batch_size(out, smaller)
            job = dataclasses.replace(job, data=with_batch_size(job.data, smaller))
            gc.collect()


def _run(job: TrainJob, cache: bool) -> TrainResult:
    """Train to the end and write what came of it, from wherever the folder stands."""
    whole, recipe, out = job, job.recipe, job.out
    plain = initialize_model(job)  # float32, on one device: what is saved and tested
    plain.jit_compile = False
    before, may = (audit.hash_weights(plain), audit.list_trainable(plain)) if job.phase else ({}, set())
    if job.phase and cache:
        job = _cached(job, plain)
    for layer in plain.layers:
        layer.trainable = True  # a file does not keep that somebody froze a part once
    data = job.data
    model = build_training_model(job)
    found = restore_newest(job, model)
    rows = found.history if found else []
    done = len(rows)
    if found:
        job.log(f"resuming from epoch {done} of {recipe.epochs}")
        if found.versions != folder.library_versions():
            job.log(f"written by other versions than these: {dict(found.versions)}")
    plain.update_metadata(classes=list(data.classes), multi_label=data.multi_label, thresholds=None)

    def keep_best() -> None:
        with averaged_weights(model):
            copy_weights(model, plain)
        if job.chief:
            with (
                checkpoints.report_full_disk(job.checkpoint_folder, "best.keras"),
                replace_atomically(out / "best.keras") as temporary,
            ):
                plain.save(temporary)

    keeper = job.make_checkpointer(rows, best=keep_best)
    if done < recipe.epochs and not watch.is_out_of_patience(rows, recipe.patience):
        devices.preflight(job.strategy, model, data)
        try:
            fit_epochs(model, job, done, recipe.epochs, keeper)
        except watch.NonFiniteLossError as error:
            raise _explained(error, job, model) from None
    else:
        model.optimizer.finalize_variable_values(model.trainable_weights)  # as fit does at its end
    copy_weights(model, plain)
    if not job.chief:
        devices.all_gather(job.strategy, 0)  # its checkpoint is needed until the chief has written all
        _leave(job)
        return TrainResult(out, {}, rows, done)
    if recipe.patience:
        plain.set_weights(load_model(out / "best.keras").get_weights())
    entries = audit.compare_weights(before, may, plain) if job.phase else []
    if entries:
        job.log(audit.format_audit(entries))
    if data.multi_label and "validation" in data.splits:
        plain.update_metadata(thresholds=evaluation.compute_thresholds(plain, whole))
    tested = evidence.gather_evidence(plain, whole.data.test, plain.metadata)
    metrics = evaluation.compute_metrics(plain, whole, rows, tested)
    with checkpoints.report_full_disk(job.checkpoint_folder, "the results"):
        if entries:
            write_text(out / folder.AUDIT, folder.to_csv([dataclasses.asdict(one) for one in entries]))
        evaluation.write_results(out, plain, whole, metrics, rows, tested)
    devices.all_gather(job.strategy, 0)
    _leave(job)
    return TrainResult(out, metrics, rows, done)


def _cached(job: TrainJob, plain: Any) -> TrainJob:
    """The job on features in the place of pictures, where some of the network gives the same in every step."""
    layer = feature_cache.find_frozen_output(plain)
    alone = devices.count_replicas(job.strategy) == 1
    if layer is None or not alone or job.recipe.augmentation != Augmentation():
        return job
    if not feature_cache.fits_in_memory(plain, layer, job.data):
        job.log(f"the outputs of {layer} do not fit into a quarter of the free memory: they are computed in each epoch")
        return job
    found = feature_cache.cache_features(plain, layer, job.data)
    spared = found.seconds * (job.recipe.epochs - 1) - found.starting
    job.log(
        f"outputs of {layer} for {found.images} images computed once in {found.seconds:.1f} s, "
        f"not in each of {job.recipe.epochs} epochs: about {max(0.0, spared):.0f} s saved"
    )
    return dataclasses.replace(job, data=found.data, cut=layer)


def _leave(job: TrainJob) -> None:
    """Remove the checkpoints: of several workers each its own, and their folder once nobody has any."""
    root = job.out / folder.CHECKPOINTS
    if job.checkpoint_folder == root:
        shutil.rmtree(root)  # those too of workers that began the run
        return
    if job.checkpoint_folder.exists():
        shutil.rmtree(job.checkpoint_folder)
    for path in checkpoints.list_checkpoints(root) if job.chief else ():  # of one process that began the run
        path.unlink()
    with contextlib.suppress(OSError):  # another worker's are there still; the last one out removes it
        root.rmdir()


def restore_newest(job: TrainJob, model: Any) -> checkpoints.Checkpoint | None:
    """The checkpoint that the model was brought to, the same on every worker; None where training starts.

    Where this worker has none, one of another's serves, or of a start with more or fewer workers: all hold the same.
    """
    root = job.out / folder.CHECKPOINTS
    with devices.scope(job.strategy):
        for states in dict.fromkeys((job.checkpoint_folder, root, *sorted(root.glob("worker-*")))):
            found, refused = checkpoints.restore_latest(states, model, job.run)
            for one in refused:
                job.log(f"{one}; it is not used")
            if found:
                break
        agreed = min(devices.all_gather(job.strategy, found.epoch if found else 0))
        if found and agreed < found.epoch:  # a worker was killed before it had kept its last epoch
            if not agreed:
                raise checkpoints.CheckpointError(
                    f"{found.path} is of epoch {found.epoch}, and another worker has none to go on from; "
                    f"copy its file there, or remove {root} on every machine to start anew"
                )
            found = checkpoints.restore_checkpoint(
                checkpoints.checkpoint_path(found.path.parent, agreed), model, job.run
            )
        if found and found.batch_size != job.data.batch_size:
            set_step(model, found.epoch * job.data.steps)  # an epoch has another number of them now
    return found


def _explained(error: watch.NonFiniteLossError, job: TrainJob, model: Any) -> watch.NonFiniteLossError:
    """The error with what a person needs to know: the epoch is played again up to the step that failed."""
    data = job.data
    if error.step is None:
        with averaged_weights(model):
            where = diagnosis.replay_validation(model, data.validation)
        rate = job.rate((error.epoch + 1) * data.steps - 1)
    elif (
        devices.worker_position(job.strategy)[1] > 1
    ):  # each stops at a step of its own, and none could play it with the others
        where = 'which layer broke, the same run with strategy "single" tells'
        rate = job.rate(error.epoch * data.steps + error.step)
    else:
        job.log(f"the loss is {error.loss} in epoch {error.epoch + 1}; playing it again to find the layer")
        again = build_training_model(job)
        restore_newest(job, again)
        optimizer = getattr(again.optimizer, "inner_optimizer", again.optimizer)
        optimizer.use_ema = False  # or averages would take the place of the weights once fit has ended

        span = (data, error.epoch, error.epoch + 1, job.recipe.augmentation)

        def learn(steps: int) -> None:
            again.fit(
                devices.distribute_training(job.strategy, *span),
                steps_per_epoch=steps,
                epochs=1,
                shuffle=False,
                verbose=0,
            )

        where = diagnosis.replay_step(again, devices.distribute_training(None, *span), error.step, learn)
        rate = job.rate(error.epoch * data.steps + error.step)
    error.args = (
        diagnosis.explain(error, rate=rate, where=where, peak=job.peak_rate, half=job.policy == "mixed_float16"),
    )
    return error


def with_batch_size(data: ImageDataset, size: int) -> ImageDataset:
    return data if size == data.batch_size else dataclasses.replace(data, batch_size=size)


def make_reproducible(seed: int) -> None:
    """Have TensorFlow add floats in one order on CPUs, where that costs next to nothing."""
    if keras.backend.backend() == "tensorflow" and not devices.has_gpu():
        import tensorflow as tf

        tf.random.set_seed(seed)  # or ops without a seed of their own refuse to run from here on
        tf.config.experimental.enable_op_determinism()


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error is a backend's word for memory that was not there."""
    kinds = {"ResourceExhaustedError", "OutOfMemoryError"}
    return isinstance(error, MemoryError) or type(error).__name__ in kinds or "RESOURCE_EXHAUSTED" in str(error)


def _takes_tensorflow(what: str) -> None:
    if not has_tensorflow():
        raise ImportError(f"{what} takes TensorFlow, which is not installed: pip install tensorflow, or go without")


def _tensorboard(out: Path) -> keras.callbacks.Callback:
    _takes_tensorflow("writing events for TensorBoard")
    try:
        import tensorboard  # noqa: F401 - whether it is there
    except ImportError:
        raise ImportError('events for TensorBoard take TensorBoard: pip install "kcnn[tensorboard]"') from None
    return keras.callbacks.TensorBoard(out / "tensorboard", write_graph=False)
