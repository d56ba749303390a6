"""One trial: a candidate trained for some epochs, with what became of it; nothing of the test split is seen."""

import dataclasses
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from kcnn.atomic_io import write_text
from kcnn.data import ImageDataset
from kcnn.search.journal import DIVERGED, ERROR, OK, OUT_OF_MEMORY, PRUNED
from kcnn.search.space import Candidate
from kcnn.training import callbacks as watch
from kcnn.training import checkpoints, devices, run_directory
from kcnn.training import get_recipe as planned
from kcnn.training.job import TrainJob, build_training_model, fit_epochs
from kcnn.training.recipes import Recipe
from kcnn.training.trainer import is_out_of_memory, make_reproducible, restore_newest

TRACEBACK = "traceback.txt"


@dataclass(frozen=True)
class TrialSettings:
    """What all trials of a search have in common."""

    out: Path
    data: ImageDataset
    recipe: Recipe
    seed: int
    policy: str
    word: str  # the strategy, as it was asked for
    strategy: Any
    identity: str
    callbacks: Sequence[Any] = ()
    log: Callable[[str], None] = print


@dataclass(frozen=True)
class Outcome:
    """What became of a trial: its status, and seconds of work, those before it was killed included."""

    status: str
    seconds: float


def trial_folder(out: Path, number: int) -> Path:
    """Where a trial keeps its history, its checkpoint, and the traceback of what it died of."""
    return out / "trials" / f"{number:04}"


def read_score(row: Mapping[str, float]) -> float:
    """What a search makes as high as it can: validation accuracy, of several labels average precision."""
    return row["val_average_precision"] if "val_average_precision" in row else row["val_accuracy"]


def run_trial(
    setting: TrialSettings,
    number: int,
    candidate: Candidate,
    *,
    epochs: int,
    goes_on: Callable[[int, float], bool],
    after: int | None = None,
) -> Outcome:
    """Train a candidate up to `epochs`, from its checkpoint or that of trial `after` where there is one.

    `goes_on(epoch, score)` is asked after every epoch, those of an earlier start included. What the trial dies of
    is its status, and in its folder. OSError where the disk is full: that is no candidate's fault.
    """
    begun = time.perf_counter()
    where = trial_folder(setting.out, number)
    spent = sum(row["seconds"] for row in run_directory.read_history(where))  # in epochs before it was killed
    try:
        with devices.release_functions():
            status = _trained(setting, where, candidate, epochs, goes_on, after)
    except FloatingPointError as error:
        status = _died(where, DIVERGED, str(error))
    except OSError:
        raise
    except Exception as error:
        status = _died(where, OUT_OF_MEMORY if is_out_of_memory(error) else ERROR, traceback.format_exc())
    finally:
        keras.backend.clear_session()  # which collects garbage too
    return Outcome(status, spent + time.perf_counter() - begun)


def _trained(
    setting: TrialSettings,
    where: Path,
    candidate: Candidate,
    epochs: int,
    goes_on: Callable[[int, float], bool],
    after: int | None,
) -> str:
    job = make_job(setting, where, candidate)
    make_reproducible(setting.seed)
    model = build_training_model(job)
    found = restore_newest(job, model)
    if found is None and after is not None:
        past = checkpoints.restore_latest(trial_folder(setting.out, after) / run_directory.CHECKPOINTS, model, job.run)[
            0
        ]
        found = past
    rows = found.history if found else []
    for row in rows:
        if not goes_on(int(row["epoch"]), read_score(row)) and len(rows) < epochs:
            return PRUNED
    if len(rows) >= epochs:
        return OK
    keeper = job.make_checkpointer(rows)
    asker = _Asker(keeper, goes_on)
    devices.preflight(job.strategy, model, job.data)
    fit_epochs(model, dataclasses.replace(job, callbacks=[*job.callbacks, asker]), len(rows), epochs, keeper)
    return PRUNED if len(rows) < epochs else OK


def make_job(setting: TrialSettings, where: Path, candidate: Candidate) -> TrainJob:
    """The training that a candidate stands for."""
    recipe = planned(setting.recipe, candidate.training)
    data = dataclasses.replace(setting.data, batch_size=recipe.batch_size)
    devices.check_divisible(setting.strategy, data)
    return TrainJob(
        out=where,
        request={"search": setting.identity, "values": dict(candidate.values), "recipe": recipe.asdict()},
        graph=candidate.graph,
        data=data,
        recipe=recipe,
        policy=setting.policy,
        strategy=setting.strategy,
        seed=setting.seed,
        callbacks=setting.callbacks,
        log=setting.log,
    )


def _died(where: Path, status: str, text: str) -> str:
    write_text(where / TRACEBACK, text)
    return status


class _Asker(keras.callbacks.Callback):
    """Asks after every epoch, once its state is kept, whether the trial goes on."""

    def __init__(self, keeper: watch.Checkpointer, goes_on: Callable[[int, float], bool]):
        super().__init__()
        self.keeper, self.goes_on = keeper, goes_on

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if not self.goes_on(epoch + 1, read_score(self.keeper.rows[-1])):
            self.model.stop_training = True
