"""Read weights files; the format is recognized by the content, not by the name.

Formats: safetensors (kcnn's, or a PyTorch state dict), Keras' .keras, .weights.h5 and the older layer-by-layer .h5, and
PyTorch's own files, of which nothing but tensors is unpickled.
"""

import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.keras_bridge.metadata import OldFormatError, parse_metadata
from kcnn.keras_bridge.saved_config import remove_hint
from kcnn.keras_bridge.untrusted_files import WEIGHTS, check_archive, check_hdf5, read_keras_config
from kcnn.run_folders import PRESET_WEIGHTS
from kcnn.weights.torch_files import read_torch_file

Arrays = dict[str, np.ndarray]
CONVOLUTION = ("kernel", "bias")
NORMALIZATION = ("gamma", "beta", "moving_mean", "moving_variance")
FLOATS = ("F64", "F32", "F16", "BF16")  # of safetensors
TORCH = ("weight", "bias", "running_mean", "running_var")  # PyTorch's names of the two above, in their order
CONTAINERS = ("layers", "_layer_checkpoint_dependencies")  # groups of layers in Keras 3's files
SEPARABLE = ("depthwise_kernel", "pointwise_kernel", "bias")
NUMBERED = ("conv2d", "batch_normalization")  # layers that Keras names by counting


@dataclass(frozen=True)
class StoredWeights:
    """The content of a weights file.

    Attributes:
        kind: "kcnn", "keras" or "torch".
        layers: Arrays by layer and variable, with Keras' names of variables or PyTorch's.
        metadata: Metadata of the model that kcnn saved; empty for files of other libraries.
    """

    kind: str
    layers: dict[str, Arrays]
    metadata: dict[str, Any]

    def count_from_zero(self) -> dict[str, Arrays]:
        """Return the layers, with Keras' numbered names counted from 0 whatever number the file starts from."""
        names: dict[str, str] = {}
        for kind in NUMBERED:
            numbers = {name: int(m[1] or 0) for name in self.layers if (m := re.fullmatch(rf"{kind}(?:_(\d+))?", name))}
            names |= {name: f"{kind}_{i}" for i, name in enumerate(sorted(numbers, key=numbers.__getitem__))}
        return {names.get(name, name): arrays for name, arrays in self.layers.items()}

    def list_tensors(self) -> Iterator[tuple[str, str, np.ndarray]]:
        """Yield the layer, the name in the file and the array of each tensor."""
        separator = "." if self.kind == "torch" else "/"
        for layer, arrays in self.layers.items():
            for variable, array in arrays.items():
                yield layer, f"{layer}{separator}{variable}", array


def read_weights(path: Path) -> StoredWeights:
    """Read a weights file of any supported format. Nothing in the file runs, and no other file is read.

    Args:
        path: The file, or the folder of a KerasHub preset.

    Returns:
        Its arrays by layer, and metadata.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is damaged, of an unknown format, or written by an older version of kcnn; or it has links
            to other files, or claims more bytes than it has.
    """
    if not path.is_file() and not (path / PRESET_WEIGHTS[0]).is_file():
        raise FileNotFoundError(f"weights file not found: {path}")
    try:
        stored = _preset(path) if path.is_dir() else _read(path)
        for _, name, array in stored.list_tensors():
            if not isinstance(array, np.ndarray | np.generic):  # a dataset of HDF5 may have a type alone
                raise ValueError(f"{name!r} has no shape; expected numbers")
            if array.dtype.kind not in "fiub":
                raise ValueError(f"{name!r} is of type {array.dtype}; expected numbers")
    except OldFormatError:
        raise
    except Exception as error:  # each library has its own for a file that is truncated or garbled
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} is damaged or not a weights file: {reason}") from error
    return stored


def _read(path: Path) -> StoredWeights:
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"\x89HDF"):
        return _hdf5(path, path.stat().st_size)
    if start.startswith(b"PK"):
        return _zip(path)
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        return _safetensors(path)
    if path.suffix in (".pth", ".pt", ".bin"):
        return _state_dict(read_torch_file(path))
    raise ValueError("it is neither safetensors, nor Keras' .keras or .h5, nor PyTorch's")


def _zip(path: Path) -> StoredWeights:
    """A .keras archive, or PyTorch's, which is a zip file as well."""
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        check_archive(archive, size)
        if WEIGHTS not in archive.namelist():
            return _state_dict(read_torch_file(path))
        config = read_keras_config(archive)
        content = archive.read(WEIGHTS)
    return _hdf5(io.BytesIO(content), len(content), config, parse_metadata(config["config"], path))


def _preset(folder: Path) -> StoredWeights:
    """The backbone and, where it is there, the classifier of a KerasHub preset."""
    layers: dict[str, Arrays] = {}
    for file, prefix in zip(PRESET_WEIGHTS, ("#", "#task/"), strict=True):
        path = folder / file
        if path.is_file():
            added = _hdf5(path, path.stat().st_size, group_prefix=prefix).layers
            if twice := layers.keys() & added:
                raise ValueError(f"both {' and '.join(PRESET_WEIGHTS)} have the layer {min(twice)!r}")
            layers |= added
    return StoredWeights("keras", layers, {})


def _hdf5(
    file: Any, size: int, config: Any = None, metadata: dict[str, Any] | None = None, group_prefix: str = ""
) -> StoredWeights:
    import h5py

    with h5py.File(file, "r") as opened:
        check_hdf5(opened, size)
        root = opened.get("model_weights", opened)
        is_by_layer = "layer_names" in root.attrs
        pairs = _read_by_layer(root) if is_by_layer else _read_groups(root, _group_names(config), group_prefix)
        layers: dict[str, Arrays] = {}
        for name, arrays in pairs:
            if name in layers:
                raise ValueError(f"it has two layers {name!r}, as of two nested models")
            layers[name] = arrays
    return StoredWeights("keras", layers, metadata or {})


def _read_by_layer(root: Any) -> Iterator[tuple[str, Arrays]]:
    """Layer by layer, as Keras 1 and 2 and .h5 of Keras 3 are: names and order are attributes.

    A nested model is one layer there, whose weights are named "layer/variable".
    """
    for layer in map(_text, root.attrs["layer_names"]):
        group = root[layer]
        owners: dict[str, list[str]] = {}
        for name in map(_text, group.attrs["weight_names"]):
            owners.setdefault(name.rpartition("/")[0], []).append(name)
        for owner, names in owners.items():
            variables = [name.rpartition("/")[2].partition(":")[0] for name in names]
            if "pointwise_kernel" not in variables:  # else a separable convolution, which has both
                variables = [variable.replace("depthwise_kernel", "kernel") for variable in variables]
            if not set(variables) <= {*CONVOLUTION, *NORMALIZATION, *SEPARABLE}:
                variables = list(CONVOLUTION) if len(names) <= 2 else [f"#{i}" for i in range(len(names))]
            arrays = {variable: group[name][()] for variable, name in zip(variables, names, strict=False)}
            yield owner.rpartition("/")[2] if len(owners) > 1 else layer, arrays


def _read_groups(root: Any, group_names: dict[str, str], prefix: str) -> Iterator[tuple[str, Arrays]]:
    """Keras 3's groups by kind and number; a layer's own name is an attribute, or in the model's config.

    Presets have neither where Keras was older than 3.10; then layers have the name of their group, after the prefix.
    """
    groups: list[tuple[str, Any]] = []
    root.visititems(lambda path, group: groups.append((path, group)) if path.endswith("/vars") and len(group) else None)
    for path, group in groups:
        where = [part for part in path.split("/")[:-1] if part not in CONTAINERS]
        if where[0] in ("optimizer", "metrics") or any("seed_generator" in part for part in where):
            continue
        name = group.attrs.get("name") or group_names.get("/".join(where))
        if name is None and prefix:
            name = f"{prefix}{'/'.join(where)}"
        if name is None:
            raise ValueError("its layers have no names; save the model again, as .keras, with Keras 3.10 or newer")
        kind = re.sub(r"_\d+$", "", where[-1])
        arrays = [group[str(i)][()] for i in range(len(group))]
        yield _text(name), dict(zip(_variable_names(kind, len(arrays)), arrays, strict=True))


def _variable_names(kind: str, count: int) -> list[str]:
    """The variables of a Keras layer by its kind and their count; numbers where that is not enough."""
    if kind == "batch_normalization" and count == len(NORMALIZATION):
        return list(NORMALIZATION)
    if kind in ("conv2d", "depthwise_conv2d", "dense"):
        return list(CONVOLUTION[:count])
    if kind == "separable_conv2d":
        return list(SEPARABLE[:count])
    return [f"#{i}" for i in range(count)]


def _group_names(config: Any) -> dict[str, str]:
    """The name of each layer in a model's config by its group, kind and number; "outer/inner" in a nested model."""
    names: dict[str, str] = {}
    for layer in (config or {}).get("config", {}).get("layers", []):
        kind = re.sub(r"\W+", "", remove_hint(layer["class_name"]).rpartition(">")[2])
        kind = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", kind)).lower()
        group, number = kind, 0
        while group in names:
            number += 1
            group = f"{kind}_{number}"
        names[group] = layer["config"].get("name", layer.get("name"))
        names |= {f"{group}/{inner}": name for inner, name in _group_names(layer).items()}
    return names


def _safetensors(path: Path) -> StoredWeights:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        metadata = parse_metadata(file.metadata() or {}, path)
        kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 - no mapping
        for name, kind in kinds.items():
            if kind not in FLOATS and not kind.startswith(("I", "U", "BOOL")):
                raise ValueError(
                    f"tensor {name!r} holds numbers of type {kind}, which are scaled integers or of 8 bits and less; "
                    f"expected {', '.join(FLOATS)}: convert the file to F32 with the library that wrote it"
                )
        tensors = {name: file.get_tensor(name) for name in kinds}
    tensors |= {name: tensors[name].astype("float32") for name, kind in kinds.items() if kind == "BF16"}
    if any("/" in name for name in tensors):
        return StoredWeights("kcnn", _split(tensors, "/"), metadata)
    return replace(_state_dict(tensors), metadata=metadata)


def _state_dict(tensors: Arrays) -> StoredWeights:
    bare = {name.removeprefix("module."): a for name, a in tensors.items() if not name.endswith("num_batches_tracked")}
    return StoredWeights("torch", _split(bare, "."), {})


def _split(tensors: Arrays, separator: str) -> dict[str, Arrays]:
    layers: dict[str, Arrays] = {}
    for name, array in tensors.items():
        layer, _, variable = name.rpartition(separator)
        layers.setdefault(layer, {})[variable] = array
    return layers


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
