"""Load a saved model with the plugin that published it, and read its metadata without loading it."""

import json
import sys
import zipfile
from collections.abc import Mapping
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any

from kcnn.architectures import plugins
from kcnn.architectures.registry import find_entry_point
from kcnn.keras_bridge.metadata import parse_metadata


def load_model(path: str | PathLike[str]) -> Any:
    """Load the model that `model.save(path)` wrote; plugins that it needs are imported first.

    Args:
        path: A .keras file.

    Returns:
        The Keras model, with `spec` and `metadata`.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not a Keras model of kcnn, was written by an older version, or is damaged.
        ImportError: The distribution that published its architecture is not installed.
    """
    metadata = read_metadata(path)
    package = _import_plugin(metadata, path)
    for module in metadata["modules"]:
        # A file may import kcnn's modules and those of the plugin that it was built from, no others.
        if module not in sys.modules and module.partition(".")[0] not in ("kcnn", package):
            raise ImportError(f"{path} needs layers of the module {module!r}; import it first")
        import_module(module)
    import keras

    import_module("kcnn.keras_bridge.model")
    try:
        return keras.saving.load_model(path)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged: {error}") from None


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
            config = json.loads(archive.read("config.json")).get("config", {})
    except (zipfile.BadZipFile, KeyError, ValueError, IsADirectoryError) as error:
        raise ValueError(f"{path} is not a Keras model, or is damaged: {error}") from None
    metadata = parse_metadata(config, path)
    if not metadata:
        raise ValueError(f"{path} is a Keras model but not one of kcnn; load it with keras.saving.load_model")
    return metadata


def _import_plugin(metadata: Mapping[str, Any], path: str | PathLike[str]) -> str:
    """Import the plugin that published the network, and return its package."""
    if not metadata["distribution"]:
        return "kcnn"
    network = metadata["spec"]["network"]
    try:
        point, _ = find_entry_point(f"{metadata['distribution']}:{network.rpartition(':')[2]}")
    except ValueError as error:
        raise ImportError(
            f"{path} holds {network!r} of distribution {metadata['distribution']} "
            f"{metadata['distribution_version']}, which is not installed: {error}"
        ) from None
    plugins.load_plugin(point, metadata["distribution"])
    return point.module.partition(".")[0]
