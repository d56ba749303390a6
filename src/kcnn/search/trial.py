"""One trial: a candidate trained for some epochs, and its outcome. The test split is not used."""

import dataclasses
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import keras

from kcnn.atomic_io import write_text
from kcnn.classification import to_probabilities
from kcnn.data import ImageDataset
from kcnn.keras_bridge.registered_gradients import release_functions
from kcnn.search.journal import DIVERGED, ERROR, FOLD, OK, OUT_OF_MEMORY, PRUNED
from kcnn.search.latency import measure_network
from kcnn.search.objectives import LATENCY, Objective, call_function
from kcnn.search.space import Candidate
from kcnn.search.trial_folders import TRACEBACK, TRIALS, fold_folder, trial_folder
from kcnn.training import TrainConfig, checkpoints, devices, evidence, get_recipe, run_directory
from kcnn.training.callbacks import Checkpointer
from kcnn.training.execution import is_out_of_memory, make_reproducible, restore_newest
from kcnn.training.job import (
    TrainJob,
    averaged_weights,
    build_training_model,
    copy_weights,
    fit_epochs,
    initialize_model,
)
from kcnn.training.losses import METRICS, balance_class_weights
from kcnn.weights.versions import Version, set_morphed


@dataclass(frozen=True)
class TrialSettings:
    """What all trials of a search share.

    Attributes:
        out: Folder of the search.
        data: The images.
        train: How each trial is trained, with the precision of this machine.
        strategy: The tf.distribute strategy; None for one device.
        identity: Hash of the request.
        objective: What the score of a trial measures.
        others: The other objectives of a Pareto search.
        folds: The data of each fold of a cross-validation; none where trials have the validation split.
        start: Weights from which every trial starts, morphed; None for initial weights.
        callbacks: Keras callbacks of the caller.
        log: Called with each message for a person.
    """

    out: Path
    data: ImageDataset
    train: TrainConfig
    strategy: Any
    identity: str
    objective: Objective = field(default_factory=Objective)
    others: Sequence[Objective] = ()
    folds: Sequence[ImageDataset] = ()
    start: Version | None = None
    callbacks: Sequence[Any] = ()
    log: Callable[[str], None] = print

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """All objectives, the first of which ranks trials."""
        return (self.objective, *self.others)

    @property
    def fold_numbers(self) -> Sequence[int]:
        """The numbers of the folds, from 1; 0 for the validation split."""
        return range(1, len(self.folds) + 1) if self.folds else (0,)


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        status: One of kcnn.search.journal.STATUSES.
        seconds: Seconds of work, with those before it was killed.
        measured: Values of the other objectives that are measured, and the scores of the folds, by key.
    """

    status: str
    seconds: float
    measured: Mapping[str, float] = field(default_factory=dict)


def run_trial(
    settings: TrialSettings,
    number: int,
    candidate: Candidate,
    *,
    epochs: int,
    should_continue: Callable[[int, float], bool],
    resume_from: int | None = None,
) -> Outcome:
    """Train a candidate up to a number of epochs, from its checkpoint where there is one.

    Args:
        settings: What all trials share.
        number: Number of the trial.
        candidate: Network and values of the recipe.
        epochs: Number of epochs, those before a restart included.
        should_continue: Called with (epoch, score) after each epoch, those before a restart included.
        resume_from: Number of another trial whose checkpoint is continued (Hyperband).

    Returns:
        The outcome; an error of the candidate is its status, with a traceback in the folder of the trial.

    Raises:
        OSError: The disk is full, which is not the candidate's fault.
    """
    start = time.perf_counter()
    folder = trial_folder(settings.out, number)
    measured: Mapping[str, float] = {}
    folders = [fold_folder(folder, number) for number in settings.fold_numbers]
    before = sum(row["seconds"] for one in folders for row in run_directory.read_history(one))  # before it was killed
    train = _train_folds if settings.folds else _train
    try:
        with release_functions():
            status = train(settings, folder, candidate, epochs, should_continue, resume_from)
            measured = _measure_others(settings, folder, candidate)
    except FloatingPointError as error:
        status = _record_failure(folder, DIVERGED, str(error))
    except OSError:
        raise
    except Exception as error:
        status = _record_failure(folder, OUT_OF_MEMORY if is_out_of_memory(error) else ERROR, traceback.format_exc())
    finally:
        keras.backend.clear_session()  # collects garbage too
    return Outcome(status, before + time.perf_counter() - start, measured)


def _measure_others(settings: TrialSettings, folder: Path, candidate: Candidate) -> dict[str, float]:
    """The values of the other objectives after the last epoch, and the score of each fold there, by key.

    Objectives that are arithmetic are left out; others are means over the folds.
    """
    folders = [fold_folder(folder, number) for number in settings.fold_numbers]
    rows = [run_directory.read_history(one)[-1] for one in folders]
    measured = {}
    for one in settings.others:
        if one.name == LATENCY:  # of the network with its initial weights, which decide nothing
            measured[one.key] = measure_network(initialize_model(make_job(settings, folder, candidate)))
        elif not one.is_cost:
            measured[one.key] = fmean(row[one.column] for row in rows)
    if settings.folds:
        scores = (settings.objective.read_score(row) for row in rows)
        measured |= {FOLD.format(number): score for number, score in enumerate(scores, 1)}
    return measured


def _train(
    settings: TrialSettings,
    folder: Path,
    candidate: Candidate,
    epochs: int,
    should_continue: Callable[[int, float], bool],
    resume_from: int | None,
) -> str:
    job, objective = make_job(settings, folder, candidate), settings.objective
    model, rows = _start(settings, job, candidate, resume_from)
    for row in rows:
        if not should_continue(int(row["epoch"]), objective.read_score(row)) and len(rows) < epochs:
            return PRUNED
    if len(rows) >= epochs:
        return OK
    checkpointer = job.make_checkpointer(rows)
    callbacks = [*job.callbacks, _StopPruned(checkpointer, objective, should_continue)]
    measuring = _make_measurements(settings, job, _initialize_single(settings, job))
    devices.check_replicas(job.strategy, model, job.data)
    fit_epochs(model, dataclasses.replace(job, callbacks=callbacks), len(rows), epochs, checkpointer, measuring)
    return PRUNED if len(rows) < epochs else OK


def _start(
    settings: TrialSettings, job: TrainJob, candidate: Candidate, resume_from: int | None
) -> tuple[Any, list[dict[str, float]]]:
    """The model of a trial or one of its folds, and its history, at the newest checkpoint."""
    make_reproducible(settings.train.seed)
    model = build_training_model(job)
    morphed = None if settings.start is None else set_morphed(model, candidate.graph, settings.start)
    rows = _restore(settings, job, model, resume_from)
    if morphed is not None and not rows:
        settings.log(f"{job.out.relative_to(settings.out / TRIALS)}: {morphed.line}")
    return model, rows


def _restore(settings: TrialSettings, job: TrainJob, model: Any, resume_from: int | None) -> list[dict[str, float]]:
    """Restore the newest checkpoint, that of the trial that is continued where there is no own, and return its rows."""
    checkpoint = restore_newest(job, model)
    if checkpoint is None and resume_from is not None:
        parts = job.out.relative_to(settings.out / TRIALS).parts[1:]
        states = trial_folder(settings.out, resume_from) / Path(*parts) / run_directory.CHECKPOINTS
        checkpoint, _ = checkpoints.restore_latest(states, model, job.request_hash)
    return checkpoint.history if checkpoint else []


def _train_folds(
    settings: TrialSettings,
    folder: Path,
    candidate: Candidate,
    epochs: int,
    should_continue: Callable[[int, float], bool],
    resume_from: int | None,
) -> str:
    """Train all folds of a trial side by side, an epoch of each in turn, so that a trial is stopped by their mean.

    One model is in memory: it takes over the checkpoint of the next fold, or is replaced where it was compiled for
    another number of steps or other weights of classes.
    """
    jobs = [make_job(settings, folder, candidate, number) for number in settings.fold_numbers]
    histories: dict[Path, list[dict[str, float]]] = {}
    single = _initialize_single(settings, jobs[0])
    model, compiled = None, None
    for epoch in range(1, epochs + 1):
        for job in jobs:
            rows, needed = histories.get(job.out), _describe_compilation(job)
            if rows is not None and len(rows) >= epoch:
                continue
            if rows is None or needed != compiled:
                model = None  # before the next is built
                keras.backend.clear_session()
                model, rows = _start(settings, job, candidate, resume_from)
                histories[job.out], compiled = rows, needed
                devices.check_replicas(job.strategy, model, job.data)
            else:
                _restore(settings, job, model, resume_from)  # fit ends with averages in place of the weights
            if len(rows) < epoch:
                measuring = _make_measurements(settings, job, single)
                fit_epochs(model, job, epoch - 1, epoch, job.make_checkpointer(rows), measuring)
        score = fmean(settings.objective.read_score(rows[epoch - 1]) for rows in histories.values())
        if not should_continue(epoch, score) and epoch < epochs:
            return PRUNED
    return OK


def _describe_compilation(job: TrainJob) -> tuple[Any, ...]:
    """What a compiled model depends on that may differ between the folds of a trial."""
    labels = job.data.splits["train"].labels
    return job.data.steps, balance_class_weights(labels, len(job.data.classes)) if job.recipe.class_weights else None


def make_job(settings: TrialSettings, folder: Path, candidate: Candidate, fold: int = 0) -> TrainJob:
    """Return the training job of a candidate.

    Args:
        settings: What all trials share.
        folder: Folder of the trial.
        candidate: Network and values of the recipe.
        fold: Number of a fold, from 1; 0 for the validation split.

    Raises:
        ValueError: The batch size is not divisible by the number of devices.
    """
    recipe, spec = get_recipe(settings.train.resolved_recipe, candidate.training), candidate.graph.spec
    assert spec is not None
    data = dataclasses.replace(settings.folds[fold - 1] if fold else settings.data, batch_size=recipe.batch_size)
    own = {"fold": fold} if fold else {}
    devices.check_divisible(settings.strategy, data)
    return TrainJob(
        out=fold_folder(folder, fold),
        request={"search": settings.identity, "values": dict(candidate.values), "recipe": recipe.to_json(), **own},
        spec=spec,
        config=dataclasses.replace(
            settings.train, recipe=recipe, recipe_overrides={}, epochs=None, batch_size=None, learning_rate=None
        ),
        graph=candidate.graph,
        data=data,
        policy=settings.train.precision,
        strategy=settings.strategy,
        callbacks=settings.callbacks,
        log=settings.log,
        metrics=[name for one in settings.objectives if (name := one.column.removeprefix("val_")) in METRICS],
    )


def _record_failure(folder: Path, status: str, text: str) -> str:
    write_text(folder / TRACEBACK, text)
    return status


def _initialize_single(settings: TrialSettings, job: TrainJob) -> Any:
    """The model with which functions of the caller are measured; None where there is none."""
    return initialize_model(job) if any(one.function for one in settings.objectives) else None


def _make_measurements(settings: TrialSettings, job: TrainJob, single: Any) -> list[keras.callbacks.Callback]:
    return [_Measurement(one, job, single) for one in settings.objectives if one.function]


class _Measurement(keras.callbacks.Callback):
    """Measure a function of the caller on the validation split after an epoch, with a pass over it of its own.

    The pass is that of a model in float32 on one device: each replica of the one that trains would predict all images.
    """

    def __init__(self, objective: Objective, job: TrainJob, single: Any):
        super().__init__()
        self.objective, self.data, self.single = objective, job.data, single

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        with averaged_weights(self.model):
            copy_weights(self.model, self.single)
        logits, labels = evidence.compute_scores(self.single, self.data.validation)
        probabilities = to_probabilities(logits, {"multi_label": self.data.multi_label})
        logs[self.objective.column] = call_function(self.objective, labels, probabilities)


class _StopPruned(keras.callbacks.Callback):
    """Stop a trial after an epoch, once its checkpoint is written, unless it should continue."""

    def __init__(self, checkpointer: Checkpointer, objective: Objective, should_continue: Callable[[int, float], bool]):
        super().__init__()
        self.checkpointer, self.objective, self.should_continue = checkpointer, objective, should_continue

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if not self.should_continue(epoch + 1, self.objective.read_score(self.checkpointer.rows[-1])):
            self.model.stop_training = True
