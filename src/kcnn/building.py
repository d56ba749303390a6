"""Build the Keras model of a network: the bridge to Keras and pretrained weights meet here."""

import gc
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from os import PathLike
from typing import Any

import psutil

from kcnn.architectures.architecture import Architecture
from kcnn.architectures.spec import ModelSpec, summary, takes_spec
from kcnn.graph.arguments import check_integer, check_kind
from kcnn.graph.graph import Graph
from kcnn.graph.ops import AdaptivePool, Flatten
from kcnn.graph.summaries import Summary
from kcnn.graph.tracing import topological_order
from kcnn.keras_bridge.backends import check_backend
from kcnn.weights import find_published, load_into_graph
from kcnn.weights.published import resolve_spec


def check_memory(graph: Graph) -> None:
    """Refuse a network whose weights are larger than the memory of this machine, before anything is allocated.

    Args:
        graph: A graph from kcnn.trace.

    Raises:
        ValueError: Its parameters, of four bytes each, do not fit.
    """
    table, memory = summary(graph), psutil.virtual_memory().total
    # A layer of flat values multiplies each by one number, which may be a constant, such as LeNet-5's codes.
    flat = sum(max(row.macs - row.params, 0) for row in table if len(row.shape) == 1)
    needed = 4 * (table.params + table.non_trainable_params + flat)
    if needed > memory:
        raise ValueError(
            f"{graph.name} has {table.params:,} parameters, which take {needed / 1e9:,.0f} GB of memory; this machine "
            f"has {memory / 1e9:,.0f} GB. Choose fewer classes, a smaller input, or smaller options"
        )


@takes_spec
def build(
    network: "str | PathLike[str] | Architecture | ModelSpec | Graph",
    *,
    weights: str | PathLike[str] | None = None,
    seed: int | None = None,
    **keywords: Any,
) -> Any:
    """Build the Keras model of a network.

    Args:
        network: A name ("googlenet.bn"), the address of a checkpoint of timm or kcnn or a preset of KerasHub on the
            Hugging Face Hub ("hf://timm/resnet50.a1_in1k"), a folder that kcnn.publish or KerasHub wrote
            ("local-dir:digits", or a path with a slash), an Architecture, a ModelSpec, or a graph from kcnn.trace.
        weights: Pretrained weights by name ("imagenet"), an address on the Hugging Face Hub
            ("hf://timm/resnet50.a1_in1k"), a file, or the folder of a run: see kcnn.load_weights. Where
            only variants of the network have weights of that name, the one of the highest cited accuracy is built.
        seed: Fixes the initial weights.
        **keywords: Fields of kcnn.ModelSpec, such as `classes`, `input_shape`, `activation`, `top`, `pooling`,
            `overrides`, `aux`, `outputs` and `prefix`, and the network's own options by keyword (`width=0.35`).

    Returns:
        A functional Keras model: pixels 0..255 (batch, rows, columns, channels) in, float32 logits (batch, classes)
        out, so compile it with a loss of logits: keras.losses.SparseCategoricalCrossentropy(from_logits=True). With
        `activation="softmax"` probabilities come out, for loss="sparse_categorical_crossentropy". `top=False` ends in
        the features, `outputs` in the named layers, units or stages.

    Raises:
        UnknownNameError: A network, option, layer, output or name of weights is unknown; the message suggests the
            closest.
        TypeError: An argument is of the wrong kind.
        ValueError: The input is too small, a field has a value that no network takes, or the weights do not fit the
            network, or the machine's memory.
        FileNotFoundError: The weights file does not exist.
    """
    if weights is not None:
        check_kind("weights", weights, str | PathLike, "a name or a file")
    if seed is not None:
        seed = check_integer("seed", seed, 0, "an integer of at least 0")
    if isinstance(network, Graph):
        if keywords:
            raise ValueError(f"{network.name} is traced already; pass {', '.join(keywords)} to kcnn.trace")
        graph = network
    else:
        spec = resolve_spec(network, weights, **keywords)
        graph = (spec if weights is None else replace(spec, weights=None)).trace()
        weights = spec.weights
    if graph.spec is None:
        raise ValueError(f"{graph.name} was read from a Keras model, which exists already; kcnn.build has none to make")
    if weights is None:
        weights = graph.spec.weights
    _check_open_size(graph)
    check_memory(graph)
    if weights is not None:
        find_published(graph, weights)  # unknown weights are refused before Keras is imported

    check_backend()
    from kcnn.keras_bridge.networks import make_network

    with _seed_initializers(seed), _pause_garbage_collection():
        model = make_network(graph)
    if weights is not None:
        load_into_graph(model, graph, weights)
    return model


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


@contextmanager
def _seed_initializers(seed: int | None) -> Iterator[None]:
    """Seed Python's random numbers meanwhile: Keras draws the seed of each initializer from them."""
    state = random.getstate()
    if seed is not None:
        random.seed(seed)
    try:
        yield
    finally:
        if seed is not None:
            random.setstate(state)


@contextmanager
def _pause_garbage_collection() -> Iterator[None]:
    """Collect no garbage meanwhile: thousands of new layers and variables are all in use."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _check_open_size(graph: Graph) -> None:
    """Refuse open rows or columns under a head that flattens them."""
    if None not in graph.input_shape:
        return
    layers = topological_order(*graph.outputs.values())
    flat = next((x for x in layers if type(x.op) is Flatten and type(x.inputs[0].op) is not AdaptivePool), None)
    if flat:
        raise ValueError(
            f"{graph.name}: layer {flat.name!r} flattens its input, so rows and columns cannot stay open; "
            "pass a complete input_shape, or top=False"
        )
