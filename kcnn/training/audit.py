"""What was allowed to move, and that nothing else did, to the last bit."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np


class FrozenWeightChangedError(RuntimeError):
    """A tensor changed that was not allowed to."""


@dataclass(frozen=True)
class WeightAudit:
    """One tensor through a phase; `before` and `after` are hashes of its bytes."""

    tensor: str
    shape: str
    parameters: int
    allowed: bool
    changed: bool
    before: str
    after: str


def hash_weights(model: Any) -> dict[str, str]:
    """A hash of each weight's bytes by "layer/variable", batch-norm statistics included."""
    found = {name: _print(variable) for name, variable in _named(model)}
    if len(found) != len(model.weights):
        raise ValueError(f"{model.name!r} is not flat: some of its weights have no name of their own")
    return found


def list_trainable(model: Any) -> set[str]:
    """The tensors that training may move: trainable ones, and the statistics of norms that adapt."""
    return {
        name
        for layer in model.layers
        for name, variable in _of(layer)
        if variable.trainable or (isinstance(layer, keras.layers.BatchNormalization) and layer.trainable)
    }


def compare_weights(before: Mapping[str, str], may: set[str], model: Any) -> list[WeightAudit]:
    """The ledger of a phase; a tensor that moved and was not allowed to is a Violation that names it."""
    after = hash_weights(model)
    rows = [
        WeightAudit(
            name, "x".join(map(str, v.shape)), int(np.prod(v.shape)), name in may, before[name] != after[name],
            before[name], after[name],
        )
        for name, v in _named(model)
    ]  # fmt: skip
    broken = [row.tensor for row in rows if row.changed and not row.allowed]
    if broken:
        raise FrozenWeightChangedError(
            f"{len(broken)} frozen tensors changed in training: {', '.join(broken[:5])}"
            f"{' and more' if len(broken) > 5 else ''}; a layer that assigns to its own weights is the usual reason"
        )
    return rows


@contextmanager
def audit_weights(model: Any) -> Iterator[list[WeightAudit]]:
    """While it lasts, only what a model's trainable flags allow may move; its rows are there afterwards.

    with ledger(model) as rows:
        model.fit(...)

    Violation at its end where another tensor changed by one bit.
    """
    rows: list[WeightAudit] = []
    before, may = hash_weights(model), list_trainable(model)
    yield rows
    rows += compare_weights(before, may, model)


def format_audit(rows: Sequence[WeightAudit]) -> str:
    """The ledger in one sentence."""
    moved = [row for row in rows if row.changed]
    still = [row for row in rows if not row.changed]
    return (
        f"{len(moved)} tensors moved ({sum(row.parameters for row in moved):,} numbers); "
        f"{len(still)} did not change by one bit ({sum(row.parameters for row in still):,})"
    )


def _named(model: Any) -> Iterator[tuple[str, Any]]:
    return (pair for layer in model.layers for pair in _of(layer))


def _of(layer: Any) -> Iterator[tuple[str, Any]]:
    return ((f"{layer.name}/{variable.name}", variable) for variable in layer.weights)


def _print(variable: Any) -> str:
    array = np.ascontiguousarray(keras.ops.convert_to_numpy(variable))
    return hashlib.blake2b(array.view("uint8").data if array.ndim else array.tobytes(), digest_size=8).hexdigest()
