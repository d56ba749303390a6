"""Files of weights: found, read, and matched with a network, before anything is set."""

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
from kcnn.graph.ops import Conv
from kcnn.run_folders import resolve_model
from kcnn.weights.hub import RESCALE
from kcnn.weights.network_layers import find_layers, list_weighted_layers
from kcnn.weights.published import download_published, find_published, find_variants

if TYPE_CHECKING:
    from kcnn.weights.formats import StoredWeights
    from kcnn.weights.matching import LoadReport

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
        f"{layer.name.removeprefix(prefix)}/{variable.name}": np.asarray(variable.numpy(), order="C")
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


def check_weights(graph: Graph, weights: str | PathLike[str]) -> Weights | None:
    """Refuse weights of another network before Keras is loaded; nothing is downloaded.

    Of a file the layers before the head are compared, by name and by count of numbers. Its head is matched when it is
    loaded. Overrides may morph what the file has, so it is not compared with a network that has some.

    Args:
        graph: The network.
        weights: A file, the folder of a run, or a name.

    Returns:
        The published weights that a name means; None for a file.

    Raises:
        ValueError: None are published of this name, or the file is damaged or of another network.
        FileNotFoundError: The file does not exist.
    """
    from kcnn.weights.formats import read_weights
    from kcnn.weights.packaged import DEMO

    published = find_published(graph, weights)
    is_overridden = graph.spec is not None and any(one not in RESCALE for one in graph.spec.overrides)
    if published is not None or weights == DEMO or is_overridden or graph.architecture is None:
        return published
    path, _ = resolve_model(weights)
    stored = read_weights(path)
    if problem := find_misfits(graph, stored):
        source = stored.metadata.get("spec", {}).get("network")
        written = f"; it was written by {source}" if source and source != graph.name else ""
        file = WeightsFile(path, stored, None)
        raise ValueError(f"{path} does not fit {graph.name}: {problem}{written}{_suggest_variants(graph, file)}")
    return None


def find_misfits(graph: Graph, stored: "StoredWeights") -> str:
    """Return which layers before the head a file lacks, or has with other counts of numbers; "" where it has all.

    The first convolution is not counted: it is adapted to the color channels.
    """
    from kcnn.weights.naming import recognize_naming

    assert graph.architecture is not None
    network = find_layers(graph, with_head=True)
    prefix = graph.spec.prefix if graph.spec else ""
    try:
        naming = recognize_naming(stored, graph.architecture.weight_mappings, network.names, prefix)
    except ValueError as error:
        return str(error)
    table, problems = summary(graph), []
    first = next((row.name for row in table if isinstance(row.op, Conv)), None)
    for row in table:
        expected = row.params + row.non_trainable_params
        name = row.name.removeprefix(prefix)
        if not expected or name in network.head:
            continue
        source = naming.names.get(name, name)
        found = sum(array.size for array in naming.layers.get(source, {}).values())
        if not found:
            problems.append(f"{name} (the file has no {source!r})")
        elif found != expected and row.name != first:
            problems.append(f"{name} ({found:,} numbers in the file, {expected:,} here)")
    return join_names(problems, NAMED)


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
        mappings, layers = get_architecture(name).weight_mappings, list_weighted_layers(trace(name))
        with suppress(ValueError):
            if mappings and recognize_naming(file.stored, mappings, layers, "").hits > len(layers) / 2:
                names.append(name)
    return f"; it may belong to {' or '.join(names)}" if names else ""
