"""A training job in its folder: train to the end from the newest checkpoint, test, and write the results."""

import contextlib
import dataclasses
import gc
import shutil
from collections.abc import Callable
from typing import Any

import keras

from kcnn.atomic_io import write_text
from kcnn.augment import Augmentation
from kcnn.data import ImageDataset
from kcnn.graph.formatting import format_number, format_size
from kcnn.training import audit, checkpoints, devices, diagnosis, evaluation, evidence, feature_cache, run_directory
from kcnn.training.best_epoch import find_best_epoch, is_out_of_patience
from kcnn.training.callbacks import NonFiniteLossError
from kcnn.training.job import (
    TrainJob,
    averaged_weights,
    build_training_model,
    copy_weights,
    fit_epochs,
    initialize_model,
    set_step,
)
from kcnn.training.request import claim_folder
from kcnn.training.result import TrainResult
from kcnn.training.run_data import add_pretraining
from kcnn.training.split_record import SplitRecord, record_splits, write_record


class OutOfMemoryError(MemoryError):
    """Raised where a training step does not fit in memory."""


def train_in_folder(
    job: TrainJob, record: SplitRecord, prepare: Callable[[TrainJob], TrainJob] = lambda job: job
) -> TrainResult:
    """Train in a folder that no other process uses meanwhile; halve a batch size that does not fit in memory.

    Args:
        job: The run.
        record: Which image is in which split.
        prepare: Called with an unfinished run, once its folder is claimed; returns the run to train.

    Returns:
        The result.
    """
    out = job.out
    with run_directory.lock_folder(out) if job.is_chief else contextlib.nullcontext():
        batch_size = claim_folder(out, job.request, record, job.data.name) if job.is_chief else 0
        batch_size, *_ = devices.all_gather(job.strategy, batch_size)  # of the chief: others may not see its folder
        is_finished, *_ = devices.all_gather(job.strategy, int((out / run_directory.METRICS).exists()))
        if is_finished:
            metrics, rows = run_directory.read_results(out) if job.is_chief else ({}, [])
            return TrainResult(out, metrics, rows, len(rows))
        job = dataclasses.replace(job, data=with_batch_size(job.data, batch_size))
        while True:
            try:
                prepared = prepare(job)
                make_reproducible(job.config.seed)
                return _run(prepared)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                size, replicas = job.data.batch_size, devices.count_replicas(job.strategy)
                smaller = size // 2 // replicas * replicas
                shape = format_size(job.data.input_shape)
                message = f"a batch of {size} images of {shape} does not fit in memory"
                if not job.config.auto_batch_size or not smaller:
                    halving = "" if job.config.folds else ", or --auto-batch-size to halve it until it fits"
                    advice = f"; use --batch-size {smaller}{halving}"
                    raise OutOfMemoryError(message + (advice if smaller else "")) from None
            job.log(f"{message}: continuing with {smaller}")
            run_directory.record_batch_size(out, smaller)
            job = dataclasses.replace(job, data=with_batch_size(job.data, smaller))
            gc.collect()


def _run(job: TrainJob) -> TrainResult:
    """Train to the end from the newest checkpoint, test, and write the results."""
    image_job, last, out, phase = job, job.last_epoch, job.out, job.config.phase
    final = initialize_model(job, job.log)  # float32, on one device: the model that is saved and tested
    final.jit_compile = False
    before, trainable = (audit.hash_weights(final), audit.list_trainable(final)) if phase else ({}, set())
    if phase and job.config.cache_features:
        job = _cache_features(job, final)
    for layer in final.layers:
        layer.trainable = True  # a saved model is not frozen
    data = job.data
    model = build_training_model(job)
    checkpoint = restore_newest(job, model)
    rows = checkpoint.history if checkpoint else []
    completed = len(rows)
    if checkpoint:
        job.log(f"resuming from epoch {completed} of {last}")
    final.update_metadata(classes=list(data.classes), multi_label=data.multi_label)
    final.update_metadata(thresholds=None, preprocessing=None)  # of weights with their head that the run starts from

    def save_best(epoch: int) -> None:
        with averaged_weights(model):
            copy_weights(model, final)
        if job.is_chief:
            checkpoints.save_best(job.out / run_directory.CHECKPOINTS, final, epoch)

    checkpointer = job.make_checkpointer(rows, save_best=save_best)
    if completed < last and not is_out_of_patience(rows, job.recipe.patience):
        devices.check_replicas(job.strategy, model, data)
        try:
            fit_epochs(model, job, completed, last, checkpointer)
        except NonFiniteLossError as error:
            raise explain_non_finite(error, job, model) from None
    if not job.is_chief:
        devices.all_gather(job.strategy, 0)  # the checkpoint is needed until the chief has written everything
        _remove_checkpoints(job)
        return TrainResult(out, {}, rows, completed)
    if phase:
        copy_weights(model, final)
        audit.compare_weights(before, trainable, final)  # frozen weights of the last epoch have not changed either
    best = checkpoints.load_best(out / run_directory.CHECKPOINTS, find_best_epoch(rows, job.validation_images))
    final.set_weights(best.get_weights())
    entries = audit.compare_weights(before, trainable, final) if phase else []
    if entries:
        job.log(audit.format_audit(entries))
    if data.multi_label and "validation" in data.splits:
        final.update_metadata(thresholds=evaluation.compute_thresholds(final, image_job))
    tested = evidence.gather_evidence(final, image_job.data, final.metadata)
    metrics = evaluation.compute_metrics(final, image_job, rows, tested)
    with checkpoints.report_full_disk(job.checkpoint_folder, "the results"):
        if entries:
            rows_of_audit = [dataclasses.asdict(entry) for entry in entries]
            write_text(out / run_directory.AUDIT, run_directory.to_csv(rows_of_audit))
        if image_job.data.skipped:  # files that turned out to be broken since the start
            record = record_splits(image_job.data)
            write_record(out, add_pretraining(record, job.spec.weights, image_job.data.splits["test"]))
        evaluation.write_results(out, final, image_job, metrics, rows, tested)
    devices.all_gather(job.strategy, 0)
    _remove_checkpoints(job)
    return TrainResult(out, metrics, rows, completed)


def _cache_features(job: TrainJob, model: Any) -> TrainJob:
    """Return the job on features in place of images, where frozen layers compute the same in every epoch."""
    layer = feature_cache.find_frozen_output(model)
    is_single = devices.count_replicas(job.strategy) == 1
    if layer is None or not is_single or job.recipe.augmentation != Augmentation():
        return job
    if not feature_cache.fits_in_memory(model, layer, job.data):
        job.log(f"the outputs of {layer} do not fit in a quarter of the free memory and are computed in each epoch")
        return job
    cached = feature_cache.cache_features(model, layer, job.data)
    saved = cached.seconds * (job.last_epoch - 1) - cached.startup_seconds
    job.log(
        f"computed the outputs of {layer} for {cached.images} images once, in {cached.seconds:.1f} s, instead of in "
        f"each of {format_number(job.last_epoch, 'epoch')}" + (f": saves about {saved:.0f} s" if saved >= 1 else "")
    )
    return dataclasses.replace(job, data=cached.data, cached_layer=layer)


def _remove_checkpoints(job: TrainJob) -> None:
    """Remove the checkpoints: each worker its own, and the last one their folder."""
    root = job.out / run_directory.CHECKPOINTS
    if job.checkpoint_folder == root:
        shutil.rmtree(root)  # also checkpoints of workers that began the run
        return
    if job.checkpoint_folder.exists():
        shutil.rmtree(job.checkpoint_folder)
    if job.is_chief:
        for path in (*checkpoints.list_best(root), *checkpoints.list_checkpoints(root)):  # of one that began the run
            path.unlink()
    with contextlib.suppress(OSError):  # not empty: checkpoints of other workers
        root.rmdir()


def restore_newest(job: TrainJob, model: Any) -> checkpoints.Checkpoint | None:
    """Restore the newest checkpoint that all workers have.

    A worker without checkpoints of its own takes those of another, or of a start with more or fewer workers: all hold
    the same state.

    Args:
        job: The run.
        model: The compiled model.

    Returns:
        The checkpoint, the same on every worker; None where the run starts.

    Raises:
        CheckpointError: This worker has a checkpoint and another has none; or a checkpoint does not fit the network.
        OSError: A checkpoint cannot be read.
    """
    root = job.out / run_directory.CHECKPOINTS
    with devices.scope(job.strategy):
        for folder in dict.fromkeys((job.checkpoint_folder, root, *sorted(root.glob("worker-*")))):
            checkpoint, refused = checkpoints.restore_latest(folder, model, job.request_hash)
            for message in refused:
                job.log(f"{message}; it is not used")
            if checkpoint:
                break
        common = min(devices.all_gather(job.strategy, checkpoint.epoch if checkpoint else 0))
        if checkpoint and common < checkpoint.epoch:  # a worker was killed before it had written its last epoch
            if not common:
                raise checkpoints.CheckpointError(
                    f"{checkpoint.path} is of epoch {checkpoint.epoch}, but another worker has no checkpoint to resume "
                    f"from; copy the file there, or remove {root} on every machine to start over"
                )
            path = checkpoints.checkpoint_path(checkpoint.path.parent, common)
            checkpoint = checkpoints.restore_checkpoint(path, model, job.request_hash)
        if checkpoint and checkpoint.batch_size != job.data.batch_size:
            set_step(model, checkpoint.epoch * job.data.steps)  # an epoch has another number of steps now
    if checkpoint and checkpoint.versions != job.versions:
        pairs = run_directory.diff_requests(checkpoint.versions, job.versions)
        texts = [f"{name} {before}, not {now}" for name, before, now in pairs]
        job.log(f"{checkpoint.path} was written with {', '.join(texts)}; the result may differ by rounding and dropout")
    return checkpoint


def explain_non_finite(error: NonFiniteLossError, job: TrainJob, model: Any) -> NonFiniteLossError:
    """Return the error with the layer that failed: the epoch is replayed up to the step.

    Args:
        error: The error.
        job: The run.
        model: Its compiled model.
    """
    data = job.data
    if error.step is None:
        with averaged_weights(model):
            cause = diagnosis.replay_validation(model, data.validation)
        learning_rate = job.learning_rate((error.epoch + 1) * data.steps - 1)
    else:
        learning_rate = job.learning_rate(error.epoch * data.steps + error.step)
        if devices.worker_position(job.strategy)[1] > 1:  # each stops at a step of its own: no replay in common
            cause = 'to find the layer, run the same training with strategy "single"'
        else:
            job.log(f"the loss is {error.loss} in epoch {error.epoch + 1}; replaying it to find the layer")
            cause = _replay(error, job)
    error.args = (
        diagnosis.explain(
            error,
            learning_rate=learning_rate,
            cause=cause,
            peak=job.peak_learning_rate,
            is_float16=job.policy == "mixed_float16",
        ),
    )
    return error


def _replay(error: NonFiniteLossError, job: TrainJob) -> str:
    """Train again from the last checkpoint up to the step that failed, and say which layer fails there."""
    model = build_training_model(job)
    restore_newest(job, model)
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    optimizer.use_ema = False  # or fit would end with averages in place of the weights
    span = (job.data, error.epoch, error.epoch + 1, job.recipe.augmentation)

    def train_steps(count: int) -> None:
        batches = devices.distribute_training(job.strategy, *span)
        model.fit(batches, steps_per_epoch=count, epochs=1, shuffle=False, verbose=0)

    assert error.step is not None
    return diagnosis.replay_step(model, devices.distribute_training(None, *span), error.step, train_steps)


def with_batch_size(data: ImageDataset, size: int) -> ImageDataset:
    """Return the data with another batch size."""
    return data if size == data.batch_size else dataclasses.replace(data, batch_size=size)


def make_reproducible(seed: int) -> None:
    """Make TensorFlow's operations deterministic on CPUs, where that costs next to nothing."""
    if keras.backend.backend() == "tensorflow" and not devices.has_gpu():
        import tensorflow as tf

        tf.random.set_seed(seed)  # deterministic operations require one
        tf.config.experimental.enable_op_determinism()


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error of any backend means that memory ran out."""
    kinds = {"ResourceExhaustedError", "OutOfMemoryError"}
    return isinstance(error, MemoryError) or type(error).__name__ in kinds or "RESOURCE_EXHAUSTED" in str(error)
