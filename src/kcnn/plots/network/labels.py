"""Texts of a figure: the label of a layer's box, and its hover text."""

import re
from functools import partial
from typing import Any

from kcnn.graph import formatting
from kcnn.graph.ops import (
    Activation,
    AdaptivePool,
    Add,
    BatchNorm,
    ChannelShuffle,
    ChannelSlice,
    Concat,
    Conv,
    Dense,
    Depthwise,
    DropPath,
    GlobalPool,
    GlobalResponseNorm,
    GroupNorm,
    LayerNorm,
    LayerScale,
    LocalResponseNorm,
    Multiply,
    Pad,
    Pool,
)
from kcnn.graph.summaries import LayerSummary
from kcnn.graph.windows import to_pair

format_size = partial(formatting.format_size, times="×")
NAMES = {
    Concat: "concat",
    Add: "+",
    Multiply: "×",
    BatchNorm: "batch norm",
    LayerNorm: "layer norm",
    GroupNorm: "group norm",
    GlobalResponseNorm: "global response norm",
    LayerScale: "layer scale",
    LocalResponseNorm: "local response norm",
    DropPath: "drop path",
    Pad: "pad",
}


def label_layer(row: LayerSummary) -> str:
    """Return a layer as papers write it in their figures: 3×3 conv 64, /2."""
    op = row.op
    kind = type(op)
    if op is None:
        return f"input {format_size(row.shape)}"
    if kind is Conv:
        groups = f", {op.groups} groups" if op.groups > 1 else ""
        return f"{format_size(to_pair(op.kernel))} conv {op.filters}{groups}{_format_stride(op)}"
    if kind is Depthwise:
        return f"{format_size(to_pair(op.kernel))} depthwise {row.shape[-1]}{_format_stride(op)}"
    if kind is Pool:
        return f"{format_size(to_pair(op.kernel))} {op.mode} pool{_format_stride(op)}"
    if kind is AdaptivePool:
        return f"average pool to {format_size(to_pair(op.size))}"
    if kind is GlobalPool:
        return f"global {op.mode} pool"
    if kind is Dense:
        return f"dense {op.units}"
    if kind is Concat:
        return f"concat {row.shape[-1]}"
    if kind is ChannelSlice:
        return f"channels {op.start}–{op.start + row.shape[-1] - 1}"
    if kind is ChannelShuffle:
        return f"shuffle {op.groups} groups"
    if kind is Activation:
        return str(op.function).replace("_", " ")
    if kind in NAMES:
        return NAMES[kind]
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", kind.__name__).lower()
    return f"{name} {row.shape[-1]}" if row.params else name


def describe_layer(row: LayerSummary, before: LayerSummary | None = None) -> str:
    """Return name, op, output shape, parameters, MACs and receptive field of a layer, in up to three lines.

    Args:
        row: The layer.
        before: The layer above it in the same text; what is the same there, or zero, is left out.
    """
    non_trainable = f" and {row.non_trainable_params:,} non-trainable" if row.non_trainable_params else ""
    output, params, macs = f"output {format_size(row.shape)}", f"{row.params:,} parameters{non_trainable}", row.macs
    sizes = [output, params, f"{macs:,} MACs"]
    if before:
        known = [before.shape == row.shape, not (row.params or non_trainable), not macs]
        sizes = [text for text, is_known in zip(sizes, known, strict=True) if not is_known]
    lines = [f"{row.name}: {formatting.describe_op(row.op, times='×')}", ", ".join(sizes)]
    if not before or (before.receptive_field, before.stride) != (row.receptive_field, row.stride):
        lines.append(f"receptive field {format_size(row.receptive_field)}, stride {format_size(row.stride)}")
    return "\n".join(filter(None, lines))


def _format_stride(op: Any) -> str:
    stride = to_pair(op.stride)
    return "" if stride == (1, 1) else f", /{formatting.format_pair(stride, '×')}"
