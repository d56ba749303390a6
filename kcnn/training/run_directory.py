"""The folder of a run: its lock, its request, its history and results as files, and lists of runs."""

import csv
import hashlib
import io
import json
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

import kcnn
from kcnn.atomic_io import write_text

CONFIG, METRICS, HISTORY, CHECKPOINTS = "config.json", "metrics.json", "history.csv", "checkpoints"
AUDIT = "audit.csv"  # of every weight in a training phase
RESULTS = {  # what pages and tables read from metrics.json
    *("request", "accuracy", "correct", "test_images", "per_class", "epochs", "best_epoch", "training_seconds"),
    *("params", "macs", "command", "versions"),
}
UNLIKE = ("seconds", "images_per_second", "peak_memory_mb")  # columns of a history that no seed fixes


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other processes from training into a folder meanwhile.

    Args:
        folder: It is created where it does not exist.

    Raises:
        ValueError: Another process trains into it, or it is a file.
        OSError: It cannot be written to.
    """
    if folder.is_file():
        raise ValueError(f"{folder} is a file; choose a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (path := folder / ".lock").touch()
    except OSError as error:
        raise type(error)(f"cannot write to {folder} ({error.strerror}); choose another folder") from None
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(f"another process trains into {folder}; wait for it, or choose another folder") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):
            folder.rmdir()  # empty after a refusal


def read_config(folder: Path) -> dict[str, Any] | None:
    """Return config.json of a run: request, batch size, command, versions; None if it is missing or not of a run."""
    try:
        config = json.loads((folder / CONFIG).read_text())
        is_complete = {"spec", "config", "data"} <= set(config["request"]) and config["batch_size"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return config if is_complete else None


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return metrics.json of a finished run.

    Raises:
        FileNotFoundError: The run is not finished.
        ValueError: The file is damaged.
    """
    path = folder / METRICS
    try:
        metrics = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{folder} holds no finished run: {METRICS} is missing") from None
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); remove {folder}, or train into another folder") from None
    if not isinstance(metrics, dict) or not metrics.keys() >= RESULTS:
        raise ValueError(f"{path} was not written by a training run; choose another folder")
    return metrics


def record_batch_size(folder: Path, batch_size: int) -> None:
    """Write the batch size that fits in memory to config.json, for the next start of the same command."""
    path = folder / CONFIG
    write_text(path, json.dumps({**(read_config(folder) or {}), "batch_size": batch_size}, indent=1))


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


def explain_difference(held: Mapping[str, Any], request: Mapping[str, Any]) -> str:
    """Return how a request differs from that of a folder, such as "config.seed 3, not 4"."""
    pairs = diff_requests(held, request)
    texts = [f"{name} {a!r}, not {b!r}" for name, a, b in pairs if name not in ("fingerprint", "multi_label")]
    return "; ".join(texts) or "other images or labels"


def hash_request(request: Mapping[str, Any]) -> str:
    """Return a hash that names a request; checkpoints hold it."""
    return hashlib.blake2b(json.dumps(request, sort_keys=True).encode(), digest_size=8).hexdigest()


def command_line() -> str:
    """Return the command that started this process."""
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])


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


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV, floats to the last digit."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read_history(folder: Path) -> list[dict[str, float]]:
    """Return the rows of history.csv, one for each epoch; none if there is no such file."""
    path = folder / HISTORY
    if not path.exists():
        return []
    with path.open() as file:
        rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    return [{**row, "epoch": int(row["epoch"])} for row in rows]


@dataclass(frozen=True)
class RunSummary:
    """Summarize a run in one row; for multi-label data the accuracies are mean average precisions.

    Attributes:
        name: Folder of the run, relative to the folder that was listed.
        network: Name of the network.
        data: Name of the data.
        recipe: Name of the recipe.
        seed: The seed.
        epochs: Epochs of the recipe.
        completed: Completed epochs.
        finished: Whether the run was tested.
        validation: Best validation accuracy so far; None before the first epoch.
        test: Test accuracy; None before the end.
        params: Number of parameters; None before the end.
        seconds: Training time.
    """

    name: str
    network: str
    data: str
    recipe: str
    seed: int
    epochs: int
    completed: int
    finished: bool
    validation: float | None
    test: float | None
    params: int | None
    seconds: float


def list_runs(root: Path) -> list[RunSummary]:
    """Return every run in a folder and the folders below, by path.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: No folder holds a run.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"folder {root} does not exist")
    folders = [path.parent for path in sorted(root.rglob(CONFIG)) if read_config(path.parent)]
    if not folders:
        raise ValueError(f"no run in {root}: none of its folders has the {CONFIG} of a training run")
    return [_summarize(folder, root) for folder in folders]


def _summarize(folder: Path, root: Path) -> RunSummary:
    request = (read_config(folder) or {})["request"]
    finished = (folder / METRICS).exists()
    results = read_metrics(folder) if finished else {}
    rows = read_history(folder)
    measure = "val_average_precision" if request["multi_label"] else "val_accuracy"
    return RunSummary(
        name=str(folder.relative_to(root)) if folder != root else folder.name,
        network=request["spec"]["network"],
        data=request["data"],
        recipe=request["config"]["recipe_name"],
        seed=request["config"]["seed"],
        epochs=request["config"]["recipe"]["epochs"],
        completed=len(rows),
        finished=finished,
        validation=max((row[measure] for row in rows if measure in row), default=None),
        test=results.get("mean_average_precision", results.get("accuracy")),
        params=results.get("params"),
        seconds=sum(row["seconds"] for row in rows),
    )
