"""Checkpoints: the complete state of a run in one file: weights, random states, optimizer, and the history so far.

A checkpoint is written under a temporary name and renamed, and holds a checksum of its contents. The one before it is
kept, so that a damaged file costs one epoch.
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

from kcnn.atomic_io import parse_json, replace_atomically
from kcnn.keras_bridge.saved_models import load_model

KEPT = 2  # the newest, and the one to fall back on


class CheckpointError(ValueError):
    """Raised for a checkpoint that is truncated, damaged, of another run, or does not fit the network."""


class _MisfitError(CheckpointError):
    """Raised for a checkpoint that is whole, but does not fit the network."""


@dataclass(frozen=True)
class Checkpoint:
    """Hold the metadata of a checkpoint file.

    Attributes:
        path: The file.
        epoch: Completed epochs.
        request_hash: Hash of the run's request.
        history: A row for each epoch.
        batch_size: Images per step.
        versions: Versions of the libraries that wrote it, and the number of replicas.
    """

    path: Path
    epoch: int
    request_hash: str
    history: list[dict[str, float]]
    batch_size: int
    versions: Mapping[str, Any]


def collect_state(model: Any) -> dict[str, Any]:
    """Return every variable that training changes, by a name that is the same in each build of a request."""
    return {
        f"{part}/{number:05}/{variable.name}": variable
        for part, owner in (("model", model), ("optimizer", model.optimizer))
        for number, variable in enumerate(owner.variables)
    }


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, the newest last."""
    return sorted(folder.glob("epoch-*.safetensors"))


def checkpoint_path(folder: Path, epoch: int) -> Path:
    """Return the file of the checkpoint after an epoch."""
    return folder / f"epoch-{epoch:05}.safetensors"


def list_best(folder: Path) -> list[Path]:
    """Return the models of the epochs that were the best so far, the newest last."""
    return sorted(folder.glob("best-*.keras"))


def best_path(folder: Path, epoch: int) -> Path:
    """Return the file of the model of an epoch that was the best so far."""
    return folder / f"best-{epoch:05}.keras"


def save_best(folder: Path, model: Any, epoch: int) -> None:
    """Write the model of the best epoch so far; those that a checkpoint may still need are kept.

    Args:
        folder: Folder of checkpoints.
        model: The model.
        epoch: The epoch, counted from 1.

    Raises:
        OSError: It cannot be written, because the disk is full for one.
    """
    path = best_path(folder, epoch)
    with report_full_disk(folder, f"the model of epoch {epoch}"), replace_atomically(path) as temporary:
        model.save(temporary)
    for one in [one for one in list_best(folder) if one <= path][: -(KEPT + 1)]:  # a run before may have come further
        one.unlink()


def load_best(folder: Path, epoch: int) -> Any:
    """Load the model of the best epoch.

    Args:
        folder: Folder of checkpoints.
        epoch: The epoch, counted from 1.

    Raises:
        CheckpointError: The file is gone or damaged.
    """
    path = best_path(folder, epoch)
    try:
        return load_model(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} has the weights of the best epoch and cannot be read: {error}; remove {folder.parent} and run the "
            "same command to start over"
        ) from None


def save_checkpoint(
    folder: Path,
    model: Any,
    *,
    request_hash: str,
    history: list[dict[str, float]],
    batch_size: int,
    versions: Mapping[str, Any],
) -> Path:
    """Write the state after the last epoch of a history, and remove all older checkpoints but one.

    Args:
        folder: Folder of checkpoints.
        model: The compiled model.
        request_hash: Hash of the run's request.
        history: A row for each epoch.
        batch_size: Images per step.
        versions: Versions of the libraries, and the number of replicas.

    Returns:
        The file.

    Raises:
        OSError: It cannot be written, because the disk is full for one; the earlier ones are left as they are.
    """
    epoch = len(history)
    arrays = {name: np.asarray(keras.ops.convert_to_numpy(v), order="C") for name, v in collect_state(model).items()}
    header = {
        "request_hash": request_hash,
        "epoch": str(epoch),
        "history": json.dumps(history),
        "batch_size": str(batch_size),
        "versions": json.dumps(versions),
    }
    path = checkpoint_path(folder, epoch)
    with report_full_disk(folder, f"the checkpoint of epoch {epoch}"), replace_atomically(path) as temporary:
        save_file(arrays, temporary, {**header, "checksum": compute_checksum(arrays, header)})
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
    older = [one for one in list_checkpoints(folder) if one < path]
    for one in older[: -(KEPT - 1)]:
        one.unlink()
    return path


@contextmanager
def report_full_disk(folder: Path, content: str) -> Iterator[None]:
    """Convert any error of writing into one OSError with what was lost, and how to resume.

    Args:
        folder: Folder of checkpoints.
        content: What is written; it opens the message.

    Raises:
        OSError: Writing failed.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # HDF5 raises a RuntimeError
        intact = list_checkpoints(folder)
        last = f"the checkpoint of epoch {_epoch(intact[-1])} is intact" if intact else "there is no checkpoint yet"
        raise OSError(
            f"cannot write {content}: {error}; {last}. Free disk space, and run the same command to resume"
        ) from error


def restore_checkpoint(path: Path, model: Any, request_hash: str) -> Checkpoint:
    """Restore the state of a compiled model and its optimizer from a file.

    Args:
        path: The checkpoint.
        model: The compiled model; it is left as it is where the checkpoint is refused.
        request_hash: Hash of the run's request.

    Returns:
        The checkpoint's metadata.

    Raises:
        CheckpointError: The file is truncated, damaged, of another run, or does not fit the model.
        OSError: The file cannot be read.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        checksum = header.pop("checksum")
        checkpoint = Checkpoint(
            path,
            int(header["epoch"]),
            header["request_hash"],
            parse_json(header["history"]),
            int(header["batch_size"]),
            parse_json(header["versions"]),
        )
    except FileNotFoundError:
        raise
    except OSError as error:  # of the disk or the network, which can pass
        raise OSError(f"cannot read {path}: {error}. Run the same command to resume once it can be read") from error
    except (SafetensorError, KeyError, ValueError) as error:
        text = str(error) or type(error).__name__
        raise CheckpointError(f"{path} is truncated or not a checkpoint: {text}") from None
    if checksum != compute_checksum(arrays, header):
        raise CheckpointError(f"{path} is damaged: its checksum does not match its contents")
    if checkpoint.request_hash != request_hash:
        raise CheckpointError(f"{path} is a checkpoint of another run")
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    variables = collect_state(model)
    if {name: tuple(v.shape) for name, v in variables.items()} != {name: a.shape for name, a in arrays.items()}:
        raise _MisfitError(
            f"{path} does not fit the network: it was written by another version of kcnn, Keras or a plugin; resume "
            f"with that version, or remove {path.parent} to start over"
        )
    for name, variable in variables.items():
        variable.assign(arrays[name])
    return checkpoint


def restore_latest(folder: Path, model: Any, request_hash: str) -> tuple[Checkpoint | None, list[str]]:
    """Restore the newest valid checkpoint of a folder, and rename those that are damaged or of another run.

    Args:
        folder: Folder of checkpoints.
        model: The compiled model.
        request_hash: Hash of the run's request.

    Returns:
        The checkpoint, None if none is valid; and a message for each that was refused.

    Raises:
        CheckpointError: A checkpoint is whole, but does not fit the network; it stays where it is.
        OSError: A checkpoint cannot be read; it stays where it is.
    """
    refused: list[str] = []
    for path in reversed(list_checkpoints(folder)):
        with suppress(FileNotFoundError):  # another worker, which reads here as well, has renamed it
            try:
                return restore_checkpoint(path, model, request_hash), refused
            except _MisfitError:
                raise
            except CheckpointError as error:
                refused.append(str(error))
                path.rename(path.with_suffix(".refused"))
    return None, refused


def _epoch(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def compute_checksum(arrays: Mapping[str, np.ndarray], header: Mapping[str, str]) -> str:
    """Return a hash of arrays by name (their names, types, shapes and bytes) and of a header.

    Args:
        arrays: The arrays; their order does not matter.
        header: Text by key; its order does not matter.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in _hashed_parts(arrays, header):
        digest.update(part)
    return digest.hexdigest()


def _hashed_parts(arrays: Mapping[str, np.ndarray], header: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    yield json.dumps(dict(sorted(header.items()))).encode()
    for name in sorted(arrays):
        yield f"{name} {arrays[name].dtype} {arrays[name].shape}".encode()
        yield np.asarray(arrays[name], order="C").reshape(-1).view("uint8").data
