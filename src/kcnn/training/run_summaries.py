"""Runs of a folder, a row for each: network, epochs, accuracies, or what is wrong with its files."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from kcnn.training.best_epoch import find_best_epoch
from kcnn.training.run_directory import (
    CHECKPOINTS,
    CONFIG,
    HISTORY,
    METRICS,
    read_config,
    read_history,
    read_results,
)

Result = TypeVar("Result")


@dataclass(frozen=True)
class RunSummary:
    """Summarize a run in one row; for multi-label data the accuracies are mean average precisions.

    Of a folder whose files are damaged only the name and the problem are known.

    Attributes:
        name: Folder of the run, relative to the folder that was listed.
        network: Name of the network.
        data: Name of the data.
        recipe: Name of the recipe.
        seed: The seed.
        epochs: Epochs of the recipe.
        completed: Completed epochs.
        finished: Whether the run was tested.
        validation: Validation accuracy of the epoch whose weights count so far; None before the first epoch.
        test: Test accuracy; None before the end.
        params: Number of parameters; None before the end.
        seconds: Training time.
        problem: What is damaged; None for a run that can be read.
    """

    name: str
    network: str = ""
    data: str = ""
    recipe: str = ""
    seed: int | None = None
    epochs: int | None = None
    completed: int = 0
    finished: bool = False
    validation: float | None = None
    test: float | None = None
    params: int | None = None
    seconds: float = 0.0
    problem: str | None = None


def list_runs(root: Path) -> list[RunSummary]:
    """Return every run in a folder and the folders below, by path; a damaged one with its problem.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: No folder holds a run.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"folder {root} does not exist")

    def summarize(folder: Path, request: Mapping[str, Any]) -> RunSummary:
        return _summarize(folder, _name(folder), request)

    def _name(folder: Path) -> str:
        return str(folder.relative_to(root)) if folder != root else root.name

    runs = [run or RunSummary(_name(folder), problem=text) for folder, run, text in read_runs(root, CONFIG, summarize)]
    if not runs:
        raise ValueError(f"no run in {root}: none of its folders has the {CONFIG} of a training run")
    return runs


def read_runs(
    root: Path, file: str, read: Callable[[Path, Mapping[str, Any]], Result]
) -> Iterator[tuple[Path, Result | None, str | None]]:
    """Read each run below a folder; a damaged one does not hide the others.

    Args:
        root: The folder.
        file: The runs that have this file are read, such as METRICS for finished ones.
        read: Reads a run, from its folder and its request.

    Yields:
        The folder of a run, by path, what was read, and None; or the folder, None, and the problem.
    """
    for path in sorted(root.rglob(file)):
        folder = path.parent
        try:
            if (config := read_config(folder)) and _is_fold(folder, config["request"], root):
                continue
            if config:
                yield folder, read(folder, config["request"]), None
            elif any((folder / name).exists() for name in (METRICS, HISTORY, CHECKPOINTS)):
                yield folder, None, f"{folder / CONFIG} is damaged, or of another version of kcnn"
        except (ValueError, OSError) as error:
            yield folder, None, str(error)
        except (KeyError, TypeError) as error:  # a value of another type in a file that is valid JSON
            yield folder, None, f"the files of {folder} are damaged ({type(error).__name__}: {error})"


def _find_validation(results: Mapping[str, Any], score: float | None) -> float | None:
    """The validation score of the best epoch; of a run with folds their mean."""
    return results["cross_validation"]["mean"] if "cross_validation" in results else score


def _is_fold(folder: Path, request: Mapping[str, Any], root: Path) -> bool:
    """Whether a folder is that of a fold, which counts as a part of its run unless the folds themselves are read."""
    return "fold" in request and root not in (folder, folder.parent)


def _summarize(folder: Path, name: str, request: Mapping[str, Any]) -> RunSummary:
    finished = (folder / METRICS).exists()
    results, rows = read_results(folder) if finished else ({}, read_history(folder))
    measure = "val_average_precision" if request["multi_label"] else "val_accuracy"
    images = request.get("images", {}).get("validation", 1)
    best = 0 if not rows else results["best_epoch"] if finished else find_best_epoch(rows, images)
    return RunSummary(
        name=name,
        network=request["spec"]["network"],
        data=request["data"],
        recipe=request["config"]["recipe_name"],
        seed=request["config"]["seed"],
        epochs=request["config"]["recipe"]["epochs"],
        completed=len(rows),
        finished=finished,
        validation=_find_validation(results, rows[best - 1].get(measure)) if best else None,
        test=results.get("mean_average_precision", results.get("accuracy")),
        params=results.get("params"),
        seconds=sum(row["seconds"] for row in rows),
    )
