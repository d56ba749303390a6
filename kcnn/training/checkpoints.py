"""A training's whole state in one file: weights, random states, optimizer, and the history so far.

A checkpoint is written under a temporary name and renamed, and holds a hash of everything in it; the
one before it is kept, so that whatever happens to a file there is another to go on from.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from kcnn.atomic_io import replace_atomically

KEPT = 2  # the newest, and the one to fall back on


class CheckpointError(ValueError):
    """A checkpoint that is torn, or of another training."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file says of itself."""

    path: Path
    epoch: int  # whole epochs done
    run: str  # whose it is
    history: list[dict[str, float]]
    batch_size: int
    versions: Mapping[str, Any]  # versions


def collect_state(model: Any) -> dict[str, Any]:
    """Every variable that a training moves, by a name that two builds of one request agree on."""
    return {
        f"{part}/{number:05}/{variable.name}": variable
        for part, owner in (("model", model), ("optimizer", model.optimizer))
        for number, variable in enumerate(owner.variables)
    }


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the newest last."""
    return sorted(folder.glob("epoch-*.safetensors"))


def checkpoint_path(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:05}.safetensors"


def save_checkpoint(
    folder: Path, model: Any, *, run: str, history: list[dict[str, float]], batch_size: int, about: Mapping[str, Any]
) -> Path:
    """Write the state after the history's last epoch; checkpoints older than the one before are removed.

    OSError where it cannot be written, the disk full for one; the earlier ones are left as they are.
    """
    epoch = len(history)
    arrays = {name: np.asarray(keras.ops.convert_to_numpy(v), order="C") for name, v in collect_state(model).items()}
    head = {
        "run": run,
        "epoch": str(epoch),
        "history": json.dumps(history),
        "batch_size": str(batch_size),
        "about": json.dumps(about),
    }
    path = checkpoint_path(folder, epoch)
    with report_full_disk(folder, f"the state after epoch {epoch}"), replace_atomically(path) as temporary:
        save_file(arrays, temporary, {**head, "hash": _hash(arrays, head)})
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
    for one in [one for one in list_checkpoints(folder) if one < path][: -(KEPT - 1)]:
        one.unlink()
    return path


@contextmanager
def report_full_disk(folder: Path, what: str) -> Iterator[None]:
    """An error of writing as one OSError that tells what was lost and from where a training goes on."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # a RuntimeError is how HDF5 says it
        whole = list_checkpoints(folder)
        last = f"the state after epoch {_number(whole[-1])} is whole" if whole else "no epoch was kept yet"
        raise OSError(
            f"{what} could not be written: {error}; {last}. Make room, and give the same command again to go on"
        ) from error


def restore_checkpoint(path: Path, model: Any, run: str) -> Checkpoint:
    """Bring a compiled model and its optimizer to the state in a file.

    Refused where the file is torn, of another training, or does not fit the model; the model is then
    as it was.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            head = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        said = head.pop("hash")
        found = Checkpoint(
            path,
            int(head["epoch"]),
            head["run"],
            json.loads(head["history"]),
            int(head["batch_size"]),
            json.loads(head["about"]),
        )
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is torn, or no checkpoint: {str(error) or type(error).__name__}") from None
    if said != _hash(arrays, head):
        raise CheckpointError(f"{path} is damaged: its hash is not that of what it holds")
    if found.run != run:
        raise CheckpointError(f"{path} is of another training")
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    variables = collect_state(model)
    if {name: tuple(v.shape) for name, v in variables.items()} != {name: a.shape for name, a in arrays.items()}:
        raise CheckpointError(
            f"{path} does not fit the network: it was written by another version of kcnn, Keras or a plugin"
        )
    for name, variable in variables.items():
        variable.assign(arrays[name])
    return found


def restore_latest(folder: Path, model: Any, run: str) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole, restored, and what was said of those that were refused and put aside."""
    refused: list[str] = []
    for path in reversed(list_checkpoints(folder)):
        try:
            return restore_checkpoint(path, model, run), refused
        except CheckpointError as error:
            refused.append(str(error))
            with suppress(FileNotFoundError):  # another worker, which reads here as well, has put it aside
                path.rename(path.with_suffix(".refused"))
    return None, refused


def _number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def _hash(arrays: Mapping[str, np.ndarray], head: Mapping[str, str]) -> str:
    found = hashlib.blake2b(digest_size=16)
    for part in _parts(arrays, head):
        found.update(part)
    return found.hexdigest()


def _parts(arrays: Mapping[str, np.ndarray], head: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    yield json.dumps(dict(sorted(head.items()))).encode()
    for name in sorted(arrays):
        yield f"{name} {arrays[name].dtype} {arrays[name].shape}".encode()
        yield np.asarray(arrays[name], order="C").reshape(-1).view("uint8").data
