"""Files of weights: found, read, and matched with a network, before anything is set."""

import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kcnn.architectures.architecture import Weights
from kcnn.architectures.registry import get_architecture
from kcnn.architectures.spec import summary, trace
from kcnn.graph.arguments import wrong_kind
from kcnn.graph.formatting import join_names
from kcnn.graph.graph import Graph
from kcnn.graph.tracing import topological_order
from kcnn.run_folders import resolve_model
from kcnn.weights.published import download_published, find_published, find_variants

if TYPE_CHECKING:
    from kcnn.weights.formats import StoredWeights
    from kcnn.weights.matching import LoadReport, NetworkLayers

NAMED = 3  # tensors that a message names


def collect_tensors(model: Any) -> dict[str, Any]:
    """Return the weights of a flat Keras model as arrays, by "layer/variable".

    Args:
        model: The model.

    Raises:
        ValueError: The model is not flat.
    """
    import numpy as np

    prefix = getattr(model, "metadata", {}).get("spec", {}).get("prefix", "")
    tensors = {
        f"{layer.name.removeprefix(prefix)}/{variable.name}": np.ascontiguousarray(variable.numpy())
        for layer in model.layers
        for variable in layer.weights
    }
    if len(tensors) != len(model.weights):
        raise ValueError(f"{model.name!r} is not flat: some weights have no layer of their own")
    return tensors


def check_model(model: Any) -> None:
    """Refuse what is no Keras model, without loading Keras."""
    if not hasattr(model, "layers") or not hasattr(model, "weights"):
        raise wrong_kind("model", "a Keras model", model)


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights: where it is, what it holds, and whose it is where it is published."""

    path: Path
    stored: "StoredWeights"
    published: Weights | None

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Metadata of the model that kcnn saved; empty for files of other libraries."""
        return self.stored.metadata


def resolve_file(graph: Graph | None, weights: str | PathLike[str]) -> WeightsFile:
    """Find, download and read the file of some weights; ValueError where its numbers are not finite."""
    import numpy as np

    from kcnn.weights.formats import read_weights
    from kcnn.weights.packaged import DEMO, find_packaged

    published = find_published(graph, weights)
    if published:
        path = download_published(published)
    elif weights == DEMO:
        path = find_packaged(graph)
    else:
        path, _ = resolve_model(weights)
    listed = published or find_listed(graph, path)
    stored = read_weights(path)
    if graph and listed and not listed.top:
        stored = _remove_head(stored, graph)
    largest = np.finfo("float32").max  # of a weight: a larger number of float64 would become infinity
    broken = [name for _, name, array in stored.list_tensors() if not (np.abs(array) <= largest).all()]
    if broken:
        raise ValueError(
            f"{path} has numbers that are not finite (NaN or infinity) as float32 in {join_names(broken, NAMED)}; "
            "use a file whose training did not diverge"
        )
    return WeightsFile(path, stored, published)


def find_listed(graph: Graph | None, path: Path) -> Weights | None:
    """The published weights whose file has the name of a file."""
    listed = graph.architecture.weights if graph and graph.architecture else ()
    return next((weights for weights in listed if weights.url.rpartition("/")[2] == path.name), None)


def _remove_head(stored: "StoredWeights", graph: Graph) -> "StoredWeights":
    """The weights of a file that was published for its backbone, whatever its classifier holds."""
    from kcnn.weights.naming import recognize_naming

    assert graph.architecture is not None
    network = find_layers(graph, with_head=True)
    try:
        naming = recognize_naming(stored, graph.architecture.weight_mappings, network.names, "")
    except ValueError:  # of another network, which is reported where its tensors are matched
        return stored
    head = {naming.names.get(layer, layer) for layer in network.head}
    return replace(stored, layers={layer: arrays for layer, arrays in stored.layers.items() if layer not in head})


def match_file(
    model: Any, graph: Graph | None, file: WeightsFile, with_head: bool
) -> tuple["LoadReport", list[tuple[Any, Any]]]:
    """Match the tensors of a file; ValueError where none of them fits."""
    from kcnn.weights.matching import match_weights

    mappings = graph.architecture.weight_mappings if graph and graph.architecture else {}
    try:
        report, assignments = match_weights(model, file.stored, mappings, find_layers(graph, with_head))
        problem = "" if assignments else describe_misfits(report)
    except ValueError as error:
        problem = str(error)
    if problem:
        raise ValueError(f"{file.path} belongs to another network: {problem}{_suggest_variants(graph, file)}") from None
    return report, assignments


def find_layers(graph: Graph | None, with_head: bool) -> "NetworkLayers":
    """The layers with weights of the complete network."""
    from kcnn.weights.matching import NetworkLayers

    if graph is None:
        return NetworkLayers(is_head_new=not with_head, keeps_classifier=not with_head)
    complete = _trace_complete(graph)
    names = _weighted_layers(complete)
    backbone = {x.name for x in topological_order(complete.features)}
    main = {x.name for x in topological_order(next(iter(complete.outputs.values())))}
    has_other_classes = bool(
        graph.architecture and graph.spec and graph.spec.classes not in (None, graph.architecture.classes)
    )
    return NetworkLayers(
        names=names,
        head=tuple(layer for layer in names if layer not in backbone),
        main_head=tuple(layer for layer in names if layer in main - backbone),
        is_head_new=not with_head or has_other_classes,
        keeps_classifier=not with_head,
    )


def _trace_complete(graph: Graph) -> Graph:
    """The network with its head and, where a map has room, its auxiliary classifiers: all that a file may have.

    A smaller input than the nominal one may have no room for them. Names do not depend on the size.
    """
    assert graph.spec is not None
    assert graph.architecture is not None
    own, nominal = graph.input.shape, (*graph.architecture.input_shape[:2], graph.input.shape[2])
    spec = replace(graph.spec, top=True, pooling=None, outputs=(), prefix="")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for aux in (True, False) if graph.architecture.aux else (False,):
            for shape in (own, nominal):
                with suppress(ValueError):  # the map is too small
                    return replace(spec, aux=aux, input_shape=shape).trace()
    return graph


def _weighted_layers(graph: Graph) -> tuple[str, ...]:
    """The layers that have weights, in order."""
    return tuple(layer.name for layer in summary(graph) if layer.params or layer.non_trainable_params)


def describe_misfits(report: "LoadReport") -> str:
    """What does not fit: the first few of each kind."""
    texts = [f"{len(report.matched)} tensors match"]
    if report.missing:
        texts.append(f"missing {join_names([f'{name} ({reason})' for name, reason in report.missing.items()], NAMED)}")
    if report.unexpected:
        texts.append(f"unexpected {join_names(report.unexpected, NAMED)}")
    return "; ".join(texts)


def _suggest_variants(graph: Graph | None, file: WeightsFile) -> str:
    """The variants of the network whose mappings know most of a file's layers."""
    from kcnn.weights.naming import recognize_naming

    names = []
    for name in find_variants(graph) if graph else []:
        mappings, layers = get_architecture(name).weight_mappings, _weighted_layers(trace(name))
        with suppress(ValueError):
            if mappings and recognize_naming(file.stored, mappings, layers, "").hits > len(layers) / 2:
                names.append(name)
    return f"; it may belong to {' or '.join(names)}" if names else ""
