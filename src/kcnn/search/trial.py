"""One trial: a candidate trained for some epochs, and its outcome. The test split is not used."""

import dataclasses
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras

from kcnn.atomic_io import write_text
from kcnn.classification import to_probabilities
from kcnn.data import ImageDataset
from kcnn.search.journal import DIVERGED, ERROR, OK, OUT_OF_MEMORY, PRUNED
from kcnn.search.latency import measure_network
from kcnn.search.objectives import LATENCY, Objective, call_function
from kcnn.search.space import Candidate
from kcnn.search.trial_folders import TRACEBACK, trial_folder
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
from kcnn.training.losses import METRICS
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
    start: Version | None = None
    callbacks: Sequence[Any] = ()
    log: Callable[[str], None] = print

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """All objectives, the first of which ranks trials."""
        return (self.objective, *self.others)


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        status: One of kcnn.search.journal.STATUSES.
        seconds: Seconds of work, with those before it was killed.
        measured: Values of the other objectives that are measured, by key.
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
    before = sum(row["seconds"] for row in run_directory.read_history(folder))  # in epochs before it was killed
    try:
        with devices.release_functions():
            status = _train(settings, folder, candidate, epochs, should_continue, resume_from)
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
    """The values of the other objectives after the last epoch, by key; those that are arithmetic are left out."""
    measured = {}
    for one in settings.others:
        if one.name == LATENCY:  # of the network with its initial weights, which decide nothing
            measured[one.key] = measure_network(initialize_model(make_job(settings, folder, candidate)))
        elif not one.is_cost:
            measured[one.key] = run_directory.read_history(folder)[-1][one.column]
    return measured


def _train(
    settings: TrialSettings,
    folder: Path,
    candidate: Candidate,
    epochs: int,
    should_continue: Callable[[int, float], bool],
    resume_from: int | None,
) -> str:
    job = make_job(settings, folder, candidate)
    make_reproducible(settings.train.seed)
    model = build_training_model(job)
    if settings.start is not None:
        settings.log(f"{folder.name}: {set_morphed(model, candidate.graph, settings.start).line}")
    checkpoint = restore_newest(job, model)
    if checkpoint is None and resume_from is not None:
        states = trial_folder(settings.out, resume_from) / run_directory.CHECKPOINTS
        checkpoint, _ = checkpoints.restore_latest(states, model, job.request_hash)
    rows = checkpoint.history if checkpoint else []
    objective = settings.objective
    for row in rows:
        if not should_continue(int(row["epoch"]), objective.read_score(row)) and len(rows) < epochs:
            return PRUNED
    if len(rows) >= epochs:
        return OK
    checkpointer = job.make_checkpointer(rows)
    callbacks = [*job.callbacks, _StopPruned(checkpointer, objective, should_continue)]
    measuring = [_Measurement(one, job) for one in settings.objectives if one.function]
    devices.check_replicas(job.strategy, model, job.data)
    fit_epochs(model, dataclasses.replace(job, callbacks=callbacks), len(rows), epochs, checkpointer, measuring)
    return PRUNED if len(rows) < epochs else OK


def make_job(settings: TrialSettings, folder: Path, candidate: Candidate) -> TrainJob:
    """Return the training job of a candidate.

    Args:
        settings: What all trials share.
        folder: Folder of the trial.
        candidate: Network and values of the recipe.

    Raises:
        ValueError: The batch size is not divisible by the number of devices.
    """
    recipe, spec = get_recipe(settings.train.resolved_recipe, candidate.training), candidate.graph.spec
    assert spec is not None
    data = dataclasses.replace(settings.data, batch_size=recipe.batch_size)
    devices.check_divisible(settings.strategy, data)
    return TrainJob(
        out=folder,
        request={"search": settings.identity, "values": dict(candidate.values), "recipe": recipe.to_json()},
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


class _Measurement(keras.callbacks.Callback):
    """Measure a function of the caller on the validation split after an epoch, with a pass over it of its own.

    The pass is that of a model in float32 on one device: each replica of the one that trains would predict all images.
    """

    def __init__(self, objective: Objective, job: TrainJob):
        super().__init__()
        self.objective, self.data, self.single = objective, job.data, initialize_model(job)

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
