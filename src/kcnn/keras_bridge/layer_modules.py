"""Import the modules that define a saved network's layers, of the plugin that published it."""

import sys
from collections.abc import Mapping
from importlib import import_module
from os import PathLike
from typing import Any

from kcnn.architectures import plugins
from kcnn.architectures.registry import find_distribution, find_entry_point
from kcnn.architectures.sources import PREFIX
from kcnn.architectures.spec import ModelSpec


def import_layers(metadata: Mapping[str, Any], path: str | PathLike[str]) -> tuple[str, ...]:
    """Import the modules of a network's layers: of the plugin that published it, or of a file that the user has run.

    Args:
        metadata: Metadata of the network.
        path: The file or the name of the model, for messages.

    Returns:
        The packages that its layers may be of: kcnn, and the plugin's.

    Raises:
        ImportError: The distribution that published the network is not installed, or a layer is of another package.
    """
    packages = ("kcnn", *_import_plugin(metadata, path))
    for module in metadata.get("modules", ()):
        if module.partition(".")[0] not in packages:  # also where it is imported: what it has is not the file's
            raise ImportError(
                f"{path} needs layers of the module {module!r}; expected modules of {' or '.join(packages)}. "
                "If you trust the file, import the module and use keras.saving.load_model"
            )
        import_module(module)
    return packages


def _import_plugin(metadata: Mapping[str, Any], path: str | PathLike[str]) -> tuple[str, ...]:
    """Import the plugin that published the network, or the file that defines its layers, and return its packages."""
    if not metadata.get("distribution"):
        spec = ModelSpec.from_json(metadata["spec"]) if metadata.get("modules") else None
        if spec and spec.definition:
            _ = spec.architecture  # runs the code, if the user has run it before
            if spec.definition.module:
                return (spec.definition.module.partition(".")[0],)
            file = f"{PREFIX}{spec.definition.file.stem}_"  # or the user's program itself
            return "__main__", *(module for module in sys.modules if module.startswith(file))
        return ()
    network = metadata["spec"]["network"]
    try:
        point, _ = find_entry_point(f"{metadata['distribution']}:{network.rpartition(':')[2]}")
    except ValueError as error:
        raise ImportError(
            f"{path} holds {network!r} of distribution {metadata['distribution']} "
            f"{metadata.get('distribution_version')}, which is not installed: {error}"
        ) from None
    plugins.load_plugin(point, find_distribution(point))
    return (point.module.partition(".")[0],)
