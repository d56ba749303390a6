"""Save the weights of a model, and load weights from any file into a model, strictly and with a report."""

import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kcnn.architectures.architecture import Weights
from kcnn.atomic_io import replace_atomically
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.callers import warn_caller
from kcnn.graph.graph import Graph
from kcnn.graph.names import UnknownNameError
from kcnn.keras_bridge.metadata import restore_spec
from kcnn.weights.hub import OWN, RESCALE
from kcnn.weights.hub_files import LOCAL
from kcnn.weights.network_layers import find_layers
from kcnn.weights.weight_files import (
    WeightsFile,
    check_model,
    collect_tensors,
    describe_misfits,
    find_listed,
    match_file,
    resolve_file,
)

if TYPE_CHECKING:
    from kcnn.weights.matching import LoadReport
    from kcnn.weights.morphing import MorphReport


class PartialWeightsWarning(UserWarning):
    """Warns that weights were set although some do not fit, or another network wrote the file."""


class MorphedWeightsWarning(PartialWeightsWarning):
    """Warn of weights that were morphed for a network with overrides, but not all of them."""


@check_arguments
def save_weights(model: Any, path: str | PathLike[str]) -> None:
    """Save every weight of a flat Keras model, and its metadata where it has any, to a .safetensors file.

    Args:
        model: The model. Each variable becomes one tensor, "layer/variable".
        path: The file. It is replaced only when it is complete.

    Raises:
        ValueError: The model is not flat.
    """
    check_model(model)
    save_tensors(collect_tensors(model), getattr(model, "metadata", {}), path)


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
            warning names the rest. By default it is an error, and weights are morphed for a network that was built with
            overrides: see `morph_weights`.
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
    from kcnn.keras_bridge.keras_graph import finalize_normalization

    check_model(model)
    file = resolve_file(graph, weights)
    report, assignments = match_file(model, graph, file, with_head)
    if strict is None and graph and _has_overrides(model) and (report.missing or report.unexpected):
        return _load_morphed(model, graph, file, with_head)
    _check(model, graph, file, report, strict)
    for variable, array in assignments:
        variable.assign(array)
    finalize_normalization(model)
    _record(model, graph, file, report)
    return report


@check_arguments
def morph_weights(model: Any, weights: str | PathLike[str] = "imagenet", *, head: bool = True) -> "MorphReport":
    """Load weights of another version of a network: of other overrides or options, such as its width or depth.

    Layers are matched by name. Where mathematics allows, the model computes what the network of the file did, up to
    rounding (Net2Net, arXiv:1511.05641; network morphism, arXiv:1603.01670): larger kernels have zeros around the
    old one, channels of a wider layer share the weights of those that they copy, a new layer or residual branch
    computes nothing at first, and a stride is traded for dilation. The report says whether the model computes what the
    file did, and where it does not: after a smaller kernel, a narrower layer, another stride, padding or activation.

    Args:
        model: A model that kcnn built.
        weights: As of `load_weights`.
        head: Whether the classifier is loaded.

    Returns:
        What became of each tensor: kept, morphed, adapted, new.

    Raises:
        FileNotFoundError, ValueError, DownloadError: As from `load_weights`.
    """
    check_model(model)
    graph = trace_metadata(getattr(model, "metadata", {}))
    if graph is None:
        raise ValueError(f"{model.name!r} was not built by kcnn; its versions cannot be compared; use load_weights")
    report = _load_morphed(model, graph, resolve_file(graph, weights), head).morphing
    assert report is not None
    return report


def _load_morphed(model: Any, graph: Graph, file: WeightsFile, with_head: bool) -> "LoadReport":
    from kcnn.weights.versions import load_version, to_load_report

    report = to_load_report(load_version(model, graph, file, with_head))
    assert report.morphing is not None
    head = find_layers(graph, with_head=with_head).head
    rest = [name for name in report.morphing.new if name.rpartition("/")[0] not in head]
    if rest or report.morphing.adapted:
        warn_caller(f"{file.path}: {report.morphing.line}", MorphedWeightsWarning)
    _record(model, graph, file, report)
    return report


def _has_overrides(model: Any) -> bool:
    """Whether a network was built with overrides, except of the scaling of pixels."""
    return any(one not in RESCALE for one in getattr(model, "metadata", {}).get("spec", {}).get("overrides", ()))


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


def _check(model: Any, graph: Graph | None, file: WeightsFile, report: "LoadReport", strict: bool | None) -> None:
    """Raise or warn where a file does not fit, or was trained otherwise."""
    metadata = getattr(model, "metadata", {})
    concerns = [*_compare_metadata(file.metadata, metadata), *_compare_options(file.published, graph)]
    has_misfits = bool(report.missing or report.unexpected)
    if has_misfits:
        concerns.insert(0, describe_misfits(report))
    is_rescaled_alike = file.metadata.get("rescale", metadata.get("rescale")) == metadata.get("rescale")
    is_strict = not _has_overrides(model) if strict is None else strict
    if is_strict and (has_misfits or not is_rescaled_alike):
        raise ValueError(f"{file.path}: {'; '.join(concerns)}{_suggest_new_head(graph, report)}")
    if concerns:
        warn_caller(f"{file.path}: {'; '.join(concerns)}", PartialWeightsWarning)


def _record(model: Any, graph: Graph | None, file: WeightsFile, report: "LoadReport") -> None:
    """Write into a model's metadata whose weights it has and, with their head, their classes and preprocessing."""
    if not getattr(model, "metadata", {}):
        return
    published = file.published or find_listed(graph, file.path)
    facts: dict[str, Any] = {"weights": _describe_source(published, file.path)}
    if _has_classifier(model, report):
        facts |= _describe_classes(published, file.metadata, model.metadata)
    model.update_metadata(**facts)


def _has_classifier(model: Any, report: "LoadReport") -> bool:
    """Whether the weights of the layer that gives the logits come from the file."""
    metadata = model.metadata
    classifier = (metadata.get("classifier") or "logits").removeprefix(metadata["spec"].get("prefix", ""))
    kernel = f"{classifier}/kernel"
    return kernel in report.matched or (report.morphing is not None and kernel in report.morphing.morphed)


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
        facts["preprocessing"] = published.preprocessing
        return {**facts, "classes": load_class_names(published.classes)}
    count = len(metadata["classes"]) if isinstance(metadata["classes"], list) else metadata["classes"]
    return {**facts, "classes": file_metadata.get("classes", count)}


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


def _suggest_new_head(graph: Graph | None, report: "LoadReport") -> str:
    """Where only the head is missing, how to build a model with a new one."""
    head = find_layers(graph, with_head=True).head
    is_only_head = report.missing and all(name.rpartition("/")[0] in head for name in report.missing)
    return "; for a new head, build with top=False or with another number of classes" if is_only_head else ""
