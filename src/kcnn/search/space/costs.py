"""The costs of a graph, and an identity of what it computes, in one pass over its layers with a cache."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

from kcnn.graph import costs as op_costs
from kcnn.graph.graph import Graph
from kcnn.graph.ops import Conv, Depthwise, Pool
from kcnn.graph.shape_inference import Shape, call_cached
from kcnn.graph.tracing import SymbolicTensor
from kcnn.graph.windows import dilated_size, padding_amounts, to_pair


@dataclass(frozen=True)
class Costs:
    """Costs of one image.

    Attributes:
        params: Trainable parameters.
        macs: Multiply-accumulates.
        activation_bytes: Bytes of the outputs of all layers in float32.
    """

    params: int
    macs: int
    activation_bytes: int


class LayerCosts(NamedTuple):
    """What a layer adds to the costs of a network and to its identity.

    Attributes:
        shape: Shape of its output.
        digest: Hash of its name, its inputs' names and its effect, valid within this process.
        params: Trainable parameters.
        macs: Multiply-accumulates.
        values: Number of its outputs.
    """

    shape: Shape
    digest: int
    params: int
    macs: int
    values: int


def estimate_costs(graph: Graph) -> tuple[str, Costs]:
    """Return an identity of what a network computes, and its costs.

    Layers count as they act on the sizes of their inputs: networks that are written differently and compute the same
    have one identity, which is valid within this process.

    Args:
        graph: The network.

    Returns:
        (identity, costs).
    """
    layers = [
        measure_layer(
            x.op, [source.shape for source in x.inputs], x.shape, x.name, [source.name for source in x.inputs]
        )
        for x in find_needed(graph)
    ]
    architecture = graph.architecture
    hidden = ""
    if architecture is not None and architecture.keras is not None:  # its layers may hide what they do
        hidden = json.dumps(dict(graph.spec.options) if graph.spec else {})
    return total_costs(layers, hidden)


def find_needed(graph: Graph) -> list[SymbolicTensor]:
    """Return the tensors of the layers that lead to the outputs of a network, in the order of tracing."""
    needed = {id(output) for output in graph.outputs.values()}
    found = []
    for x in reversed(graph.input.context.layers.values()):  # each follows its inputs
        if id(x) in needed:
            needed.update(map(id, x.inputs))
            found.append(x)
    return found[::-1]


def measure_layer(op: Any, shapes: Sequence[Shape], out: Shape, name: str, sources: Sequence[str]) -> LayerCosts:
    """Return what a layer adds to the costs of a network and to its identity.

    Args:
        op: Its geometry.
        shapes: Shapes of its inputs.
        out: Shape of its output.
        name: Its name.
        sources: Names of its inputs.
    """
    effect, params, macs = call_cached(_describe_op, op, tuple(shapes), out)
    return LayerCosts(out, hash((name, effect, *sources)), params, macs, prod(out))


def total_costs(layers: Sequence[LayerCosts], hidden: str = "") -> tuple[str, Costs]:
    """Return the identity and the costs of a network by its layers, in the order of tracing.

    Args:
        layers: The layers that lead to its outputs.
        hidden: What the layers do not show.
    """
    _, digests, params, macs, values = zip(*layers, strict=True) if layers else ((),) * 5
    return str(hash((digests, hidden))), Costs(sum(params), sum(macs), 4 * sum(values))


@lru_cache(maxsize=65536)
def _describe_op(op: Any, shapes: tuple[Shape, ...], out: Shape) -> tuple[str, int, int]:
    return (
        _describe_effect(op, shapes, out),
        op_costs.count_params(op, *shapes),
        op_costs.count_macs(op, *shapes, out=out),
    )


def _describe_effect(op: Any, shapes: tuple[Shape, ...], out: Shape) -> str:
    """An op as text, its padding in pixels of this input, in whatever form the op has it."""
    if type(op) not in (Conv, Depthwise, Pool) or getattr(op, "count_include_pad", False):
        return f"{op} {shapes}"
    shape, strides = shapes[0], to_pair(op.stride)
    kernel = tuple(map(dilated_size, to_pair(op.kernel), to_pair(getattr(op, "dilation", 1))))
    padding = []
    for axis in (0, 1):
        before = padding_amounts(shape[axis], kernel[axis], strides[axis], op.padding, axis)[0]
        last = (out[axis] - 1) * strides[axis] + kernel[axis] - before  # pixels of the image up to the last one seen
        padding.append((before, max(0, last - shape[axis])))
    normal = replace(op, padding=tuple(padding), kernel=to_pair(op.kernel), stride=strides)
    if not any(map(any, padding)) and hasattr(op, "padding_mode"):
        normal = replace(normal, padding_mode="zeros")
    return f"{normal} {shape}"
