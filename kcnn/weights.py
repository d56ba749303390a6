"""Weights in a file: one safetensors tensor per variable, "layer/variable", and the model's card."""

import json
from os import PathLike
from pathlib import Path
from typing import Any

from kcnn.files import replacing


def save(model: Any, path: str | PathLike[str]) -> None:
    """Write every weight of a flat Keras model, and its card where it has one, to a .safetensors file."""
    import numpy as np
    from safetensors.numpy import save_file

    tensors = {name: np.ascontiguousarray(variable.numpy()) for name, variable in _variables(model).items()}
    metadata = {"card": json.dumps(getattr(model, "card", {}))}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata)


def load_into(model: Any, path: str | PathLike[str]) -> None:
    """Set every weight of the model from a file that `save` wrote; the file may hold more.

    Nothing is set unless everything fits. FileNotFoundError; ValueError where the file is damaged
    or a tensor is missing or of another shape, naming the first.
    """
    from safetensors import SafetensorError, safe_open

    where = Path(path)
    if not where.is_file():
        raise FileNotFoundError(f"there is no weights file {where}")
    variables = _variables(model)
    try:
        with safe_open(where, framework="numpy") as file:
            stored = set(file.keys())
            missing = [name for name in variables if name not in stored]
            if missing:
                raise ValueError(
                    f"{where} holds no {missing[0]!r} ({len(missing)} of {len(variables)} tensors are missing): "
                    "it belongs to another network, or to other options of this one"
                )
            for name, variable in variables.items():
                shape = tuple(file.get_slice(name).get_shape())
                if shape != tuple(variable.shape):
                    raise ValueError(
                        f"{name!r} is {shape} in {where} but {tuple(variable.shape)} in the model; "
                        "build with the file's own classes, channels and options, or with top=False"
                    )
            for name, variable in variables.items():
                variable.assign(file.get_tensor(name))
    except SafetensorError as error:
        raise ValueError(f"{where} is no safetensors file, or is damaged: {error}") from None


def _variables(model: Any) -> dict[str, Any]:
    """Weights by "layer/variable", the layer without the prefix that the model was built with."""
    prefix = getattr(model, "card", {}).get("prefix", "")
    found: dict[str, Any] = {}
    for layer in model.layers:
        for variable in layer.weights:
            found[f"{layer.name.removeprefix(prefix)}/{variable.name}"] = variable
    if len(found) != len(model.weights):
        raise ValueError(f"{model.name!r} is not flat: some of its weights have no name of their own")
    return found
