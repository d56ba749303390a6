"""The folder of a run: whose it is, its history and results as files, and many of them side by side."""

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
AUDIT = "audit.csv"  # of every tensor that a phase may or may not change
RESULTS = {  # what pages and tables take from metrics.json
    *("request", "accuracy", "correct", "test_images", "per_class", "epochs", "best_epoch", "training_seconds"),
    *("params", "macs", "command", "versions"),
}
UNLIKE = ("seconds", "images_per_second", "peak_memory_mb")  # what of a history no seed fixes


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """While it lasts, no other process trains into the folder; ValueError where one does."""
    if folder.is_file():
        raise ValueError(f"{folder} is a file; give a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (path := folder / ".lock").touch()
    except OSError as error:
        raise type(error)(f"{folder} cannot be written to ({error.strerror}); give another folder") from None
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(f"another process trains into {folder}; wait for it, or give another folder") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):
            folder.rmdir()  # where a refusal has left it empty


def claim_folder(folder: Path, request: Mapping[str, Any]) -> int:
    """Make the folder this request's own, or refuse it where it is another's, a ValueError; the batch size to use.

    Another's that has no whole epoch yet is nobody's.
    """
    path = folder / CONFIG
    there = read_config(folder)
    if there is None and path.exists():
        raise ValueError(f"{path} was not written by this version of kcnn; choose another folder, or remove {folder}")
    if there and hash_request(there["request"]) != hash_request(request):
        if (folder / HISTORY).exists() or (folder / METRICS).exists():
            found = diff_requests(there["request"], request)
            differ = [f"{name} {a!r}, not {b!r}" for name, a, b in found if name not in ("fingerprint", "multi_label")]
            differ = differ or ["other images or labels"]
            raise ValueError(f"{folder} holds another run ({'; '.join(differ)}); give another folder, or remove it")
        there = None
    if there is None:
        size = request["config"]["recipe"]["batch_size"]
        there = {"request": request, "batch_size": size, "command": command_line(), "versions": library_versions()}
        write_text(path, json.dumps(there, indent=1))
    return there["batch_size"]


def read_config(folder: Path) -> dict[str, Any] | None:
    """What made the run in a folder; None where its config.json is another program's, or is not there."""
    try:
        found = json.loads((folder / CONFIG).read_text())
        whole = {"spec", "config", "data"} <= set(found["request"]) and found["batch_size"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return found if whole else None


def read_metrics(folder: Path) -> dict[str, Any]:
    """The results of a finished run. FileNotFoundError where there are none, ValueError where they are damaged."""
    path = folder / METRICS
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{folder} holds no finished run: it has no {METRICS}") from None
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); remove {folder}, or train into another folder") from None
    if not isinstance(found, dict) or not found.keys() >= RESULTS:
        raise ValueError(f"{path} is not of a run of kcnn's; give another folder")
    return found


def record_batch_size(folder: Path, batch_size: int) -> None:
    """Note the batch size that fits into memory, for the next start of the same command."""
    path = folder / CONFIG
    write_text(path, json.dumps({**(read_config(folder) or {}), "batch_size": batch_size}, indent=1))


def diff_requests(there: Mapping[str, Any], asked: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Where two requests differ: name, value there, value asked for."""
    found = []
    for name in sorted({*there, *asked}):
        a, b = there.get(name), asked.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += diff_requests(a, b, f"{prefix}{name}.")
        elif a != b:
            found.append((prefix + name, a, b))
    return found


def hash_request(request: Mapping[str, Any]) -> str:
    """A short name for a request: checkpoints carry it, to be told from those of others."""
    return hashlib.blake2b(json.dumps(request, sort_keys=True).encode(), digest_size=8).hexdigest()


def command_line() -> str:
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])


def library_versions() -> dict[str, str]:
    """Of Python, kcnn, the backend, and the packages that make the numbers."""
    import keras

    backend = keras.backend.backend()
    found = {"python": platform.python_version(), "kcnn": kcnn.__version__, "backend": backend}
    for name in dict.fromkeys(("keras", "numpy", backend, "tensorflow")):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of like fields as CSV, floats to the last digit."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read_history(folder: Path) -> list[dict[str, float]]:
    """The rows of history.csv, one per epoch; none where there is no such file."""
    path = folder / HISTORY
    if not path.exists():
        return []
    with path.open() as file:
        rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    return [{**row, "epoch": int(row["epoch"])} for row in rows]


@dataclass(frozen=True)
class RunSummary:
    """A run as its folder tells it; the accuracies are None until there are some.

    Where a picture may have several labels, mean average precisions stand in their place.
    """

    name: str  # of the folder, below the one that was listed
    network: str
    data: str
    recipe: str
    seed: int
    epochs: int
    done: int
    finished: bool
    validation: float | None  # the best so far
    test: float | None
    params: int | None
    seconds: float


def list_runs(root: Path) -> list[RunSummary]:
    """Every run in a folder and the folders below, by path. FileNotFoundError, ValueError where there is none."""
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}")
    folders = [path.parent for path in sorted(root.rglob(CONFIG)) if read_config(path.parent)]
    if not folders:
        raise ValueError(f"no run in {root}: none of its folders has a {CONFIG} of kcnn's")
    return [_summary(one, root) for one in folders]


def _summary(folder: Path, root: Path) -> RunSummary:
    request = (read_config(folder) or {})["request"]
    finished = (folder / METRICS).exists()
    results = read_metrics(folder) if finished else {}
    rows = read_history(folder)
    word = "val_average_precision" if request.get("multi_label") else "val_accuracy"
    return RunSummary(
        name=str(folder.relative_to(root)) if folder != root else folder.name,
        network=request["spec"]["network"],
        data=request["data"],
        recipe=request["config"]["recipe_name"],
        seed=request["config"]["seed"],
        epochs=request["config"]["recipe"]["epochs"],
        done=len(rows),
        finished=finished,
        validation=max((row[word] for row in rows if word in row), default=None),
        test=results.get("mean_average_precision", results.get("accuracy")),
        params=results.get("params"),
        seconds=sum(row["seconds"] for row in rows),
    )
