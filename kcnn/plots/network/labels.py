"""What a figure says of a layer: a label for its box, and the lines of its hover text."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from kcnn.graph.ops import (
    Activation,
    AdaptivePool,
    Add,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Depthwise,
    DropPath,
    GlobalPool,
    LocalResponseNorm,
    Multiply,
    Pad,
    Pool,
)
from kcnn.graph.shape_inference import to_pair
from kcnn.graph.summaries import LayerSummary

PLAIN = {
    Concat: "concat",
    Add: "+",
    Multiply: "×",
    BatchNorm: "batch norm",
    LocalResponseNorm: "local response norm",
    DropPath: "drop path",
    Pad: "pad",
}


def label_layer(row: LayerSummary) -> str:
    """A layer as the figures of papers write it: 3×3 conv 64, /2."""
    op = row.op
    kind = type(op)
    if op is None:
        return f"input {format_size(row.shape)}"
    if kind is Conv:
        groups = f", {op.groups} groups" if op.groups > 1 else ""
        return f"{format_size(to_pair(op.kernel))} conv {op.filters}{groups}{_step(op)}"
    if kind is Depthwise:
        return f"{format_size(to_pair(op.kernel))} depthwise {row.shape[-1]}{_step(op)}"
    if kind is Pool:
        return f"{format_size(to_pair(op.kernel))} {op.kind} pool{_step(op)}"
    if kind is AdaptivePool:
        return f"average pool to {format_size(to_pair(op.size))}"
    if kind is GlobalPool:
        return f"global {op.kind} pool"
    if kind is Dense:
        return f"dense {op.units}"
    if kind is Concat:
        return f"concat {row.shape[-1]}"
    if kind is Activation:
        return str(op.kind).replace("_", " ")
    if kind in PLAIN:
        return PLAIN[kind]
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", kind.__name__).lower()
    return f"{name} {row.shape[-1]}" if row.params else name


def describe_layer(row: LayerSummary) -> str:
    """Name, op, output shape, parameters, MACs and receptive field of a layer, in three lines."""
    state = f" and {row.non_trainable_params:,} of moving statistics" if row.non_trainable_params else ""
    return (
        f"{row.name}: {describe_op(row.op)}\n"
        f"output {format_size(row.shape)}, {row.params:,} parameters{state}, {row.macs:,} MACs\n"
        f"receptive field {format_size(row.receptive_field)}, stride {format_size(row.stride)}"
    )


def describe_op(op: Any, times: str = "×") -> str:
    """An op in one line, only what is not as by default: Conv 64, kernel 7, stride 2."""
    if op is None:
        return "image"
    parts = []
    for f in dataclasses.fields(op) if dataclasses.is_dataclass(op) else ():
        value = getattr(op, f.name)
        if value != f.default and f.name != "kernel_initializer":
            text = (
                f"{value:.4g}"
                if isinstance(value, float)
                else format_size(value, times)
                if _sizes(value)
                else str(value)
            )
            text = text if len(text) <= 40 else f"{text[:37]}..."
            parts.append(text if f.name in ("filters", "units", "mode", "function") else f"{f.name} {text}")
    return f"{type(op).__name__} {', '.join(parts)}".strip()


def format_size(sizes: Sequence[int], times: str = "×") -> str:
    """(28, 28, 192) as 28×28×192."""
    return times.join(map(str, sizes))


def format_count(number: float) -> str:
    """4230000 as 4.23 M."""
    for unit, least in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= least:
            return f"{number / least:.3g} {unit}"
    return f"{number:.0f}"


def _step(op: Any) -> str:
    rows, columns = to_pair(op.stride)
    if rows == columns == 1:
        return ""
    return f", /{rows}" if rows == columns else f", /{rows}×{columns}"


def _sizes(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(n, int) for n in value)
