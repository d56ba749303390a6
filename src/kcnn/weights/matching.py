"""Which tensor of a file belongs to which variable of a model, with axes in the order that Keras has them."""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from kcnn.architectures.architecture import WeightMapping
from kcnn.architectures.spec import from_json_value
from kcnn.graph.arguments import check_keywords
from kcnn.graph.ops import Rescale
from kcnn.graph.tracing import topological_order
from kcnn.keras_bridge.keras_graph import operation, producers
from kcnn.weights.formats import CONVOLUTION, NORMALIZATION, SEPARABLE, TORCH, Arrays, StoredWeights


@check_keywords
@dataclass(frozen=True, slots=True)
class TensorMatch:
    """Describe what happened to one variable of a model.

    Attributes:
        target: "layer/variable" in the model.
        source: "layer/variable" in the file; None where the file has none.
        status: "matched" (set as it is), "adapted" (changed or kept on purpose) or "missing" (left as it was).
        reason: Why it was adapted or is missing.
    """

    target: str
    source: str | None
    status: str
    reason: str = ""


@check_keywords
@dataclass(frozen=True)
class LoadReport:
    """Describe what happened to every tensor when weights were loaded. Print it to see a list.

    Attributes:
        mapping: Whose names the file has: "kcnn", or a key of the architecture's `weight_mappings`.
        tensors: A record for each variable of the model.
        unexpected: Tensors of the file that belong to no layer of the network.
        unused: Tensors of the file of layers that the model was built without.
    """

    mapping: str
    tensors: tuple[TensorMatch, ...] = ()
    unexpected: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    @property
    def matched(self) -> tuple[str, ...]:
        """Variables that were set as they are in the file."""
        return tuple(match.target for match in self.tensors if match.status == "matched")

    @property
    def adapted(self) -> dict[str, str]:
        """Variables that were adapted, or kept, on purpose, and how."""
        return {match.target: match.reason for match in self.tensors if match.status == "adapted"}

    @property
    def missing(self) -> dict[str, str]:
        """Variables without a tensor that fits, and why."""
        return {match.target: match.reason for match in self.tensors if match.status == "missing"}

    def __str__(self) -> str:
        lines = [f"{len(self.matched)} tensors match (names as in {self.mapping})"]
        for status in ("adapted", "missing"):
            lines += [f"{status} {name}: {reason}" for name, reason in getattr(self, status).items()]
        for status in ("unexpected", "unused"):
            lines += [f"{status} {name}" for name in getattr(self, status)]
        return "\n".join(lines)


@dataclass(frozen=True)
class NetworkLayers:
    """The layers with weights of a complete network, which a file of it may have.

    Attributes:
        names: All of them, in order; none for a model that kcnn did not build.
        head: Those after the features, with those of auxiliary classifiers.
        main_head: Those of the head that lead to the logits.
        is_head_new: Whether the model has a new head, which a file need not have.
        keeps_classifier: Whether the model's classifier keeps its values although the file has one.
    """

    names: tuple[str, ...] = ()
    head: tuple[str, ...] = ("logits",)
    main_head: tuple[str, ...] = ("logits",)
    is_head_new: bool = False
    keeps_classifier: bool = False

    @property
    def classifiers(self) -> frozenset[str]:
        """Layers of the head whose outputs are the classes."""
        return frozenset(layer for layer in self.head if layer.endswith("logits")) or frozenset(self.head[-1:])


def match_weights(
    model: Any, stored: StoredWeights, mappings: Mapping[str, WeightMapping], network: NetworkLayers
) -> tuple[LoadReport, list[tuple[Any, np.ndarray]]]:
    """Match the tensors of a file with the variables of a model; nothing is set yet.

    Args:
        model: A flat Keras model.
        stored: The content of the file.
        mappings: How files of other libraries name the layers.
        network: The layers of the complete network.

    Returns:
        The report, and each variable with the array to set.

    Raises:
        ValueError: The file has no layer of the network, or normalizes pixels otherwise, or the model is not flat.
    """
    metadata = getattr(model, "metadata", {})
    prefix = metadata.get("spec", {}).get("prefix", "")
    layers = {layer.name.removeprefix(prefix): layer for layer in _iterate_layers(model)}
    naming = recognize_naming(stored, mappings, network.names or tuple(layers), prefix)
    rescale = _read_rescale(metadata)
    naming = _drop_normalization(naming, rescale)
    other_head = _find_other_head(stored, naming, network)
    if len(other_head) == len(network.main_head) == 1:
        naming = replace(naming, names={**naming.names, network.main_head[0]: other_head[0]})
    matcher = _Matcher(stored, naming, network, _find_first_kernel(layers), rescale)
    pairs = [pair for name, layer in layers.items() for pair in matcher.match_layer(name, layer)]
    assignments = [(variable, array) for _, variable, array in pairs if array is not None]
    return _report(naming, network, tuple(match for match, _, _ in pairs), layers, other_head), assignments


def _read_rescale(metadata: Mapping[str, Any]) -> Rescale:
    """How a model scales pixels; alike in all channels where that is not known, as of a plugin's own op."""
    value = metadata.get("rescale")
    return from_json_value(value) if isinstance(value, Mapping) and value.get("op") == "Rescale" else Rescale()


def _drop_normalization(naming: "LayerNaming", rescale: Rescale) -> "LayerNaming":
    """The naming without Keras' layer that normalizes pixels, which must do what the network's own scaling does.

    The files of EfficientNet in keras.applications have the deviation in place of the variance.
    """
    if naming.mapping is None or not naming.mapping.normalization:
        return naming
    layers = dict(naming.layers)
    for layer in naming.layers:
        if re.fullmatch(r"normalization(_\d+)?", layer):
            mean, variance = (np.ravel(array) for array in list(layers.pop(layer).values())[:2])
            scale, offset = _scales_and_offsets(rescale, len(mean))
            deviation = 1 / (255 * scale)
            is_same = [np.allclose(variance, expected, rtol=0.01) for expected in (deviation, deviation**2)]
            if not (any(is_same) and np.allclose(mean, -offset * deviation, atol=1e-3)):
                raise ValueError(
                    f"its layer {layer!r} has mean {mean.round(3).tolist()} and variance {variance.round(3).tolist()} "
                    f"of pixels 0..1; this network normalizes by mean {(-offset * deviation).round(3).tolist()} and "
                    f"standard deviation {deviation.round(3).tolist()}"
                )
    return replace(naming, layers=layers)


def _find_other_head(stored: StoredWeights, naming: "LayerNaming", network: NetworkLayers) -> tuple[str, ...]:
    """The head of a Keras file in place of the network's: dense layers beside a backbone, as fine-tuning adds them."""
    names = {naming.names.get(layer, layer) for layer in network.names or naming.names}
    has_own = any(naming.names.get(layer, layer) in naming.layers for layer in network.head)
    rest = [layer for layer in naming.layers if layer not in names]
    axes = [array.ndim for layer in rest for array in naming.layers[layer].values()]
    is_dense = stored.kind == "keras" and max(axes, default=0) == 2
    return tuple(rest) if is_dense and not has_own else ()


@dataclass(frozen=True)
class _Matcher:
    stored: StoredWeights
    naming: "LayerNaming"
    network: NetworkLayers
    first_kernel: Any  # the variable that sees the channels of the image
    rescale: Rescale  # how these are scaled

    def match_layer(self, name: str, layer: Any) -> Iterator[tuple[TensorMatch, Any, np.ndarray | None]]:
        """For each variable of a layer: the record, the variable, and the array to set or None."""
        source = self.naming.names.get(name, name)
        arrays = self.naming.layers.get(source, {})
        for number, variable in enumerate(layer.weights):
            target = f"{name}/{variable.name}"
            key = _find_key(self.stored, arrays, variable.name, number, len(layer.weights))
            if key is None:
                yield self._match_nothing(name, target, source, bool(arrays)), variable, None
                continue
            stored = self._to_keras_axes(arrays[key], layer, variable)
            array, status, reason = self._fit(name, variable, stored)
            yield TensorMatch(target, f"{source}/{key}", status, reason), variable, array

    def _match_nothing(self, name: str, target: str, source: str, has_layer: bool) -> TensorMatch:
        network, names = self.network, self.naming.names
        file_has_head = any(names.get(layer, layer) in self.naming.layers for layer in network.head)
        if network.is_head_new and name in network.head and not file_has_head:
            return TensorMatch(target, None, "adapted", "a new head: the file has none")
        variable = target.rpartition("/")[2]
        reason = f"{source!r} has no {variable}" if has_layer else f"the file has no {source!r}"
        return TensorMatch(target, None, "missing", reason)

    def _fit(self, name: str, variable: Any, array: np.ndarray) -> tuple[np.ndarray | None, str, str]:
        """The array to set or None, the status, and its reason."""
        is_classifier, shape = name in self.network.classifiers, tuple(variable.shape)
        if is_classifier and self.network.keeps_classifier:
            return None, "adapted", "a new head, as requested"
        how = ""
        if array.shape != shape and variable is self.first_kernel:
            array, how = adapt_channels(array, shape, self.rescale)
        if array.shape == shape:
            return array, "adapted" if how else "matched", how
        if is_classifier and array.shape[:-1] == shape[:-1]:
            return None, "adapted", f"a new head: {array.shape[-1]} classes in the file, {shape[-1]} here"
        return None, "missing", f"{array.shape} in the file, {shape} here"

    def _to_keras_axes(self, array: np.ndarray, layer: Any, variable: Any) -> np.ndarray:
        array = _transpose(array, layer, variable, self.stored.kind)
        mapping = self.naming.mapping
        is_bgr = mapping is not None and mapping.bgr and variable is self.first_kernel
        return array[:, :, ::-1] if is_bgr else array


def _find_first_kernel(layers: Mapping[str, Any]) -> Any:
    """The kernel of the first convolution."""
    first = next((layer for layer in layers.values() if hasattr(layer, "kernel_size")), None)
    return next((variable for variable in first.weights if variable.name == "kernel"), None) if first else None


def _report(
    naming: "LayerNaming",
    network: NetworkLayers,
    tensors: tuple[TensorMatch, ...],
    layers: Mapping[str, Any],
    other_head: Sequence[str],
) -> LoadReport:
    """The report, with the tensors of the file that no variable takes."""
    names = naming.names
    absent = {names.get(layer, layer) for layer in network.names} - {names.get(layer, layer) for layer in layers}
    if network.is_head_new or not layers.keys() & set(network.head):
        absent |= set(other_head)
    taken = {match.source for match in tensors}
    rest = [
        (layer, f"{layer}/{key}")
        for layer, arrays in naming.layers.items()
        for key in arrays
        if f"{layer}/{key}" not in taken
    ]
    return LoadReport(
        mapping=naming.name,
        tensors=tensors,
        unexpected=tuple(tensor for layer, tensor in rest if layer not in absent),
        unused=tuple(tensor for layer, tensor in rest if layer in absent),
    )


def _iterate_layers(model: Any) -> Iterator[Any]:
    """Layers that have weights, in the order in which the outputs are followed back."""
    seen: set[int] = set()
    for tensor in topological_order(*model.outputs, sources=producers):
        layer = operation(tensor)
        if id(layer) not in seen and getattr(layer, "weights", None):
            seen.add(id(layer))
            if getattr(layer, "layers", None):
                raise ValueError(f"{model.name!r} is not flat: {layer.name!r} is a nested model")
            yield layer


@dataclass(frozen=True)
class LayerNaming:
    """The naming under which a file has the most layers of a network.

    Attributes:
        name: "kcnn", or a key of the architecture's `weight_mappings`.
        mapping: The mapping; None for kcnn's own names.
        layers: Arrays by layer and variable, as in the file.
        names: Each of the network's layers by its name in the file.
        hits: Number of layers that the file has.
    """

    name: str
    mapping: WeightMapping | None
    layers: Mapping[str, Arrays]
    names: Mapping[str, str]
    hits: int


def recognize_naming(
    stored: StoredWeights, mappings: Mapping[str, WeightMapping], layers: Sequence[str], prefix: str
) -> LayerNaming:
    """Return how a file names the layers of a network.

    Args:
        stored: The content of the file.
        mappings: How files of other libraries name the layers.
        layers: The layers with weights of the network, in order.
        prefix: Prefix of the model's layers.

    Raises:
        ValueError: The file has none of the layers.
    """
    own = {layer: layer if layer in stored.layers else prefix + layer for layer in layers}
    best = LayerNaming("kcnn", None, stored.layers, own, sum(name in stored.layers for name in own.values()))
    for name, mapping in mappings.items():
        naming = _apply_mapping(name, mapping, stored, layers)
        if naming and naming.hits > best.hits:
            best = naming
    if not best.hits:
        first = ", ".join(list(stored.layers)[:4]) or "nothing"
        raise ValueError(
            f"it has {first}, ..., and no layer of this network (which has {', '.join(layers[:3])}, ...) "
            f"by the names of {', '.join(['kcnn', *mappings])}"
        )
    return best


def _apply_mapping(
    name: str, mapping: WeightMapping, stored: StoredWeights, layers: Sequence[str]
) -> LayerNaming | None:
    """The naming of one mapping; None where it knows no name for a layer that the network has by its options."""
    try:
        candidates = mapping.names(layers)
    except (LookupError, ValueError):
        return None
    tuples = {layer: (names,) if isinstance(names, str) else names for layer, names in candidates.items()}
    arrays = stored.count_from_zero() if mapping.numbered else stored.layers
    arrays = _split_separable(arrays, {choice for choices in tuples.values() for choice in choices})
    names = {}
    for layer, choices in tuples.items():
        names[layer] = next((choice for choice in choices if choice in arrays), choices[0])
    return LayerNaming(name, mapping, arrays, names, sum(choice in arrays for choice in names.values()))


def _split_separable(layers: Mapping[str, Arrays], named: Set[str]) -> dict[str, Arrays]:
    """The layers, with Keras' separable convolutions that no name means as X_depthwise and X_pointwise."""
    split: dict[str, Arrays] = {}
    for layer, arrays in layers.items():
        if layer in named or not set(SEPARABLE[:2]) <= set(arrays):
            split[layer] = arrays
            continue
        depthwise, pointwise, *bias = arrays.values()
        split[f"{layer}_depthwise"] = {"kernel": depthwise}
        split[f"{layer}_pointwise"] = dict(zip(CONVOLUTION, (pointwise, *bias), strict=False))
    return split


def _find_key(stored: StoredWeights, arrays: Mapping[str, Any], variable: str, number: int, count: int) -> str | None:
    """The file's name of a variable of a layer; None where it has none."""
    if variable in arrays:
        return variable
    if stored.kind == "torch":
        for names in (CONVOLUTION, NORMALIZATION):
            if variable in names:
                key = TORCH[names.index(variable)]
                if key in arrays:
                    return key
    if len(arrays) == count == 1:  # of one variable, such as a layer scale: libraries name it as they like
        return next(iter(arrays))
    by_number = f"#{number}"
    return by_number if by_number in arrays and len(arrays) == count else None


def _transpose(array: np.ndarray, layer: Any, variable: Any, kind: str) -> np.ndarray:
    """An array with its axes as Keras has them."""
    if variable.name != "kernel":
        return array.reshape(-1) if array.ndim > 1 and array.size == max(array.shape) else array
    if kind == "torch" and array.ndim == 4:
        is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        array = array.transpose((2, 3, 0, 1) if is_depthwise else (2, 3, 1, 0))
    elif kind == "torch" and array.ndim == 2:
        array = _reorder_flattened(array, layer).T
    if kind == "keras" and isinstance(layer, keras.layers.DepthwiseConv2D) and array.shape[2:3] == (1,):
        array = array.transpose(0, 1, 3, 2)  # a convolution with a group for each channel
    axes = len(variable.shape)  # a dense layer and a 1x1 convolution have the same weights
    if (array.ndim, axes) == (4, 2) and array.shape[:2] == (1, 1):
        return array[0, 0]
    return array[None, None] if (array.ndim, axes) == (2, 4) else array


def _reorder_flattened(array: np.ndarray, layer: Any) -> np.ndarray:
    """(units, features) for a map that was flattened channels last, where PyTorch flattens channels first."""
    map_shape = _find_flattened_map(layer)
    if map_shape is None or array.shape[1] != np.prod(map_shape):
        return array
    rows, columns, channels = map_shape
    return array.reshape(-1, channels, rows, columns).transpose(0, 2, 3, 1).reshape(array.shape)


def _find_flattened_map(layer: Any) -> tuple[int, ...] | None:
    """The shape that a dense layer's input had, where only a Flatten and layers without weights lie between."""
    tensor = layer.input
    while True:
        source = operation(tensor)
        if isinstance(source, keras.layers.Flatten):
            return tuple(source.input.shape[1:])
        inputs = producers(tensor)
        if len(inputs) != 1 or getattr(source, "weights", None):
            return None
        tensor = inputs[0]


def adapt_channels(array: np.ndarray, shape: tuple[int, ...], rescale: Rescale) -> tuple[np.ndarray, str]:
    """Adapt the first kernel to another number of input channels, so that a gray image gives what it gave before.

    Each of more channels takes one of the file's in turn, divided by how often that is taken. Each of fewer takes
    the sum of every n-th. Where channels are scaled each by its own values, the least change is added that keeps both
    the sum of the scaled slices and that of the offsets: then borders, which are padded with zeros after the scaling,
    are kept as well.

    Args:
        array: (rows, columns, channels in the file, filters).
        shape: (rows, columns, channels, filters) of the model's kernel.
        rescale: How the network scales the channels of an image.

    Returns:
        The new kernel and how it was adapted; the old one and "" where more than the channels differ.
    """
    before, after = array.shape[2], shape[2]
    if array.shape[:2] + array.shape[3:] != shape[:2] + shape[3:]:
        return array, ""
    shares = np.zeros((after, before))
    for channel in range(max(after, before)):
        shares[channel % after, channel % before] = 1
    how = f"{before} channels {'summed to' if after < before else 'spread over'} {after}"
    shares /= shares.sum(axis=0)
    theirs, ours = (_scales_and_offsets(rescale, channels) for channels in (before, after))
    if not np.allclose(ours @ shares, theirs):
        shares += np.linalg.pinv(ours) @ (theirs - ours @ shares)
        how += ", by their scaling"
    return np.einsum("mc,rkcf->rkmf", shares, array.astype("float64")).astype(array.dtype), how


def _scales_and_offsets(rescale: Rescale, channels: int) -> np.ndarray:
    """(2, channels): how each channel of an image is scaled."""
    own = rescale.per_channel(channels)
    return np.stack([np.broadcast_to(np.asarray(value, "float64"), channels) for value in (own.scale, own.offset)])
