"""The catalogue: every installed network with its costs, whether they are as declared, and a page of them."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from kcnn.architectures import plugins, registry
from kcnn.architectures.architecture import Architecture, Weights
from kcnn.architectures.class_names import load_class_names
from kcnn.architectures.descriptions import describe_weights
from kcnn.architectures.determinism import find_unstable_traces
from kcnn.architectures.spec import ModelSpec
from kcnn.architectures.spec import summary as summarize_network
from kcnn.graph.formatting import format_size
from kcnn.graph.graph import Graph
from kcnn.graph.names import unknown
from kcnn.graph.ops import Activation, Pad, Rescale
from kcnn.graph.summaries import Summary

IMPORT_TIMEOUT = 20.0  # seconds for the import of one plugin of many
ADDRESS = re.compile(r"[a-z][a-z0-9_]*")  # of a layer
PROBABILITIES = ("softmax", "sparsemax", "sigmoid", "hard_sigmoid")  # activations
COLUMNS = ("network", "year", "reference", "params", "MACs", "input", "receptive field", "min. input", "weights")


@dataclass(frozen=True)
class CatalogueEntry:
    """Hold one network or variant with its summary at the standard input size."""

    name: str
    architecture: Architecture
    summary: Summary
    min_input_size: int  # pixels a side


def expand_names(
    pattern: str = "*", variants: bool = True, known: Mapping[str, Sequence[str]] | None = None
) -> list[str]:
    """Return the installed names that match a pattern, each followed by its variants.

    Args:
        pattern: A glob; without a `*` it matches anywhere in a name. After "distribution:" it matches the names that
            this distribution publishes, and they are returned with it.
        variants: Whether to list variants. Plugins of other distributions are loaded only where their name matches,
            and one that does not load has no variants.
        known: Variants by network, of those that are not loaded for them.

    Returns:
        The names, sorted.
    """
    prefix, _, pattern = pattern.rpartition(":")
    owner = plugins.normalize_name(prefix)
    glob = pattern if "*" in pattern else f"*{pattern}*"
    bare_glob = glob.partition(".")[0] + ("*" if "." in glob else "")
    names = []
    for bare in registry.list_models():
        if owner and owner not in registry.discover()[bare]:
            continue
        name = f"{owner}:{bare}" if owner else bare
        if not (variants and (registry.is_builtin(bare) or fnmatchcase(bare, bare_glob))):
            family = [name]
        elif name in (known or {}):
            family = [name, *(f"{name}.{variant}" for variant in (known or {})[name])]
        else:
            family = list_variants(name)
        names += [full for full in family if fnmatchcase(full.rpartition(":")[2], glob)]
    return names


def list_variants(name: str) -> list[str]:
    """Return the name of a network and those of its variants; the name alone if it does not load."""
    try:
        variants = load_architecture(name).variants
    except Exception:  # a broken plugin hurts only its own name, and raises where that is requested
        return [name]
    return [name, *(f"{name}.{variant}" for variant in variants)]


def load_architecture(name: str) -> Architecture:
    """Return an architecture, with a time limit on the import of a plugin of another distribution.

    Args:
        name: A network or variant.

    Returns:
        The architecture.

    Raises:
        ImportError: The plugin does not load in time, or at all.
        UnknownNameError: There is no such network.
    """
    point, _ = registry.find_entry_point(name)
    owner = registry.find_distribution(point)
    if owner != registry.BUILTIN:
        plugins.load_within(IMPORT_TIMEOUT, point, owner)
    return registry.get_architecture(name)


def make_entry(name: str) -> CatalogueEntry:
    """Return the catalogue's entry of a network or variant. Raises as `load_architecture` and kcnn.trace do."""
    architecture = load_architecture(name)
    size = ModelSpec(network=name).min_input_size()
    if size is None:
        raise ValueError(f"{name}: no square input fits")
    return CatalogueEntry(name, architecture, summarize_network(name), size)


def find_discrepancies(entry: CatalogueEntry) -> Iterator[str]:
    """Check everything that a network's plugin declares.

    Args:
        entry: The network with its summary.

    Yields:
        A text for each declaration that does not hold.
    """
    architecture, summary = entry.architecture, entry.summary
    if architecture.params is None:
        yield f"does not declare params, for comparison with the paper; it has {summary.params:,}"
    elif summary.params != architecture.params:
        yield f"params are {summary.params:,}, declared {architecture.params:,}"
    sizes = list_map_sizes(summary)
    if architecture.macs is None and not architecture.map_sizes and sizes:
        yield f"declares neither macs nor map_sizes, for comparison with the paper; it has map_sizes={sizes}"
    if architecture.map_sizes and sizes != tuple(architecture.map_sizes):
        yield f"map sizes are {sizes}, declared {tuple(architecture.map_sizes)}; check the padding"
    if architecture.macs is not None and abs(summary.macs - architecture.macs) > 1e-3 * architecture.macs:
        yield f"MACs are {summary.macs:,}, declared {architecture.macs:,}"
    field = architecture.receptive_field
    if field is not None and summary.receptive_field != (field, field):
        yield f"the receptive field is {format_size(summary.receptive_field)}, declared {field}"
    if architecture.min_input_size is not None and entry.min_input_size != architecture.min_input_size:
        yield f"the minimum input size is {entry.min_input_size}, declared {architecture.min_input_size}"
    yield from find_invalid_layers(summary)
    yield from find_unstable_traces(entry.name)
    yield from dict.fromkeys(_find_trace_errors(entry))  # each once, whatever the number of channels
    yield from _find_mapping_errors(entry)
    for number, weights in enumerate(architecture.weights):
        for problem in _find_weight_errors(entry, weights):
            yield f"weights {weights.name} (number {number}): {problem}"


def list_map_sizes(summary: Summary) -> tuple[int, ...]:
    """Return the rows of the feature maps of more than one pixel, each size once, in the order of the layers."""
    layers = (row for row in summary if row.op is not None and not isinstance(row.op, Rescale | Pad))
    return tuple(dict.fromkeys(row.shape[0] for row in layers if len(row.shape) == 3 and row.shape[0] > 1))


def find_invalid_layers(summary: Summary) -> Iterator[str]:
    """Find the names of layers that an address cannot match.

    Args:
        summary: The summary of a network.

    Yields:
        A text for a name that occurs twice, and for one with other characters than lowercase letters, digits and "_".
    """
    names = [row.name for row in summary]
    duplicates = {layer for layer in names if names.count(layer) > 1}
    if duplicates:
        yield f"has two layers {min(duplicates)!r}"
    invalid = [layer for layer in names if not ADDRESS.fullmatch(layer)]
    if invalid:
        yield f"has a layer {invalid[0]!r}; use lowercase letters, digits and _, which addresses can match"


def _find_trace_errors(entry: CatalogueEntry) -> Iterator[str]:
    """Trace at the smallest input, with one channel and seven, other classes, and auxiliary classifiers."""
    size = entry.min_input_size
    requests: list[Mapping[str, Any]] = [{"input_shape": (size, size, n), "classes": 3} for n in (1, 7)]
    if entry.architecture.aux:
        requests.append({"aux": True})
    for request in requests:
        try:
            graph = ModelSpec(network=entry.name, **request).trace()
        except ValueError as error:
            yield f"cannot be traced with {request}: {error}"
            continue
        yield from _find_output_errors(graph, request.get("classes", entry.architecture.classes))


def _find_output_errors(graph: Graph, classes: int) -> Iterator[str]:
    """Outputs that are not one logit for each class."""
    for name, x in graph.outputs.items():
        if x.shape != (classes,):
            yield f"output {name!r} has the shape {x.shape} for {classes} classes"
        if isinstance(x.op, Activation) and x.op.function in PROBABILITIES:
            yield f"output {name!r} ends in a {x.op.function}; a head must return logits"


def _find_mapping_errors(entry: CatalogueEntry) -> Iterator[str]:
    """Weight mappings that leave a layer without a name, or give two the same."""
    graph = ModelSpec(network=entry.name, aux=bool(entry.architecture.aux)).trace()
    layers = [layer.name for layer in summarize_network(graph) if layer.params or layer.non_trainable_params]
    for name, mapping in entry.architecture.weight_mappings.items():
        try:
            names = mapping.names(layers)
        except Exception as error:
            yield f"weight mapping {name} fails: {type(error).__name__}: {error}"
            continue
        choices = (names.get(layer, "") for layer in layers)
        firsts = [choice if isinstance(choice, str) else choice[0] for choice in choices]
        if "" in firsts:
            yield f"weight mapping {name} has no name for {layers[firsts.index('')]}"
        elif len(set(firsts)) < len(firsts):
            twice = next(first for first in firsts if firsts.count(first) > 1)
            yield f"weight mapping {name} names two layers {twice}"


def _find_weight_errors(entry: CatalogueEntry, weights: Weights) -> Iterator[str]:
    url = urlsplit(weights.url)
    if url.scheme not in ("https", "http", "file") or not url.path.rpartition("/")[2]:
        yield f"{weights.url!r} is not an https, http or file URL of a file"
    mappings = ["kcnn", *entry.architecture.weight_mappings]
    if weights.mapping not in mappings:
        yield str(unknown("weight mapping", weights.mapping, mappings))
    if weights.top and len(load_class_names(weights.classes)) != entry.architecture.classes:
        yield f"{len(load_class_names(weights.classes))} class names for {entry.architecture.classes} classes"
    if weights.accuracy is not None and not (0 < weights.accuracy < 100 and weights.citation):
        yield f"accuracy must be a percentage with a citation, got {weights.accuracy!r}"
    if not 0 < weights.crop <= weights.resize:
        yield f"crop {weights.crop} exceeds resize {weights.resize}"
    try:
        ModelSpec(network=entry.name, options=weights.options).trace()
    except ValueError as error:
        yield f"cannot be traced with its options: {error}"


def render_catalogue() -> str:
    """Return the catalogue of the builtin networks as a page in Markdown."""
    lines = [
        "---",
        "hide: [toc]  # its tables need the width",
        "---",
        "",
        "# Catalogue of networks",
        "",
        "This page lists every network that kcnn publishes. Parameters are trainable, at the standard input size and",
        "number of classes. MACs are multiply-accumulates for one image. The receptive field is that of the last",
        "feature map; it and the minimum input size are in pixels a side (squeeze-and-excitation sees the entire",
        "image).",
        "A name without a suffix is the network of the paper. To see how a variant differs, run",
        "`kcnn diff resnet50 resnet50.keras`. Accuracies are top-1 on the ImageNet validation set, as cited by the",
        "publisher of the pretrained weights, or by the source in parentheses; kcnn has not measured them.",
        "`make catalogue` writes this page.",
    ]
    module = ""
    for name in _names_by_family():
        point, _ = registry.find_entry_point(f"{registry.BUILTIN}:{name}")
        if point.module != module:
            module = point.module
            title = (sys.modules[module].__doc__ or module).strip().splitlines()[0].rstrip(".")
            lines += ["", f"## {title}", "", f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
        lines.append(f"| {' | '.join(_cells(name, make_entry(f'{registry.BUILTIN}:{name}')))} |")
    return "\n".join(lines) + "\n"


def _names_by_family() -> list[str]:
    """List the builtin networks and variants, by the first year of their family, then in the published order."""
    builtin = [name for name, points in registry.discover().items() if registry.BUILTIN in points]
    names = [full.partition(":")[2] for name in sorted(builtin) for full in list_variants(f"{registry.BUILTIN}:{name}")]
    order = list(registry.discover())
    modules = {name: registry.find_entry_point(f"kcnn:{name}")[0].module for name in names}
    first: dict[str, int] = {}
    for name in names:
        year = registry.get_architecture(f"kcnn:{name.partition('.')[0]}").year or 9999
        first[modules[name]] = min(first.get(modules[name], 9999), year)
    return sorted(names, key=lambda name: (first[modules[name]], modules[name], order.index(name.partition(".")[0])))


def _cells(name: str, entry: CatalogueEntry) -> tuple[str, ...]:
    architecture, summary = entry.architecture, entry.summary
    return (
        f"`{name}`",
        str(architecture.year or ""),
        architecture.reference,
        f"{summary.params:,}",
        f"{summary.macs:,}",
        format_size(architecture.input_shape),
        str(summary.receptive_field[0]),
        str(entry.min_input_size),
        "; ".join(describe_weights(architecture).values()),
    )


if __name__ == "__main__":
    print(render_catalogue(), end="")
