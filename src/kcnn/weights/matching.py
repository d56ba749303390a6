"""Which tensor of a file belongs to which variable of a model, with axes in the order that Keras has them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kcnn.architectures.architecture import WeightMapping
from kcnn.architectures.spec_values import from_json_value
from kcnn.graph.arguments import check_keywords
from kcnn.graph.ops import Rescale
from kcnn.graph.tracing import topological_order
from kcnn.keras_bridge.keras_graph import operation, producers
from kcnn.weights.axes import transpose
from kcnn.weights.formats import CONVOLUTION, NORMALIZATION, TORCH, StoredWeights
from kcnn.weights.input_channels import adapt_channels
from kcnn.weights.morphing import MorphReport
from kcnn.weights.naming import LayerNaming, drop_normalization, recognize_naming
from kcnn.weights.network_layers import NetworkLayers


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
        morphing: What became of the tensors of another version of the network; None where the file is of this one.
    """

    mapping: str
    tensors: tuple[TensorMatch, ...] = ()
    unexpected: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    morphing: MorphReport | None = None

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
        if self.morphing:
            return str(self.morphing)
        lines = [f"{len(self.matched)} tensors match (names as in {self.mapping})"]
        for status in ("adapted", "missing"):
            lines += [f"{status} {name}: {reason}" for name, reason in getattr(self, status).items()]
        for status in ("unexpected", "unused"):
            lines += [f"{status} {name}" for name in getattr(self, status)]
        return "\n".join(lines)


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
    naming = drop_normalization(naming, rescale)
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


def _find_other_head(stored: StoredWeights, naming: LayerNaming, network: NetworkLayers) -> tuple[str, ...]:
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
    naming: LayerNaming
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
        array = transpose(array, layer, variable, self.stored.kind)
        mapping = self.naming.mapping
        is_bgr = mapping is not None and mapping.bgr and variable is self.first_kernel
        return array[:, :, ::-1] if is_bgr else array


def _find_first_kernel(layers: Mapping[str, Any]) -> Any:
    """The kernel of the first convolution."""
    first = next((layer for layer in layers.values() if hasattr(layer, "kernel_size")), None)
    return next((variable for variable in first.weights if variable.name == "kernel"), None) if first else None


def _report(
    naming: LayerNaming,
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
