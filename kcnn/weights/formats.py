"""Tensors out of files of weights: whose file it is shows in what is inside, not in how it is called.

Read are safetensors (kcnn's, or a PyTorch state dict), Keras' .keras, .weights.h5 and the older
layer-by-layer .h5, and PyTorch's own files where torch is installed, never by a bare unpickle.
"""

import json
import pickle
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
CONVOLUTION = ("kernel", "bias")
NORMALISATION = ("gamma", "beta", "moving_mean", "moving_variance")
TORCH = ("weight", "bias", "running_mean", "running_var")  # PyTorch's words for the two above, in their order
NUMBERED = ("conv2d", "batch_normalization")  # kinds of layers that Keras names by counting


@dataclass(frozen=True)
class StoredWeights:
    """What a file holds: arrays by layer and variable, with Keras' names of variables or PyTorch's."""

    kind: str  # "kcnn", "keras" or "torch"
    layers: dict[str, Arrays]
    metadata: dict[str, Any]  # of the model that kcnn wrote there; empty where it is another library's

    def counted(self) -> dict[str, Arrays]:
        """The layers, with Keras' numbered names counted from 0: a process that built other models began elsewhere."""
        names: dict[str, str] = {}
        for kind in NUMBERED:
            numbers = {name: int(m[1] or 0) for name in self.layers if (m := re.fullmatch(rf"{kind}(?:_(\d+))?", name))}
            names |= {name: f"{kind}_{i}" for i, name in enumerate(sorted(numbers, key=numbers.__getitem__))}
        return {names.get(name, name): arrays for name, arrays in self.layers.items()}


def read_weights(path: Path) -> StoredWeights:
    """Everything in a file of weights.

    FileNotFoundError; ValueError where it is damaged or of no kind that is known; ImportError where
    it takes torch, which is not installed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no weights file {path}")
    with path.open("rb") as file:
        start = file.read(16)
    try:
        if start.startswith(b"\x89HDF"):
            return _hdf5(path, None)
        if start.startswith(b"PK"):
            return _zip(path)
        if path.suffix == ".safetensors" or start[8:9] == b"{":
            return _safetensors(path)
        if path.suffix in (".pth", ".pt", ".bin"):
            return _torch(path)
    except ImportError:
        raise
    except Exception as error:  # each library has its own for a file that is cut or garbled
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} is damaged, or no file of weights: {reason}") from error
    raise ValueError(
        f"{path} is damaged, or no file of weights: it is neither safetensors, nor Keras' .keras or .h5, nor PyTorch's"
    )


def _zip(path: Path) -> StoredWeights:
    """A .keras archive, or PyTorch's, which is a zip file as well."""
    with zipfile.ZipFile(path) as archive:
        if "model.weights.h5" not in archive.namelist():
            return _torch(path)
        config = json.loads(archive.read("config.json"))
        with archive.open("model.weights.h5") as inside:
            return _hdf5(inside, config)


def _hdf5(file: Any, config: Any) -> StoredWeights:
    import h5py

    with h5py.File(file, "r") as opened:
        root = opened.get("model_weights", opened)
        layers = dict(_older(root) if "layer_names" in root.attrs else _newer(root, _names(config)))
    return StoredWeights("keras", layers, json.loads((config or {}).get("config", {}).get("metadata", "{}")))


def _older(root: Any) -> Iterator[tuple[str, Arrays]]:
    """Layer by layer, as Keras 1 and 2 and .h5 of Keras 3 are: names and order are attributes."""
    for layer in map(_text, root.attrs["layer_names"]):
        group = root[layer]
        names = [_text(name) for name in group.attrs["weight_names"]]
        words = [name.rpartition("/")[2].partition(":")[0].replace("depthwise_kernel", "kernel") for name in names]
        if not set(words) <= {*CONVOLUTION, *NORMALISATION}:
            words = list(CONVOLUTION) if len(names) <= 2 else [f"#{i}" for i in range(len(names))]
        if names:
            yield layer, {word: group[name][()] for word, name in zip(words, names, strict=False)}


def _newer(root: Any, config: dict[str, str]) -> Iterator[tuple[str, Arrays]]:
    """Keras 3's groups by kind and number; a layer's own name is an attribute, or stands in the model's config."""
    found: list[tuple[str, Any]] = []
    root.visititems(lambda path, group: found.append((path, group)) if path.endswith("/vars") and len(group) else None)
    for path, group in found:
        where = path.removesuffix("/vars")
        if where.startswith(("optimizer", "metrics")) or "seed_generator" in where:
            continue
        name = group.attrs.get("name") or config.get(where.rpartition("/")[2])
        if name is None:
            raise ValueError("its layers have no names; save the model again, as .keras, with Keras 3.10 or newer")
        kind = re.sub(r"_\d+$", "", where.rpartition("/")[2])
        arrays = [group[str(i)][()] for i in range(len(group))]
        yield _text(name), dict(zip(_words(kind, len(arrays)), arrays, strict=True))


def _words(kind: str, count: int) -> list[str]:
    """The variables of a layer of Keras' by its kind and how many there are; by number where that does not say."""
    if kind == "batch_normalization" and count == len(NORMALISATION):
        return list(NORMALISATION)
    if kind in ("conv2d", "depthwise_conv2d", "dense"):
        return list(CONVOLUTION[:count])
    return [f"#{i}" for i in range(count)]


def _names(config: Any) -> dict[str, str]:
    """The group of each layer in a model's config, kind and number, and the layer's name."""
    found: dict[str, str] = {}
    for layer in (config or {}).get("config", {}).get("layers", []):
        kind = re.sub(r"\W+", "", layer["class_name"].rpartition(">")[2])
        kind = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", kind)).lower()
        group, number = kind, 0
        while group in found:
            number += 1
            group = f"{kind}_{number}"
        found[group] = layer["config"].get("name", layer.get("name"))
    return found


def _safetensors(path: Path) -> StoredWeights:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        card = json.loads((file.metadata() or {}).get("metadata", "{}"))
    if any("/" in name for name in tensors):
        return StoredWeights("kcnn", _split(tensors, "/"), card)
    return _state_dict(tensors)


def _torch(path: Path) -> StoredWeights:
    try:
        import torch
    except ImportError:
        raise ImportError(f'{path} is a file of PyTorch\'s, which takes torch: pip install "kcnn[torch]"') from None
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError("it holds more than tensors, which is not unpickled: it could run any code") from None
    for key in ("state_dict", "model"):
        loaded = loaded.get(key, loaded)
    return _state_dict({name: tensor.float().numpy() for name, tensor in loaded.items() if hasattr(tensor, "numpy")})


def _state_dict(tensors: Arrays) -> StoredWeights:
    bare = {name.removeprefix("module."): a for name, a in tensors.items() if not name.endswith("num_batches_tracked")}
    return StoredWeights("torch", _split(bare, "."), {})


def _split(tensors: Arrays, mark: str) -> dict[str, Arrays]:
    layers: dict[str, Arrays] = {}
    for name, array in tensors.items():
        layer, _, variable = name.rpartition(mark)
        layers.setdefault(layer, {})[variable] = array
    return layers


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
