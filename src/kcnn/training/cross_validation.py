"""Cross-validation: a training for each fold, each in its own folder, from the same initial weights."""

import dataclasses
import shutil
from collections.abc import Sequence

import keras
import numpy as np

from kcnn.data import ImageDataset
from kcnn.data.source_splits import TEST, TRAIN, VALIDATION
from kcnn.training import devices, run_directory
from kcnn.training.best_epoch import Rows
from kcnn.training.callbacks import NonFiniteLossError
from kcnn.training.execution import explain_non_finite, make_reproducible, restore_newest, with_batch_size
from kcnn.training.fold_scores import summarize_folds
from kcnn.training.job import TrainJob, build_training_model, fit_epochs
from kcnn.training.request import claim_folder
from kcnn.training.split_record import record_splits

FOLD = "fold"  # field of the request of a fold


def describe_folds(data: ImageDataset, parts: Sequence[ImageDataset], seed: int) -> list[str]:
    """Return what a person should know about the folds before they are trained, a sentence each.

    Args:
        data: The data of the final training.
        parts: The data of each fold.
        seed: Of the initial weights.
    """
    sizes = ", ".join(f"{len(part.splits[VALIDATION]):,}" for part in parts)
    lines = [
        f"cross-validation: {len(parts)} folds of {sizes} images, stratified by class, drawn by seed {data.seed}; each "
        f"validates a training on the others, from the initial weights of seed {seed}; then the network is trained on "
        f"all {len(data.splits[TRAIN]):,} images, and tested once on the {len(data.splits[TEST]):,} test images, which "
        "are in no fold"
    ]
    if shared := _count_shared(parts):
        lines.append(f"{shared} images are byte for byte in two folds: the scores of the folds are too optimistic")
    return lines


def _count_shared(parts: Sequence[ImageDataset]) -> int:
    """The number of images whose content is in another fold, too."""
    hashes = [part.splits[VALIDATION].hashes for part in parts]
    folds = np.concatenate([np.full(len(fold), number) for number, fold in enumerate(hashes)])
    _, contents = np.unique(np.concatenate(hashes), return_inverse=True)
    first, last = np.full(contents.max() + 1, len(parts)), np.full(contents.max() + 1, -1)
    np.minimum.at(first, contents, folds)
    np.maximum.at(last, contents, folds)
    return int((first < last)[contents].sum())


def cross_validate(job: TrainJob, parts: Sequence[ImageDataset]) -> TrainJob:
    """Train each fold to the end, from its newest checkpoint, and return the job of the final training.

    Args:
        job: The run, whose folder is claimed.
        parts: The data of each fold.

    Returns:
        The run with the scores of the folds, which end its training at the epoch that they choose.

    Raises:
        NonFiniteLossError: The loss of a fold is not finite.
        ValueError: The folder of a fold holds another run.
    """
    histories = []
    for number, part in enumerate(parts, 1):
        train, validation = (len(part.splits[name]) for name in (TRAIN, VALIDATION))
        job.log(f"fold {number} of {len(parts)}: training on {train:,} images, validating on {validation:,}")
        histories.append(_train_fold(job, number, with_batch_size(part, job.data.batch_size)))
    result = summarize_folds(histories, [len(part.splits[VALIDATION]) for part in parts])
    epochs = "" if result.epoch == job.recipe.epochs else f" for {result.epoch} of {job.recipe.epochs} epochs"
    job.log(f"cross-validation: {result}")
    job.log(f"final training on all {len(job.data.splits[TRAIN]):,} images{epochs}")
    return dataclasses.replace(job, cross_validation=result)


def _train_fold(job: TrainJob, number: int, part: ImageDataset) -> Rows:
    """The history of a fold, which is all that remains of it."""
    record = record_splits(part)
    images = {name: len(split) for name, split in part.splits.items()}
    request = {**job.request, FOLD: number, "images": images, "fingerprint": record.fingerprint}
    out = job.out / run_directory.FOLDS / str(number)
    fold = dataclasses.replace(job, out=out, request=request, data=part)
    claim_folder(out, request, record, part.name)
    rows: Rows = run_directory.read_history(out)
    epochs = job.recipe.epochs
    if len(rows) < epochs:
        rows = _train_epochs(fold, epochs)
    shutil.rmtree(out / run_directory.CHECKPOINTS, ignore_errors=True)
    return rows


def _train_epochs(job: TrainJob, epochs: int) -> Rows:
    make_reproducible(job.config.seed)
    model = build_training_model(job)
    checkpoint = restore_newest(job, model)
    rows = checkpoint.history if checkpoint else []
    if rows:
        job.log(f"resuming from epoch {len(rows)} of {epochs}")
    if len(rows) < epochs:
        devices.check_replicas(job.strategy, model, job.data)
        try:
            fit_epochs(model, job, len(rows), epochs, job.make_checkpointer(rows))
        except NonFiniteLossError as error:
            raise explain_non_finite(error, job, model) from None
    keras.backend.clear_session()  # models of all folds would accumulate in memory
    return rows
