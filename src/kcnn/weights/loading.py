"""Save the weights of a model, and load weights from any file into a model, strictly and with a report."""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kcnn.architectures.architecture import Weights
from kcnn.architectures.registry import get_architecture
from kcnn.architectures.spec import summary, trace
from kcnn.atomic_io import replace_atomically
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import wrong_kind
from kcnn.graph.formatting import join_names
from kcnn.graph.graph import Graph
from kcnn.graph.names import UnknownNameError
from kcnn.graph.tracing import topological_order
from kcnn.keras_bridge.metadata import restore_spec
from kcnn.run_folders import resolve_model
from kcnn.weights.hub import OWN, RESCALE
from kcnn.weights.hub_files import LOCAL
from kcnn.weights.published import download_published, find_published, find_variants

NAMED = 3  # tensors that a message names

if TYPE_CHECKING:
    from kcnn.weights.formats import StoredWeights
    from kcnn.weights.matching import LoadReport, NetworkLayers


class PartialWeightsWarning(UserWarning):
    """Warns that weights were set although some do not fit, or another network wrote the file."""


@check_arguments
def save_weights(model: Any, path: str | PathLike[str]) -> None:
    """Save every weight of a flat Keras model, and its metadata where it has any, to a .safetensors file.

    Args:
        model: The model. Each variable becomes one tensor, "layer/variable".
        path: The file. It is replaced only when it is complete.

    Raises:
        ValueError: The model is not flat.
    """
    _check_model(model)
    save_tensors(collect_tensors(model), getattr(model, "metadata", {}), path)


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


def save_tensors(tensors: Mapping[str, Any], metadata: Mapping[str, Any], path: str | PathLike[str]) -> None:
    """Save arrays by name, and the metadata of their model, to a .safetensors file.

    Args:
        tensors: The arrays, contiguous in memory.
        metadata: The metadata; empty for a model that kcnn did not build.
        path: The file. It is replaced only when it is complete.

    Raises:
        ValueError: The path is that of a folder.
    """
    from safetensors.numpy import save_file

    if Path(path).is_dir():
        raise ValueError(f"path must be a file, got the folder {path}")
    with replace_atomically(path) as temporary:
        save_file(dict(tensors), temporary, {"metadata": json.dumps(metadata)})


def _check_model(model: Any) -> None:
    """Refuse what is no Keras model, without loading Keras."""
    if not hasattr(model, "layers") or not hasattr(model, "weights"):
        raise wrong_kind("model", "a Keras model", model)


@check_arguments
def load_weights(
    model: Any, weights: str | PathLike[str] = "imagenet", *, strict: bool | None = None, head: bool = True
) -> "LoadReport":
    """Load weights into a model, from a file or pretrained ones by name.

    Files are safetensors, .keras, .weights.h5, .h5 or PyTorch's, of kcnn or of a library whose layer names the
    network's plugin maps. A classifier for another number of classes keeps its values. The first kernel is adapted to
    another number of input channels.

    Args:
        model: A flat Keras model.
        weights: The file; the folder of a run, a transfer or a search; or a name such as "imagenet", or "demo".
        strict: Whether anything that does not fit is an error, which sets nothing; otherwise what fits is set and a
            warning names the rest. The default is strict unless the network was built with overrides.
        head: Whether the classifier is loaded.

    Returns:
        What happened to each tensor: matched, adapted, missing, unexpected, unused.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is damaged, has numbers that are not finite, belongs to another network, or does not fit.
        DownloadError: Published weights cannot be downloaded.
    """
    return load_into_graph(model, trace_metadata(getattr(model, "metadata", {})), weights, strict, head)


@check_arguments
def load_into_graph(
    model: Any,
    graph: Graph | None,
    weights: str | PathLike[str] = "imagenet",
    strict: bool | None = None,
    with_head: bool = True,
) -> "LoadReport":
    """Load weights into the model of a graph; otherwise like `load_weights`.

    Args:
        model: A flat Keras model.
        graph: Its graph; without one only files with the model's own layer names are read.
        weights: The file, or a name.
        strict: As of `load_weights`.
        with_head: Whether the classifier is loaded.

    Returns:
        What happened to each tensor.

    Raises:
        FileNotFoundError, ValueError, DownloadError: As from `load_weights`.
    """
    _check_model(model)
    file = _resolve(graph, weights)
    report, assignments = _match(model, graph, file, with_head)
    _check(model, graph, file, report, strict)
    for variable, array in assignments:
        variable.assign(array)
    _record(model, graph, file, report)
    return report


def trace_metadata(metadata: Mapping[str, Any], **changes: Any) -> Graph | None:
    """Trace the network of a model's metadata.

    Args:
        metadata: The metadata.
        **changes: Fields of its spec to replace.

    Returns:
        The graph; None where no plugin publishes the network.
    """
    try:
        spec = restore_spec(metadata)
    except UnknownNameError as error:  # such as an op of a plugin
        raise ValueError(f"cannot read the spec of the model: {error}; pass weights= to kcnn.build instead") from None
    if spec is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an override without effect was reported when the model was built
        return replace(spec, **changes).trace()


@dataclass(frozen=True)
class _File:
    """A file of weights: where it is, what it holds, and whose it is where it is published."""

    path: Path
    stored: "StoredWeights"
    published: Weights | None

    @property
    def metadata(self) -> Mapping[str, Any]:
        return self.stored.metadata


def _resolve(graph: Graph | None, weights: str | PathLike[str]) -> _File:
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
    listed = published or _find_listed(graph, path)
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
    return _File(path, stored, published)


def _find_listed(graph: Graph | None, path: Path) -> Weights | None:
    """The published weights whose file has the name of a file."""
    listed = graph.architecture.weights if graph and graph.architecture else ()
    return next((weights for weights in listed if weights.url.rpartition("/")[2] == path.name), None)


def _remove_head(stored: "StoredWeights", graph: Graph) -> "StoredWeights":
    """The weights of a file that was published for its backbone, whatever its classifier holds."""
    from kcnn.weights.naming import recognize_naming

    assert graph.architecture is not None
    network = _find_layers(graph, with_head=True)
    try:
        naming = recognize_naming(stored, graph.architecture.weight_mappings, network.names, "")
    except ValueError:  # of another network, which is reported where its tensors are matched
        return stored
    head = {naming.names.get(layer, layer) for layer in network.head}
    return replace(stored, layers={layer: arrays for layer, arrays in stored.layers.items() if layer not in head})


def _match(model: Any, graph: Graph | None, file: _File, with_head: bool) -> tuple["LoadReport", list[tuple[Any, Any]]]:
    """Match the tensors of a file; ValueError where none of them fits."""
    from kcnn.weights.matching import match_weights

    mappings = graph.architecture.weight_mappings if graph and graph.architecture else {}
    try:
        report, assignments = match_weights(model, file.stored, mappings, _find_layers(graph, with_head))
        problem = "" if assignments else _describe_misfits(report)
    except ValueError as error:
        problem = str(error)
    if problem:
        raise ValueError(f"{file.path} belongs to another network: {problem}{_suggest_variants(graph, file)}") from None
    return report, assignments


def _check(model: Any, graph: Graph | None, file: _File, report: "LoadReport", strict: bool | None) -> None:
    """Raise or warn where a file does not fit, or was trained otherwise."""
    metadata = getattr(model, "metadata", {})
    concerns = [*_compare_metadata(file.metadata, metadata), *_compare_options(file.published, graph)]
    has_misfits = bool(report.missing or report.unexpected)
    if has_misfits:
        concerns.insert(0, _describe_misfits(report))
    is_rescaled_alike = file.metadata.get("rescale", metadata.get("rescale")) == metadata.get("rescale")
    overrides = (address for address in metadata.get("spec", {}).get("overrides", ()) if address not in RESCALE)
    is_strict = not any(overrides) if strict is None else strict
    if is_strict and (has_misfits or not is_rescaled_alike):
        raise ValueError(f"{file.path}: {'; '.join(concerns)}{_suggest_new_head(graph, report)}")
    if concerns:
        warnings.warn(f"{file.path}: {'; '.join(concerns)}", PartialWeightsWarning, stacklevel=4)


def _record(model: Any, graph: Graph | None, file: _File, report: "LoadReport") -> None:
    """Write into a model's metadata whose weights it has and, with their head, their classes and preprocessing."""
    if not getattr(model, "metadata", {}):
        return
    published = file.published or _find_listed(graph, file.path)
    facts: dict[str, Any] = {"weights": _describe_source(published, file.path)}
    if _has_classifier(model, report):
        facts |= _describe_classes(published, file.metadata, model.metadata)
    model.update_metadata(**facts)


def _has_classifier(model: Any, report: "LoadReport") -> bool:
    """Whether the weights of the layer that gives the logits come from the file."""
    metadata = model.metadata
    classifier = (metadata.get("classifier") or "logits").removeprefix(metadata["spec"].get("prefix", ""))
    return f"{classifier}/kernel" in report.matched


def _describe_source(published: Weights | None, path: Path) -> dict[str, str]:
    if published is None:
        return {"file": path.name}
    facts = {name: getattr(published, name) for name in ("name", "source", "url", "license")}
    return facts | ({"url": ""} if published.url.startswith(LOCAL) else {})  # nobody else has the folder


def _describe_classes(
    published: Weights | None, file_metadata: Mapping[str, Any], metadata: Mapping[str, Any]
) -> dict[str, Any]:
    from kcnn.architectures.class_names import load_class_names

    facts = {name: file_metadata.get(name) for name in ("preprocessing", "multi_label", "thresholds")}
    if published and published.mapping != OWN:
        facts["preprocessing"] = {name: getattr(published, name) for name in ("resize", "crop", "interpolation")}
        return {**facts, "classes": load_class_names(published.classes)}
    count = len(metadata["classes"]) if isinstance(metadata["classes"], list) else metadata["classes"]
    return {**facts, "classes": file_metadata.get("classes", count)}


def _find_layers(graph: Graph | None, with_head: bool) -> "NetworkLayers":
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
    spec = replace(graph.spec, top=True, outputs=(), prefix="")
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


def _compare_metadata(file: Mapping[str, Any], model: Mapping[str, Any]) -> Iterator[str]:
    """How the model that wrote a file differs: its scaling of pixels, its network."""
    if not file or not model:
        return
    if file["rescale"] != model["rescale"]:
        yield f"its pixels were rescaled by {file['rescale']}, this model rescales by {model['rescale']}"
    theirs, ours = (metadata["spec"]["network"].rpartition(":")[2] for metadata in (file, model))
    if theirs != ours:
        yield f"it was written by {theirs}, this model is {ours}"


def _compare_options(published: Weights | None, graph: Graph | None) -> Iterator[str]:
    """Options of a network that differ from those that published weights were trained with."""
    if published is None or graph is None or graph.architecture is None or graph.spec is None:
        return
    defaults = graph.architecture.defaults()
    harmless = {*published.options, "dropout", "drop_path"}
    for option, value in graph.spec.options.items():
        if option not in harmless and value != defaults[option]:
            yield f"it was trained with {option}={defaults[option]!r}, this model has {value!r}"


def _describe_misfits(report: "LoadReport") -> str:
    """What does not fit: the first few of each kind."""
    texts = [f"{len(report.matched)} tensors match"]
    if report.missing:
        texts.append(f"missing {join_names([f'{name} ({reason})' for name, reason in report.missing.items()], NAMED)}")
    if report.unexpected:
        texts.append(f"unexpected {join_names(report.unexpected, NAMED)}")
    return "; ".join(texts)


def _suggest_new_head(graph: Graph | None, report: "LoadReport") -> str:
    """Where only the head is missing, how to build a model with a new one."""
    head = _find_layers(graph, with_head=True).head
    is_only_head = report.missing and all(name.rpartition("/")[0] in head for name in report.missing)
    return "; for a new head, build with top=False or with another number of classes" if is_only_head else ""


def _suggest_variants(graph: Graph | None, file: _File) -> str:
    """The variants of the network whose mappings know most of a file's layers."""
    from kcnn.weights.naming import recognize_naming

    names = []
    for name in find_variants(graph) if graph else []:
        mappings, layers = get_architecture(name).weight_mappings, _weighted_layers(trace(name))
        with suppress(ValueError):
            if mappings and recognize_naming(file.stored, mappings, layers, "").hits > len(layers) / 2:
                names.append(name)
    return f"; it may belong to {' or '.join(names)}" if names else ""
