"""One trial of a search again: the same candidate, seed and epochs, and on a CPU the same score."""

import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kcnn.data import ImageDataset
from kcnn.data.arrays import ARRAYS
from kcnn.data.loading import load_as_is
from kcnn.data.sources import locate_source
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_keywords
from kcnn.search import trial as trials
from kcnn.search.config import SearchConfig
from kcnn.search.job import prepare_search
from kcnn.search.journal import ERROR, OK, PRUNED, Journal
from kcnn.search.objectives import OBJECTIVES, Objective
from kcnn.search.result import WEIGHTS
from kcnn.search.result import read_record as read_search
from kcnn.search.space import Space
from kcnn.search.training_choices import find_resize_factor
from kcnn.search.trial_folders import TRACEBACK, trial_folder
from kcnn.training.run_directory import DATA_PATH
from kcnn.training.split_record import DataChanges, read_record, restore_splits

if TYPE_CHECKING:
    import numpy as np


@check_keywords
@dataclass(frozen=True)
class RerunResult:
    """Scores of a trial that was trained again.

    Attributes:
        score: The score of the last epoch now.
        recorded: The score in the journal.
        objective: What they measure.
    """

    score: float
    recorded: float
    objective: Objective

    @property
    def same(self) -> bool:
        """Whether both are equal to the last digit."""
        return self.score == self.recorded


@check_arguments
def rerun_trial(
    folder: str | Path,
    number: int,
    data: Any = None,
    *,
    objective: "Callable[[np.ndarray, np.ndarray], float] | None" = None,
    log: Callable[[str], None] = print,
) -> RerunResult:
    """Train a trial of a search again.

    Args:
        folder: Folder of the search.
        number: Number of the trial.
        data: The data of the search where it has moved, or was passed from Python: as for kcnn.data.load, or an
            ImageDataset; each image goes to the split that the search had it in.
        objective: The function that the search scored trials with; None where it scored them with a measure of kcnn.
        log: Called with each message for a person.

    Returns:
        The score now, and the recorded one.

    Raises:
        FileNotFoundError: The data is not where it was.
        ValueError: There is no such trial, it has no score, or the data differs.
        RuntimeError: The trial fails this time.
    """
    root = Path(folder)
    held = read_search(root)
    request = held["request"]
    source = locate_source(request["data"], held.get(DATA_PATH)) if data is None else data
    by_number = {trial.number: trial for trial in Journal(root, read_only=True).trials}
    if number not in by_number:
        raise ValueError(f"{root} has no trial {number} that has ended; choose from {', '.join(map(str, by_number))}")
    trial = by_number[number]
    if trial.score is None:
        raise ValueError(f"trial {number} of {root} has no score: its status is {trial.status}")
    if data is None and request["data"] == ARRAYS:
        raise ValueError(
            f"{root} searched on arrays from Python, which are not on disk; pass them: "
            f"kcnn.search.rerun_trial({str(root)!r}, {number}, (images, labels))"
        )
    with tempfile.TemporaryDirectory() as out:
        space, config = Space.from_json(request["space"]), _restore_config(request, objective)
        config = dataclasses.replace(config, weights=held.get(WEIGHTS))
        dataset, changes = _restore_data(root, request, space, config, source)
        job = prepare_search(space, dataset, config, out=out, log=log)
        if job.record.fingerprint != request["fingerprint"]:
            raise ValueError(f"{dataset.name} differs from the data of the search, {request['data']}: {changes}")
        if job.request.get("weights") != request.get("weights"):
            raise ValueError(f"{config.weights} differs from the weights from which the trials of {root} start")
        scores: list[float] = []

        def should_continue(epoch: int, score: float) -> bool:
            scores.append(score)
            return epoch < trial.epochs

        outcome = trials.run_trial(
            job.settings,
            number,
            job.space.candidate(trial.values),
            epochs=trial.epochs,
            should_continue=should_continue,
        )
        if outcome.status not in (OK, PRUNED):
            path = trial_folder(Path(out), number) / TRACEBACK
            text = path.read_text() if path.exists() else ERROR
            raise RuntimeError(f"trial {number} failed this time ({outcome.status}): {text.strip().splitlines()[-1]}")
    return RerunResult(scores[-1], trial.score, job.settings.objective)


def _restore_config(request: Mapping[str, Any], objective: Any) -> SearchConfig:
    """The config of a search, with the function that it scored trials with."""
    held = request["config"].get("objective", OBJECTIVES[0])
    name = held if isinstance(held, str) else held[0]  # the score alone is compared
    values = {**request["config"], "objective": name}
    if name not in OBJECTIVES:
        if objective is None:
            raise ValueError(f"the search scored trials with {name}; pass it: rerun_trial(..., objective=...)")
        values["objective"] = objective
    return SearchConfig.from_json(values)


def _restore_data(
    root: Path, request: Mapping[str, Any], space: Space, config: SearchConfig, data: Any
) -> tuple[ImageDataset, DataChanges]:
    """The data in the splits that the search recorded, and how it differs."""
    record, shape, train = read_record(root, request["fingerprint"]), space.spec.nominal_shape, config.train
    seed = request.get("data_seed", train.seed)
    if not isinstance(data, ImageDataset):
        factor = find_resize_factor(space, train)
        data = load_as_is(data, input_shape=shape, multi_label=train.multi_label, resize_factor=factor)
    return restore_splits(record, dataclasses.replace(data, seed=seed))
