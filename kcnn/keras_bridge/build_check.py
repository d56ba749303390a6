"""A network built with Keras, compared with its summary layer by layer."""

from collections.abc import Iterator
from math import prod

from kcnn.graph.summaries import Summary
from kcnn.keras_bridge.building import build


def find_build_discrepancies(network: str, summary: Summary, is_keras_code: bool) -> Iterator[str]:
    """Build a network and yield each layer whose shape or parameters differ from its summary.

    Args:
        network: Its name.
        summary: Its summary at the standard input size.
        is_keras_code: Whether the network exists only as Keras code, where activations may lie inside a layer.

    Yields:
        One text for each layer that differs.
    """
    layers = {layer.name: layer for layer in build(network).layers}
    for row in summary:
        if row.name not in layers and is_keras_code and not row.params:
            continue  # an activation inside a layer, or an operator without a layer
        layer = layers[row.name]
        params, other = (
            sum(prod(w.shape) for w in weights) for weights in (layer.trainable_weights, layer.non_trainable_weights)
        )
        shape = tuple(layer.output.shape[1:])
        if (params, other) != (row.params, row.non_trainable_params) or shape != row.shape:
            yield (
                f"layer {row.name!r} in Keras: output {shape}, params {params:,} and {other:,}; "
                f"expected {row.shape}, {row.params:,} and {row.non_trainable_params:,}"
            )
