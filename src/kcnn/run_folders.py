"""Which run a folder stands for: a run, or the best one of a transfer or a search. No NumPy and no Keras here."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePath
from typing import Any

from kcnn.atomic_io import parse_json
from kcnn.graph.formatting import format_number, join_names, to_printable

CONFIG, METRICS, MODEL = "config.json", "metrics.json", "model.keras"  # of a run
TRANSFER = "transfer.json"  # of kcnn.fine_tuning
SAVED_MODEL = "saved_model.pb"  # of the folder that TensorFlow writes
HUB_WEIGHTS = (
    "model.safetensors",
    "pytorch_model.bin",
)  # of a publication, in the order of trial
CARD = "README.md"  # the model card of a publication
PRESET_WEIGHTS = ("model.weights.h5", "task.weights.h5")  # of a KerasHub preset: its backbone, and its classifier
EXPERIMENT = "experiment.json"  # of a script of recipes/
SEARCH, FINAL, BEST = "search.json", "final.json", "best"  # of kcnn.search, and the contender that it found
NAMED = 4  # runs that a message names


class RunNotFoundError(FileNotFoundError):
    """Raised for a folder that is neither that of a run, nor of a transfer or a search with a trained network."""


@dataclass(frozen=True)
class RunFolder:
    """Hold the run that a folder stands for.

    Attributes:
        path: Folder of the run.
        note: Which run of a transfer or a search it is, as a sentence; empty for a run itself.
    """

    path: Path
    note: str = ""

    def require(self, *files: str) -> "RunFolder":
        """Return the run where it has some files, such as MODEL.

        Raises:
            RunNotFoundError: A file is missing: the run is not finished.
        """
        missing = [name for name in files if not (self.path / name).exists()]
        if missing:
            raise RunNotFoundError(
                f"{self.path} holds no finished run: it has no {missing[0]}{_describe_resume(self.path)}"
            )
        return self


def resolve_run(path: str | PathLike[str]) -> RunFolder:
    """Return the run that a folder stands for.

    Args:
        path: Folder of a run, of a transfer (its best run), or of a search (its best network, trained from scratch with
            the first seed of the final evaluation).

    Returns:
        The run.

    Raises:
        RunNotFoundError: The folder holds none of them; the message says what it is.
    """
    run = _find(Path(path))
    if run is None:
        raise RunNotFoundError(to_printable(_describe(Path(path))))
    return run


def is_run_folder(path: str | PathLike[str]) -> bool:
    """Return whether a path is the folder of a run, a transfer or a search, finished or not."""
    folder = Path(path)
    return _is_run(folder) or any((folder / name).is_file() for name in (TRANSFER, SEARCH))


def check_output_folder(path: str | PathLike[str], kind: str) -> None:
    """Refuse a folder for the output of a job that holds one of another kind.

    Args:
        path: The folder.
        kind: "run", "transfer" or "search".

    Raises:
        FileExistsError: The folder holds another kind.
    """
    folder = Path(path)
    held = {"run": _is_run(folder), "transfer": (folder / TRANSFER).is_file(), "search": (folder / SEARCH).is_file()}
    for other, is_held in held.items():
        if is_held and other != kind:
            raise FileExistsError(to_printable(f"{folder} is the folder of a {other}; choose another folder (--out)"))


def check_reportable(path: str | PathLike[str]) -> None:
    """Refuse a folder that has nothing to report.

    Args:
        path: Folder of a run, a transfer, a search or an experiment, or of several.

    Raises:
        RunNotFoundError: Neither it nor a folder in it is any of them.
    """
    folder = Path(path)
    is_known = any((folder / name).is_file() for name in (TRANSFER, SEARCH, EXPERIMENT))
    if not is_known and next(folder.rglob(METRICS), None) is None:
        raise RunNotFoundError(to_printable(_describe(folder)))


def find_run(path: str | PathLike[str]) -> Path | None:
    """Return the folder of the run that a model belongs to.

    Args:
        path: Folder of a run, a transfer or a search, or a file in it or in a folder of it, such as an exported one.

    Returns:
        The folder; None for a model that is not in the folder of a run.
    """
    for folder in (Path(path), *Path(path).parents[:2]):
        if run := _find(folder):
            return run.path
    return None


def resolve_model(path: str | PathLike[str]) -> tuple[Path, str]:
    """Return the file of a model, and which run it is of.

    Args:
        path: A file, which is returned as it is; or a folder as of resolve_run, or any folder with a model.keras.

    Returns:
        The file, and the note of its run.

    Raises:
        RunNotFoundError: The folder has no trained model.
    """
    file = Path(path)
    if not file.is_dir():
        return file, ""
    if (file / MODEL).exists():
        return file / MODEL, ""
    run = resolve_run(file).require(MODEL)
    return run.path / MODEL, run.note


def locate_model(path: str | PathLike[str]) -> tuple[Path, str]:
    """Return what a model that predicts is read from, and which run it is of.

    Args:
        path: As for resolve_model, or the folder of a SavedModel or of a publication.

    Returns:
        The file, or the folder of the SavedModel or the publication, and the note of its run.

    Raises:
        RunNotFoundError: The folder has no trained model.
    """
    folder = Path(path)
    if (folder / SAVED_MODEL).exists() and not (folder / CONFIG).exists():  # a run is no SavedModel
        return folder, ""
    return (folder, "") if is_publication(folder) else resolve_model(folder)


def is_publication(path: str | PathLike[str]) -> bool:
    """Return whether a path is a folder that kcnn publish wrote, or has the files of a repository of the Hub."""
    folder = Path(path)
    return (folder / CONFIG).is_file() and any((folder / file).is_file() for file in (*HUB_WEIGHTS, PRESET_WEIGHTS[0]))


def _find(folder: Path) -> RunFolder | None:
    if _is_run(folder):
        return RunFolder(folder)
    for find, kind in ((_find_best_of_transfer, "transfer"), (_find_best_of_search, "search")):
        best = find(folder)
        if best is not None and _is_below(best) and _is_run(folder / best):
            note = f"{folder} is the folder of a {kind}: using its best run, {folder / best}"
            return RunFolder(folder / best, to_printable(note))
    return None


def _is_below(name: str) -> bool:
    """Whether a name in a file of a folder is that of a folder below it."""
    path = PurePath(name)
    return not path.is_absolute() and ".." not in path.parts


def _is_run(folder: Path) -> bool:
    config = _read(folder / CONFIG)
    request = config.get("request") if isinstance(config, dict) else None
    return isinstance(request, dict) and {"spec", "config", "data"} <= request.keys()


def _find_best_of_transfer(folder: Path) -> str | None:
    record = _read(folder / TRANSFER)
    best = record.get("best") if isinstance(record, dict) else None
    return best if isinstance(best, str) else None


def _find_best_of_search(folder: Path) -> str | None:
    record = _read(folder / FINAL) if (folder / SEARCH).is_file() else None
    try:
        contenders = {one["name"]: one["folders"] for one in record["contenders"]} if record else {}
        return str(contenders[BEST][0])
    except (TypeError, KeyError, IndexError):  # no final evaluation, or one that failed
        return None


def find_damage(config: Path) -> str:
    """Return why a config.json cannot be read as JSON, as a sentence with its cure; empty if it can, or is missing."""
    try:
        parse_json(config.read_bytes())
    except OSError:
        return ""
    except ValueError as error:
        return to_printable(
            f"{config} is damaged: it is not JSON ({error}); restore it, or train into another folder (a {MODEL} "
            "beside it can be used as a file)"
        )
    return ""


def _read(path: Path) -> Any:
    """The JSON value of a file; None where there is none."""
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _describe(folder: Path) -> str:
    """Why a path is not the folder of a run: what it is instead."""
    if not folder.exists():
        return f"folder not found: {folder}"
    return f"{folder} holds no finished run: {_identify(folder)}"


def _identify(folder: Path) -> str:
    expected = "expected the folder of a run, a transfer or a search"
    if not folder.is_dir():
        return f"it is a file; {expected}"
    if (folder / SEARCH).is_file():
        return (
            f"it is the folder of a search, and {FINAL} names no trained network; run the same command again with "
            "--final-seeds 1, or more"
        )
    if folder.parent.name == "trials" and (folder.parents[1] / SEARCH).is_file():
        return "it is a trial of a search, which keeps no model; use the folder of the search"
    if (folder / TRANSFER).is_file():
        return "it is the folder of a transfer whose best run is gone; run the same command again"
    runs = sorted({path.parent for depth in ("*", "*/*", "*/*/*") for path in folder.glob(f"{depth}/{CONFIG}")})
    runs = [run for run in runs if _is_run(run)]
    if runs:
        names = join_names([run.relative_to(folder).as_posix() for run in runs], NAMED)
        return f"it contains {format_number(len(runs), 'run')} ({names}); choose one"
    if is_publication(folder):
        return f"it is a publication, which kcnn predict and kcnn.build take; {expected}"
    if damage := find_damage(folder / CONFIG):
        return damage
    if (folder / CONFIG).exists():
        return f"it has no {MODEL}, and this version of kcnn did not write its {CONFIG}; {expected}"
    if (folder / SAVED_MODEL).exists():
        return f"it is a SavedModel; {expected}"
    contents = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    held = f"it contains {join_names(contents, NAMED)}" if contents else "it is empty"
    return f"{held}; {expected}"


def _describe_resume(folder: Path) -> str:
    config = _read(folder / CONFIG)
    request = config.get("request") if isinstance(config, dict) else None
    if isinstance(request, dict) and "fold" in request:
        return to_printable(f": it is a fold of a cross-validation, which keeps no model; use {folder.parents[1]}")
    command = config.get("command") if isinstance(config, dict) else None
    return f"; its command resumes it: {to_printable(command)}" if isinstance(command, str) and command else ""
