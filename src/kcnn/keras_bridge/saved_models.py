"""Load a saved model, and read its metadata without loading it."""

import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any

from kcnn.graph.argument_kinds import check_arguments
from kcnn.keras_bridge.backends import check_backend
from kcnn.keras_bridge.layer_modules import import_layers
from kcnn.keras_bridge.metadata import OldFormatError, parse_metadata
from kcnn.keras_bridge.untrusted_files import (
    WEIGHTS,
    UntrustedFileError,
    check_archive,
    check_claim,
    check_keras_file,
    read_keras_config,
)
from kcnn.run_folders import resolve_model


@check_arguments
def load_model(path: str | PathLike[str]) -> Any:
    """Load the model that `model.save(path)` wrote; plugins that it needs are imported first.

    Args:
        path: A .keras file, or the folder of a run, a transfer or a search.

    Returns:
        The Keras model, with `spec` and `metadata`.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not a Keras model of kcnn, was written by an older version, is damaged, or would run
            code or read other files.
        ImportError: The distribution that published its architecture is not installed.
    """
    path = resolve_model(path)[0]
    metadata = read_metadata(path)
    check_backend()
    packages = import_layers(metadata, path)
    import_module("kcnn.keras_bridge.model")
    return load_keras_file(path, packages, with_optimizer=True)


def load_keras_file(
    path: str | PathLike[str], packages: tuple[str, ...] = ("kcnn",), *, with_optimizer: bool = False
) -> Any:
    """Load any Keras model from a .keras file, without running code that the file names.

    Args:
        path: The file.
        packages: Packages beside Keras whose layers it may have. They are not imported.
        with_optimizer: Whether the model is compiled as it was saved.

    Returns:
        The Keras model.

    Raises:
        ValueError: The file is damaged, has numbers that are not finite, or would run code or read other files.
    """
    import keras
    import numpy as np

    try:
        with _hand_over(*_build(check_keras_file(Path(path), packages), Path(path))):
            model = keras.saving.load_model(path, compile=with_optimizer, safe_mode=True)
    except UntrustedFileError as error:
        raise ValueError(f"cannot load {path}: {error}") from None
    except Exception as error:  # Keras and each layer have their own for a config that is garbled
        cause = " ".join(str(error).split()).rpartition("Exception encountered: ")[2]  # after a layer's entire config
        raise ValueError(f"cannot load {path}: it is damaged: {cause[:300]}") from error
    broken = [weight.path for weight in model.weights if not np.isfinite(keras.ops.convert_to_numpy(weight)).all()]
    if broken:
        raise ValueError(f"{path} has numbers that are not finite (NaN or infinity) in {', '.join(broken[:3])}")
    return model


def _build(config: Mapping[str, Any], path: Path) -> tuple[Any, list[Any]]:
    """Build a model, and return it with its variables, which have no values yet.

    Only building it tells their shapes, and they may be out of proportion to the weights in its file.
    """
    import keras
    from keras.src.backend.common import global_state

    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo(WEIGHTS).file_size
    waiting = global_state.get_global_attribute("uninitialized_variables", [])
    global_state.set_global_attribute("uninitialized_variables", [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            model = keras.saving.deserialize_keras_object({**config, "compile_config": None}, safe_mode=True)
        created = global_state.get_global_attribute("uninitialized_variables")
    finally:  # or Keras would initialize these variables when the next scope ends
        global_state.set_global_attribute("uninitialized_variables", waiting)
    shapes = {variable.path: tuple(variable.shape) for variable in model.variables}
    largest = max(shapes, key=lambda name: math.prod(shapes[name]), default=None)
    what = f"the weights of its layers (the largest: {largest} {shapes.get(largest)})"
    check_claim(sum(4 * math.prod(variable.shape) for variable in model.variables), size, what)
    return model, created


@contextmanager
def _hand_over(model: Any, created: Sequence[Any]) -> Iterator[None]:
    """Have Keras take a model of kcnn that is built already, which saves building it twice."""
    from kcnn.keras_bridge.model import BUILT, Network

    if type(model) is not Network:
        yield
        return
    for variable in created:
        variable._deferred_initialize()
    for layer in model._flatten_layers():
        layer._post_build()  # PyTorch's layers register their variables
    token = BUILT.set([model])
    try:
        yield
    finally:
        BUILT.reset(token)


def read_metadata(path: str | PathLike[str]) -> dict[str, Any]:
    """Read the metadata of a saved model, without Keras.

    Args:
        path: A .keras file.

    Returns:
        The metadata: spec, classes, scaling of pixels, distribution, and facts of its training.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not a Keras model of kcnn, was written by an older version, or is damaged.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"file not found: {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            check_archive(archive, Path(path).stat().st_size)
            metadata = parse_metadata(read_keras_config(archive)["config"], path)
    except OldFormatError:
        raise
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise ValueError(f"{path} is not a Keras model, or is damaged: {error}") from None
    if not metadata:
        raise ValueError(f"{path} is a Keras model but not one of kcnn; load it with keras.saving.load_model")
    return metadata
