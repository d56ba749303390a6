"""The costs of a graph, and an identity of what it computes, in one pass over its layers with a cache."""

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import Any

from kcnn.graph import costs as op_costs
from kcnn.graph.graph import Graph
from kcnn.graph.ops import Conv, Depthwise, Pool
from kcnn.graph.shape_inference import Shape, call_cached
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


def estimate_costs(graph: Graph) -> tuple[str, Costs]:
    """Return an identity of what a network computes, and its costs.

    Layers count as they act on the sizes of their inputs: networks that are written differently and compute the same
    have one identity, which is valid within this process.

    Args:
        graph: The network.

    Returns:
        (identity, costs).
    """
    needed = {id(output) for output in graph.outputs.values()}
    parts: list[Any] = []
    params = macs = outputs = 0
    for x in reversed(graph.input.context.layers.values()):  # in the order of tracing: each follows its inputs
        if id(x) in needed:
            sources = x.inputs
            needed.update(map(id, sources))
            effect, own_params, own_macs = call_cached(_describe_op, x.op, tuple([s.shape for s in sources]), x.shape)
            params, macs, outputs = params + own_params, macs + own_macs, outputs + prod(x.shape)
            parts += (x.name, effect, *[source.name for source in sources])
    architecture = graph.architecture
    if architecture is not None and architecture.keras is not None:  # its layers may hide what they do
        parts.append(json.dumps(dict(graph.spec.options) if graph.spec else {}))
    return str(hash(tuple(parts))), Costs(params, macs, 4 * outputs)


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
