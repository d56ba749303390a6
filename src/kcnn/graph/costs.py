"""Parameters and multiply-accumulates of ops, from the shapes of their inputs.

An op that is not in kcnn.graph.ops has methods of its own: see there.
"""

from math import prod
from typing import Any

from kcnn.graph.ops import BatchNorm, Conv, Dense, Depthwise, GlobalResponseNorm, GroupNorm, LayerNorm, LayerScale
from kcnn.graph.shape_inference import SHAPE_RULES, Shape, call_method
from kcnn.graph.windows import to_pair


def count_params(op: Any, x: Shape, *others: Shape) -> int:
    """Return the number of trainable parameters of an op on inputs of these shapes."""
    match op:
        case Conv():
            return (prod(to_pair(op.kernel)) * (x[2] // op.groups) + op.bias) * op.filters
        case Depthwise():
            return (prod(to_pair(op.kernel)) + op.bias) * x[2]
        case BatchNorm() | LayerNorm() | GroupNorm():
            return (op.scale + op.center) * x[-1]
        case GlobalResponseNorm():
            return 2 * x[-1]
        case LayerScale():
            return x[-1]
        case Dense():
            return (x[0] + op.bias) * op.units
    return 0 if type(op) in SHAPE_RULES else call_method(op, "params", 0, x, *others)


def count_non_trainable_params(op: Any, x: Shape, *others: Shape) -> int:
    """Return the number of parameters that training updates without gradients: moving statistics."""
    if type(op) is BatchNorm:
        return 2 * x[-1]
    return 0 if type(op) in SHAPE_RULES else call_method(op, "non_trainable_params", 0, x, *others)


def count_macs(op: Any, x: Shape, *others: Shape, out: Shape) -> int:
    """Return the multiply-accumulates of an op for one image; `out` is its output shape."""
    match op:
        case Conv():
            return prod(to_pair(op.kernel)) * (x[2] // op.groups) * prod(out)
        case Depthwise():
            return prod(to_pair(op.kernel)) * prod(out)
        case Dense():
            return x[0] * op.units
    return 0 if type(op) in SHAPE_RULES else call_method(op, "macs", 0, x, *others)
