"""Audit which weights a training phase changed: only those that it may, to the last bit."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_keywords
from kcnn.graph.formatting import format_size


class FrozenWeightChangedError(RuntimeError):
    """Raised where training changed a frozen weight."""


@check_keywords
@dataclass(frozen=True)
class WeightAudit:
    """Record what a training phase did to one weight.

    Attributes:
        tensor: "layer/variable".
        shape: Such as "3x3x64x64".
        parameters: Number of parameters.
        allowed: Whether the phase may change it.
        changed: Whether it changed.
        before: Hash of its bytes before the phase.
        after: Hash of its bytes after the phase.
    """

    tensor: str
    shape: str
    parameters: int
    allowed: bool
    changed: bool
    before: str
    after: str


def hash_weights(model: Any) -> dict[str, str]:
    """Return a hash of the bytes of each weight by "layer/variable", batch-norm statistics included.

    Raises:
        ValueError: Weights of the model have no unique name: it is not flat.
    """
    hashes = {name: _hash(variable) for name, variable in _named_variables(model)}
    if len(hashes) != len(model.weights):
        raise ValueError(f"{model.name!r} is not flat: some of its weights have no name of their own")
    return hashes


def list_trainable(model: Any) -> set[str]:
    """Return the weights that training may change: trainable ones, and statistics of batch norms that adapt."""
    return {
        name
        for layer in model.layers
        for name, variable in _variables(layer)
        if variable.trainable or (isinstance(layer, keras.layers.BatchNormalization) and layer.trainable)
    }


def compare_weights(before: Mapping[str, str], trainable: set[str], model: Any) -> list[WeightAudit]:
    """Return the audit of a training phase.

    Args:
        before: From hash_weights, before the phase.
        trainable: From list_trainable.
        model: The model after the phase.

    Returns:
        A record for each weight.

    Raises:
        FrozenWeightChangedError: A frozen weight changed.
    """
    after = hash_weights(model)
    rows = [
        WeightAudit(
            tensor=name,
            shape=format_size(variable.shape),
            parameters=int(np.prod(variable.shape)),
            allowed=name in trainable,
            changed=before[name] != after[name],
            before=before[name],
            after=after[name],
        )
        for name, variable in _named_variables(model)
    ]
    broken = [row.tensor for row in rows if row.changed and not row.allowed]
    if broken:
        more = " and more" if len(broken) > 5 else ""
        raise FrozenWeightChangedError(
            f"{len(broken)} frozen weights changed in training: {', '.join(broken[:5])}{more}; usually a layer assigns "
            "to its own weights"
        )
    return rows


@check_arguments
@contextmanager
def audit_weights(model: keras.Model) -> Iterator[list[WeightAudit]]:
    """Verify that only what a model's trainable flags allow changes meanwhile.

    with audit_weights(model) as rows:
        model.fit(...)

    Args:
        model: The model.

    Yields:
        A list that holds the record of each weight afterwards.

    Raises:
        FrozenWeightChangedError: At the end, where a frozen weight changed by one bit.
    """
    rows: list[WeightAudit] = []
    before, trainable = hash_weights(model), list_trainable(model)
    yield rows
    rows += compare_weights(before, trainable, model)


def format_audit(rows: Sequence[WeightAudit]) -> str:
    """Return an audit in one sentence."""
    changed = [row for row in rows if row.changed]
    text = f"{len(changed)} weights changed ({sum(row.parameters for row in changed):,} parameters)"
    others = len(rows) - len(changed)
    unchanged = sum(row.parameters for row in rows) - sum(row.parameters for row in changed)
    return f"{text}; {others} are unchanged, bit for bit ({unchanged:,} parameters)" if others else text


def _named_variables(model: Any) -> Iterator[tuple[str, Any]]:
    return (pair for layer in model.layers for pair in _variables(layer))


def _variables(layer: Any) -> Iterator[tuple[str, Any]]:
    return ((f"{layer.name}/{variable.name}", variable) for variable in layer.weights)


def _hash(variable: Any) -> str:
    array = np.ascontiguousarray(keras.ops.convert_to_numpy(variable))
    return hashlib.blake2b(array.view("uint8").data if array.ndim else array.tobytes(), digest_size=8).hexdigest()
