"""The folder of a run: its lock, its request, its history and results as files, and lists of runs."""

import csv
import hashlib
import io
import json
import os
import platform
import shlex
import socket
import sys
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

import kcnn
from kcnn.architectures.spec import ModelSpec
from kcnn.atomic_io import parse_json, write_text
from kcnn.run_folders import CONFIG as CONFIG
from kcnn.run_folders import METRICS as METRICS
from kcnn.run_folders import find_damage
from kcnn.training import run_schema
from kcnn.training.config import TrainConfig

HISTORY, CHECKPOINTS, LOCK, HOLDER = "history.csv", "checkpoints", ".lock", ".lock.json"
CHECKSUM = "checksum"  # of the rest of config.json, or of metrics.json
DATA_PATH = "data_path"  # where the data is, in config.json and search.json; its name may be relative
FOLDS = "folds"  # folder of the folds of a cross-validation, each in a folder of its number
AUDIT = "audit.csv"  # of every weight in a training phase
ZIP_YEARS = (1980, 2107)
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")  # a cell that begins so is a formula to a spreadsheet
COLUMNS = ("epoch", "loss", "learning_rate", "seconds", "images_per_second", "peak_memory_mb")  # of each history
SEPARATOR, DIGITS = ";", 6  # between labels of an image, and of probabilities, in files of predictions
MAX_DIFFERENCES = 8  # between two requests, in a message
UNLIKE = ("seconds", "images_per_second", "peak_memory_mb")  # columns of a history that no seed fixes


def is_locked(folder: Path) -> bool:
    """Return whether a process trains into a folder.

    Args:
        folder: It may be missing.
    """
    if not (path := folder / LOCK).exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other processes from training into a folder meanwhile.

    Args:
        folder: It is created where it does not exist.

    Raises:
        ValueError: Another process trains into it, it is a file, or the clock shows a year that no ZIP file holds.
        OSError: It cannot be written to.
    """
    if folder.is_file():
        raise ValueError(f"{folder} is a file; choose a folder")
    if not ZIP_YEARS[0] <= (year := time.localtime().tm_year) <= ZIP_YEARS[1]:
        raise ValueError(
            f"the clock of this machine shows the year {year}; set it: models are saved as ZIP files, which hold dates "
            f"from {ZIP_YEARS[0]} to {ZIP_YEARS[1]} only"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (path := folder / LOCK).touch()
    except OSError as error:
        raise type(error)(f"cannot write to {folder} ({error.strerror}); choose another folder") from None
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        holder = _describe_holder(folder)
        raise ValueError(
            f"another process trains into {folder}{holder}; wait for it, or choose another folder"
        ) from None
    try:
        _write_holder(folder)
        yield
    finally:
        (folder / HOLDER).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):
            folder.rmdir()  # empty after a refusal


def _write_holder(folder: Path) -> None:
    """Write which process trains into a folder, for the message to another one."""
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    with suppress(OSError):  # a full disk has its own message, where something is lost
        write_text(folder / HOLDER, json.dumps({"process": os.getpid(), "host": socket.gethostname(), "since": since}))


def _describe_holder(folder: Path) -> str:
    """Which process trains into a folder, in brackets; nothing where it has not written that yet."""
    try:
        holder = parse_json((folder / HOLDER).read_text())
        return f" (process {holder['process']} on {holder['host']}, since {holder['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write config.json of a run, with a checksum.

    Args:
        folder: Folder of the run.
        config: Request, batch size, command and versions.
    """
    write_values(folder / CONFIG, config)


def read_config(folder: Path) -> dict[str, Any] | None:
    """Return config.json of a run: request, batch size, command, versions; None if it is missing or not of a run.

    Raises:
        ValueError: The file is not JSON, was changed after it was written, or has values of other types.
    """
    path = folder / CONFIG
    if damage := find_damage(path):
        raise ValueError(damage)
    try:
        config = parse_json(path.read_text(encoding="utf-8"))
        is_complete = {"spec", "config", "data"} <= set(config["request"]) and config["batch_size"]
        checksum = config.pop(CHECKSUM)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    _check_unchanged(path, config, checksum, "train with the settings that you want into another folder")
    if not is_complete:
        return None
    if problem := next(run_schema.find_mismatches(config, run_schema.CONFIG), None):
        raise ValueError(f"{path} is damaged: {problem}; train into another folder")
    return config


def write_values(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON values to a file, with a checksum.

    Args:
        path: The file.
        values: The values by name.
    """
    write_text(path, json.dumps({**values, CHECKSUM: hash_request(values)}, indent=1))


def check_values(path: Path, values: dict[str, Any], remedy: str) -> dict[str, Any]:
    """Return the values that `write_values` wrote, without their checksum; an earlier version wrote none.

    Args:
        path: The file, for the message.
        values: What it holds.
        remedy: What to do, beside restoring the file.

    Raises:
        ValueError: They do not match the checksum.
    """
    rest = {name: value for name, value in values.items() if name != CHECKSUM}
    if CHECKSUM in values:
        _check_unchanged(path, rest, values[CHECKSUM], remedy)
    return rest


def _check_unchanged(path: Path, values: Mapping[str, Any], checksum: Any, remedy: str) -> None:
    if hash_request(values) != checksum:
        raise ValueError(
            f"{path} was changed after kcnn wrote it: it does not match its checksum; restore it, or {remedy}"
        )


def write_metrics(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Write metrics.json of a finished run, with a checksum.

    Args:
        folder: Folder of the run.
        metrics: Metrics on the test split and the facts of the run.
    """
    write_values(folder / METRICS, metrics)


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return metrics.json of a finished run.

    Raises:
        FileNotFoundError: The run is not finished.
        ValueError: The file is damaged, or was changed after it was written.
    """
    path = folder / METRICS
    try:
        metrics = parse_json(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{folder} holds no finished run: {METRICS} is missing") from None
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); remove {folder}, or train into another folder") from None
    if problem := next(run_schema.find_mismatches(metrics, run_schema.METRICS), None):
        raise ValueError(f"{path} was not written by a training run, or is damaged: {problem}; choose another folder")
    return check_values(path, metrics, "train again into another folder")


def read_results(folder: Path) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Return metrics.json and the rows of history.csv of a finished run.

    Raises:
        FileNotFoundError: The run is not finished.
        ValueError: A file is damaged, or history.csv has other epochs than metrics.json.
    """
    metrics, rows = read_metrics(folder), read_history(folder)
    if [row["epoch"] for row in rows] != list(range(1, metrics["epochs"] + 1)):
        raise ValueError(
            f"{folder / HISTORY} has {len(rows)} of {metrics['epochs']} epochs; restore it, or train again elsewhere"
        )
    if not 1 <= metrics["best_epoch"] <= len(rows):
        raise ValueError(f"{folder / METRICS} is damaged: best_epoch is {metrics['best_epoch']}; choose another folder")
    return metrics, rows


def record_batch_size(folder: Path, batch_size: int) -> None:
    """Write the batch size that fits in memory to config.json, for the next start of the same command."""
    write_config(folder, {**(read_config(folder) or {}), "batch_size": batch_size})


def diff_requests(first: Mapping[str, Any], second: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Return (name, value in the first, value in the second) for each value that differs, such as "config.seed"."""
    differences = []
    for name in sorted({*first, *second}):
        a, b = first.get(name), second.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            differences += diff_requests(a, b, f"{prefix}{name}.")
        elif a != b:
            differences.append((prefix + name, a, b))
    return differences


def has_begun(folder: Path) -> bool:
    """Return whether the run in a folder, or a fold of it, has completed an epoch.

    Args:
        folder: It may be missing.
    """
    return any((folder / name).exists() for name in (HISTORY, METRICS)) or any(folder.glob(f"{FOLDS}/*/{HISTORY}"))


def check_settings(folder: Path, spec: ModelSpec, config: TrainConfig) -> None:
    """Refuse the folder of another run as far as that can be told before the data is read.

    Args:
        folder: It may be missing, or hold a run that has completed no epoch, which is replaced.
        spec: The network.
        config: How it is trained.

    Raises:
        ValueError: The folder holds a run of another network, or with other settings; or its files are damaged.
    """
    if not has_begun(folder) or (held := read_config(folder)) is None:
        return
    spec_held, config_held = held["request"]["spec"], held["request"]["config"]
    own = _flatten(config.resolved_recipe.to_json(), config.own_options)  # the others may follow from the data
    names = ("seed", "recipe_name", "folds")
    phase = config.phase.to_json() if config.phase else None
    request = {
        "spec": {**replace(spec, input_shape=None, classes=None, weights=None).to_json(), "weights": None},
        "config": {**{name: getattr(config, name) for name in names}, "recipe": own, "phase": phase},
    }
    known = {
        "spec": {**spec_held, "weights": None},  # files are compared later
        "config": {**{name: config_held.get(name) for name in names}, "recipe": _flatten(config_held["recipe"], own)}
        | {"phase": config_held.get("phase")},
    }
    if known != (request := json.loads(json.dumps(request))):
        raise ValueError(
            f"{folder} holds another run ({explain_difference(known, request)}); choose another folder, or remove it"
        )


def _flatten(recipe: Mapping[str, Any], names: Container[str]) -> dict[str, Any]:
    """Some options of a recipe, with those of its augmentation beside them."""
    options = {**recipe, **recipe.get("augmentation", {})}
    return {name: value for name, value in options.items() if name in names}


def explain_difference(held: Mapping[str, Any], request: Mapping[str, Any]) -> str:
    """Return how a request differs from that of a folder, such as "config.seed 3, not 4": a few differences."""
    pairs = diff_requests(held, request)
    texts = [f"{name} {a!r}, not {b!r}" for name, a, b in pairs if name not in ("fingerprint", "multi_label")]
    more = [f"and {len(texts) - MAX_DIFFERENCES} more"] if len(texts) > MAX_DIFFERENCES else []
    return "; ".join([*texts[:MAX_DIFFERENCES], *more]) or "other images or labels"


def hash_request(request: Mapping[str, Any]) -> str:
    """Return a hash that names a request; checkpoints hold it."""
    return hashlib.blake2b(json.dumps(request, sort_keys=True).encode(), digest_size=8).hexdigest()


@contextmanager
def log_failure(what: str, log: Callable[[str], None]) -> Iterator[None]:
    """Log an error while plots or pages are made from results that are written already, and go on without them.

    Args:
        what: What is made, such as "plots".
        log: Takes the message.
    """
    try:
        yield
    except Exception as error:
        log(f"cannot make the {what} ({type(error).__name__}: {error}); the results are complete without them")


def command_line() -> str:
    """Return the command that started this process, quoted for a shell."""
    program, *arguments = sys.argv
    name = Path(program).name
    words = [name]
    if name == "__main__.py":
        words = ["python", "-m", Path(program).parent.name]
    elif name.endswith(".py"):
        words = ["python", program]
    return shlex.join([*words, *arguments])


def library_versions() -> dict[str, str]:
    """Return the versions of Python, kcnn, and the packages that compute, and the backend."""
    import keras

    backend = keras.backend.backend()
    versions = {"python": platform.python_version(), "kcnn": kcnn.__version__, "backend": backend}
    for name in dict.fromkeys(("keras", "numpy", backend, "tensorflow")):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def to_csv(rows: Sequence[Mapping[str, Any]], *, header: bool = True) -> str:
    """Return rows as CSV, floats to the last digit; a text that a spreadsheet would take for a formula gets a "'".

    Args:
        rows: Values by column.
        header: Whether the names of the columns come first.
    """
    rows = [{name: neutralize(value) for name, value in row.items()} for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def neutralize(value: Any) -> Any:
    """Return a cell of a CSV that no spreadsheet takes for a formula: a text that looks like one gets a "'".

    A text that begins with "'" gets another, so that `restore_cell` gives back each text.
    """
    return f"'{value}" if isinstance(value, str) and value.startswith((*FORMULA_SIGNS, "'")) else value


def restore_cell(text: str) -> str:
    """Return the text of a cell that `neutralize` wrote."""
    return text.removeprefix("'")


def read_history(folder: Path) -> list[dict[str, float]]:
    """Return the rows of history.csv, one for each epoch; none if there is no such file.

    Raises:
        ValueError: The file is not as kcnn wrote it.
    """
    path = folder / HISTORY
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8") as file:
            rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
        for row in rows:
            if missing := {*COLUMNS, *rows[0]} - row.keys():
                raise KeyError(min(missing))
            measures = {name for name in row if name in ("loss", "accuracy", "average_precision")}
            validated = {name.removeprefix("val_") for name in row if name.startswith("val_")}
            if validated and (unvalidated := measures - validated):
                raise KeyError(f"val_{min(unvalidated)}")
        return [{**row, "epoch": int(row["epoch"])} for row in rows]
    except (ValueError, TypeError, KeyError, OverflowError, OSError, csv.Error) as error:
        raise ValueError(
            f"{path} is not as kcnn wrote it, perhaps saved by a spreadsheet ({error!r}); restore it, with commas "
            "between the columns and points in the numbers"
        ) from None
