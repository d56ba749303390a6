"""The folder of a trial, and which checkpoints are kept."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from kcnn.search.journal import Trial
from kcnn.search.objectives import Objective
from kcnn.search.pareto import find_complete, find_front
from kcnn.search.result import rank_trials
from kcnn.training.run_directory import CHECKPOINTS, FOLDS

TRIALS, TRACEBACK = "trials", "traceback.txt"


def trial_folder(out: Path, number: int) -> Path:
    """Return the folder with the history, the checkpoints and the traceback of a trial.

    Args:
        out: Folder of the search.
        number: Number of the trial.
    """
    return out / TRIALS / f"{number:04}"


def fold_folder(folder: Path, number: int) -> Path:
    """Return the folder with the history and the checkpoints of a fold of a trial.

    Args:
        folder: Folder of the trial.
        number: Number of the fold, from 1; 0 for a trial without folds.
    """
    return folder / FOLDS / str(number) if number else folder


def prune_checkpoints(
    out: Path, trials: Sequence[Trial], keep: int, objectives: Sequence[Objective], promotable: int = 0
) -> None:
    """Remove the checkpoints of all trials that have ended, except those of the best.

    Args:
        out: Folder of the search.
        trials: The trials that have ended.
        keep: Number of best trials whose checkpoints are kept; where there are several objectives those of the Pareto
            front are kept, too, unless it is 0.
        objectives: What trials are judged by.
        promotable: Number of trials with the highest scores, after any number of epochs, that are kept as well.
    """
    kept = {trial.number for trial in rank_trials(trials, objectives)[:keep]}
    if keep and len(objectives) > 1:
        kept |= {trial.number for trial in find_front(find_complete(trials), objectives)}
    scored = sorted((t for t in trials if t.score is not None), key=lambda t: (-(t.score or 0), t.number))
    kept |= {trial.number for trial in scored[:promotable]}
    for trial in trials:
        if trial.number not in kept:
            folder = trial_folder(out, trial.number)
            for one in (folder, *folder.glob(f"{FOLDS}/*")):
                shutil.rmtree(one / CHECKPOINTS, ignore_errors=True)
