"""Which tensor of a file belongs to which variable of a model, turned round where libraries lay it otherwise."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from kcnn.architectures.architecture import WeightMapping
from kcnn.graph.tracing import topological_order
from kcnn.keras_bridge.from_keras import producers
from kcnn.weights.formats import CONVOLUTION, NORMALISATION, TORCH, Arrays, StoredWeights


@dataclass(frozen=True)
class LoadReport:
    """What became of every tensor, by name: "layer/variable" as in the model, or as in the file where it is its own."""

    mapping: str  # whose names the file has: "kcnn", or a key of the architecture's layouts
    matched: tuple[str, ...]
    adapted: Mapping[str, str] = field(default_factory=dict)  # on purpose, and how
    missing: Mapping[str, str] = field(default_factory=dict)  # in the model, without a tensor that fits, and why
    unexpected: tuple[str, ...] = ()  # in the file, of no layer of the network
    unused: tuple[str, ...] = ()  # in the file, of layers that the model was built without

    def __str__(self) -> str:
        lines = [f"{len(self.matched)} tensors match (names as in {self.mapping})"]
        for word in ("adapted", "missing"):
            lines += [f"{word} {name}: {why}" for name, why in getattr(self, word).items()]
        for word in ("unexpected", "unused"):
            lines += [f"{word} {name}" for name in getattr(self, word)]
        return "\n".join(lines)


def match_weights(
    model: Any,
    stored: StoredWeights,
    layouts: Mapping[str, WeightMapping],
    whole: Sequence[str],
    head: Sequence[str],
    new_head: bool,
    classifier: bool = True,
) -> tuple[LoadReport, list[tuple[Any, np.ndarray]]]:
    """The report, and each variable with the array it takes.

    `whole` are the layers with weights of the network in full, in order, and `head` those behind
    the features. The last of them may differ in its number of classes; all of them keep the values
    they have where the file has none of them and `new_head` says that they are meant to, and
    classifiers do without `classifier`.
    ValueError where the file has no layer of the network.
    """
    prefix = getattr(model, "metadata", {}).get("spec", {}).get("prefix", "")
    made = {layer.name.removeprefix(prefix): layer for layer in _layers(model)}
    whole = list(whole) or list(made)
    speech = recognize_naming(stored, layouts, whole, prefix)
    layout, layers, names = speech.mapping, speech.layers, speech.names
    first = next((layer for layer in made.values() if hasattr(layer, "kernel_size")), None)
    found: list[tuple[Any, np.ndarray]] = []
    matched, adapted, missing = [], {}, {}
    taken: set[tuple[str, str]] = set()
    last = {layer for layer in head if layer.endswith("logits")} or {*head[-1:]}  # which bear the classes
    headless = new_head and not any(names.get(layer, layer) in layers for layer in head)
    for mine, layer in made.items():
        theirs = names.get(mine, mine)
        arrays = layers.get(theirs, {})
        for number, variable in enumerate(layer.weights):
            address = f"{mine}/{variable.name}"
            key = _key(stored, arrays, variable.name, number, len(layer.weights))
            if key is None and headless and mine in head:
                adapted[address] = "a new head: the file has none"
                continue
            if key is None:
                missing[address] = f"the file has no {theirs!r}" if not arrays else f"{theirs!r} has no {variable.name}"
                continue
            taken.add((theirs, key))
            if not classifier and mine in last:
                adapted[address] = "a new head, as asked"
                continue
            array = _turned(arrays[key], layer, variable, stored.kind)
            if layer is first and layout and layout.bgr and variable.name == "kernel":
                array = array[:, :, ::-1]
            wanted = tuple(variable.shape)
            how = ""
            if array.shape != wanted and layer is first and variable.name == "kernel":
                array, how = _channels(array, wanted)
            if array.shape == wanted:
                found.append((variable, array))
                if how:
                    adapted[address] = how
                else:
                    matched.append(address)
            elif mine in last and array.shape[:-1] == wanted[:-1]:
                adapted[address] = f"a new head: {array.shape[-1]} classes in the file, {wanted[-1]} here"
            else:
                missing[address] = f"{array.shape} in the file, {wanted} here"
    set_aside = {names.get(layer, layer) for layer in whole} - {names.get(layer, layer) for layer in made}
    rest = [(layer, key) for layer, arrays in layers.items() for key in arrays if (layer, key) not in taken]
    report = LoadReport(
        mapping=speech.name,
        matched=tuple(matched),
        adapted=adapted,
        missing=missing,
        unexpected=tuple(f"{layer}/{key}" for layer, key in rest if layer not in set_aside),
        unused=tuple(f"{layer}/{key}" for layer, key in rest if layer in set_aside),
    )
    return report, found


def _layers(model: Any) -> Iterator[Any]:
    """Layers that have weights, in the order in which the outputs are followed back."""
    done: set[int] = set()
    for tensor in topological_order(*model.outputs, sources=producers):
        layer = tensor._keras_history.operation
        if id(layer) not in done and getattr(layer, "weights", None):
            done.add(id(layer))
            if not hasattr(layer, "_layers") or not getattr(layer, "layers", None):
                yield layer
            else:
                raise ValueError(f"{model.name!r} is not flat: {layer.name!r} is a model inside it")


@dataclass(frozen=True)
class LayerNaming:
    """The layout under which a file has the most layers of a network."""

    name: str
    mapping: WeightMapping | None  # None for kcnn's own names
    layers: Mapping[str, Arrays]  # the file's
    names: Mapping[str, str]  # of each of the network's layers in the file
    hits: int  # layers that the file has


def recognize_naming(
    stored: StoredWeights, layouts: Mapping[str, WeightMapping], whole: Sequence[str], prefix: str
) -> LayerNaming:
    """How a file names the layers `whole` of a network; ValueError where it has none of them."""
    own = {layer: layer if layer in stored.layers else prefix + layer for layer in whole}
    best = LayerNaming("kcnn", None, stored.layers, own, sum(theirs in stored.layers for theirs in own.values()))
    for name, layout in layouts.items():
        try:
            named = layout.names(whole)
        except (LookupError, ValueError):  # the network has layers, by its options, that the other library's has not
            continue
        layers = stored.counted() if layout.numbered else stored.layers
        names = {}
        for layer, theirs in named.items():
            options = (theirs,) if isinstance(theirs, str) else theirs
            names[layer] = next((one for one in options if one in layers), options[0])
        hits = sum(theirs in layers for theirs in names.values())
        if hits > best.hits:
            best = LayerNaming(name, layout, layers, names, hits)
    if not best.hits:
        known = ", ".join(["kcnn", *layouts])
        there = ", ".join(list(stored.layers)[:4]) or "nothing"
        raise ValueError(
            f"it holds {there} ...: no layer of this network (which has {', '.join(whole[:3])}, ...), "
            f"under none of the names it is known by ({known})"
        )
    return best


def _key(stored: StoredWeights, arrays: Mapping[str, Any], variable: str, number: int, count: int) -> str | None:
    """The file's word for a variable of a layer."""
    if variable in arrays:
        return variable
    if stored.kind == "torch":
        for words in (CONVOLUTION, NORMALISATION):
            if variable in words:
                word = TORCH[words.index(variable)]
                return word if word in arrays else None
    by_number = f"#{number}"
    return by_number if by_number in arrays and len(arrays) == count else None


def _turned(array: np.ndarray, layer: Any, variable: Any, kind: str) -> np.ndarray:
    """An array with its axes as Keras has them."""
    if variable.name != "kernel":
        return array
    if kind == "torch" and array.ndim == 4:
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        array = array.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
    elif kind == "torch" and array.ndim == 2:
        array = _flattened(array, layer).T
    axes = len(variable.shape)  # a dense layer and a 1x1 convolution are one and the same
    if (array.ndim, axes) == (4, 2) and array.shape[:2] == (1, 1):
        return array[0, 0]
    return array[None, None] if (array.ndim, axes) == (2, 4) else array


def _flattened(array: np.ndarray, layer: Any) -> np.ndarray:
    """(units, features) for a map that was flattened rows first, where PyTorch's is channels first."""
    map_shape = _map_before(layer)
    if map_shape is None or array.shape[1] != np.prod(map_shape):
        return array
    rows, columns, channels = map_shape
    return array.reshape(-1, channels, rows, columns).transpose(0, 2, 3, 1).reshape(array.shape)


def _map_before(layer: Any) -> tuple[int, ...] | None:
    """The map that a dense layer's input was, where only a Flatten and layers without weights lie between."""
    before = layer.input
    while True:
        made_by = before._keras_history.operation
        if isinstance(made_by, keras.layers.Flatten):
            return tuple(made_by.input.shape[1:])
        from_ = producers(before)
        if len(from_) != 1 or getattr(made_by, "weights", None):
            return None
        before = from_[0]


def _channels(array: np.ndarray, wanted: tuple[int, ...]) -> tuple[np.ndarray, str]:
    """The first kernel for another number of input channels, so that a grey picture gives what it gave before.

    Each of more channels takes a channel of the file's in turn, divided by how often that is taken;
    each of fewer takes the sum of every so-many-th.
    """
    had, have = array.shape[2], wanted[2]
    if array.shape[:2] + array.shape[3:] != wanted[:2] + wanted[3:]:
        return array, ""
    if have < had:
        summed = np.stack([array[:, :, i::have].sum(axis=2) for i in range(have)], axis=2)
        return summed, f"{had} channels summed to {have}"
    turn = np.arange(have) % had
    shares = np.bincount(turn)[turn].astype(array.dtype)
    return array[:, :, turn] / shares[:, None], f"{had} channels spread over {have}"
