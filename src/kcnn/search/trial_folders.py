"""The folder of a trial, and which checkpoints are kept."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from kcnn.search.journal import Trial
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


def prune_checkpoints(out: Path, trials: Sequence[Trial], keep: int) -> None:
    """Remove the checkpoints of all trials that have ended, except those with the highest scores.

    Args:
        out: Folder of the search.
        trials: The trials that have ended.
        keep: Number of trials whose checkpoints are kept.
    """
    scored = sorted((t for t in trials if t.score is not None), key=lambda t: (-(t.score or 0), t.number))
    for trial in [*scored[keep:], *(t for t in trials if t.score is None)]:
        folder = trial_folder(out, trial.number)
        for one in (folder, *folder.glob(f"{FOLDS}/*")):
            shutil.rmtree(one / CHECKPOINTS, ignore_errors=True)
