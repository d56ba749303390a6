"""Networks in words: what the summary of one says below its table."""

import dataclasses
from typing import Any

from kcnn.architectures.architecture import Architecture
from kcnn.graph.formatting import describe_op
from kcnn.graph.graph import Graph
from kcnn.graph.tracing import topological_order


def describe_graph(graph: Graph) -> dict[str, str]:
    """Return reference, smallest input, rescaling, options, variants, weights and addresses of a traced network.

    Args:
        graph: A graph from kcnn.trace.

    Returns:
        Texts by heading, in the order in which a summary has them; none for a graph that was read from a Keras model.
    """
    spec, architecture = graph.spec, graph.architecture
    if spec is None or architecture is None:
        return {}
    size = spec.min_input_size()
    options = {**architecture.defaults(), **spec.options}
    return {
        "network": f"{graph.name} ({architecture.reference})",
        "min. input": f"{size}x{size}" if size else "none: no square image fits",
        "rescaling": "in its own Keras code" if architecture.keras else describe_op(architecture.rescale),
        "options": ", ".join(f"{name}={value}" for name, value in options.items()) or "none",
        "variants": ", ".join(f"{graph.name}.{variant}" for variant in architecture.variants) or "none",
        "weights": "; ".join(describe_weights(architecture).values()) or "none",
        **_describe_addresses(graph),
    }


def describe_weights(architecture: Architecture) -> dict[tuple[str, str], str]:
    """Return the pretrained weights by name and license, in words: publisher, accuracy, license.

    Of several files of a name the best accuracy is taken. One that another than the publisher states is followed by its
    source.
    """
    texts: dict[tuple[str, str], str] = {}
    for name, license in dict.fromkeys((weights.name, weights.license) for weights in architecture.weights):
        files = [one for one in architecture.weights if (one.name, one.license) == (name, license)]
        files = [weights for weights in files if weights.top] or files
        best = max(files, key=lambda weights: weights.accuracy or 0)
        accuracy = f"{best.accuracy:g}%" if best.accuracy else "no accuracy cited"
        if best.accuracy and not best.citation.startswith(best.source.partition(".")[0]):
            accuracy += f" ({best.citation})"
        kinds = len({(tuple(weights.options.items()), weights.crop) for weights in files})
        up_to = f"up to {accuracy}, {kinds} widths and sizes" if kinds > 1 else accuracy
        texts[name, license] = f"{name}: {best.source}, {up_to}, {license.partition(',')[0]}"
    return texts


def _describe_addresses(graph: Graph) -> dict[str, str]:
    """A line for each kind of layer: the first of it, and its attributes."""
    if graph.architecture is None or graph.architecture.keras:
        return {"overrides": "none: it exists only as Keras code"}
    kinds: dict[type, tuple[str, Any]] = {}
    for x in topological_order(*graph.outputs.values()):
        if x.op is not None and dataclasses.is_dataclass(x.op) and dataclasses.fields(x.op):
            kinds.setdefault(type(x.op), (x.name, x.op))
    lines = (f"{name}.{{{','.join(field.name for field in dataclasses.fields(op))}}}" for name, op in kinds.values())
    return {"overrides, for example": "\n".join(lines)}
