"""What a drawing is by what it computes, and what it costs: one pass over its layers, each remembered."""

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import Any

from kcnn.graph import shape_inference
from kcnn.graph.graph import Graph
from kcnn.graph.ops import Conv, Depthwise, Pool
from kcnn.graph.shape_inference import Shape, call_cached, dilated_size, padding_amounts, to_pair


@dataclass(frozen=True)
class Costs:
    """What one image takes: trained numbers, multiply-accumulates, and bytes of all layers' outputs in float32."""

    params: int
    macs: int
    activation_bytes: int


def estimate_costs(drawing: Graph) -> tuple[str, Costs]:
    """A name for what a network computes, by its layers as they act on the sizes that they meet; and what it costs.

    The name holds within this process.
    """
    needed = {id(end) for end in drawing.outputs.values()}
    parts: list[Any] = []
    params = macs = outputs = 0
    for x in reversed(drawing.input.context.layers.values()):  # as they were drawn: each behind its inputs
        if id(x) in needed:
            sources = x.inputs
            needed.update(map(id, sources))
            acting, own, multiplied = call_cached(_one, x.op, tuple([source.shape for source in sources]), x.shape)
            params, macs, outputs = params + own, macs + multiplied, outputs + prod(x.shape)
            parts += (x.name, acting, *[source.name for source in sources])
    plan = drawing.architecture
    if plan is not None and plan.keras is not None:  # whose layers may hide what they do
        parts.append(json.dumps(dict(drawing.spec.options) if drawing.spec else {}))
    return str(hash(tuple(parts))), Costs(params, macs, 4 * outputs)


@lru_cache(maxsize=65536)
def _one(op: Any, shapes: tuple[Shape, ...], out: Shape) -> tuple[str, int, int]:
    return (
        _acting(op, shapes, out),
        shape_inference.count_params(op, *shapes),
        shape_inference.count_macs(op, *shapes, out=out),
    )


def _acting(op: Any, shapes: tuple[Shape, ...], out: Shape) -> str:
    """An op as text, its padding as the pixels that it puts around this input, however it is written."""
    if type(op) not in (Conv, Depthwise, Pool) or getattr(op, "count_include_pad", False):
        return f"{op} {shapes}"
    given, strides = shapes[0], to_pair(op.stride)
    kernel = tuple(map(dilated_size, to_pair(op.kernel), to_pair(getattr(op, "dilation", 1))))
    sides = []
    for axis in (0, 1):
        before = padding_amounts(given[axis], kernel[axis], strides[axis], op.padding, axis)[0]
        last = (out[axis] - 1) * strides[axis] + kernel[axis] - before  # pixels of the image up to the last one seen
        sides.append((before, max(0, last - given[axis])))
    kept = replace(op, padding=tuple(sides), kernel=to_pair(op.kernel), stride=strides)
    if not any(map(any, sides)) and hasattr(op, "padding_mode"):
        kept = replace(kept, padding_mode="zeros")
    return f"{kept} {given}"
