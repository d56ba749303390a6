"""Summaries of graphs, layer by layer: shapes, costs, receptive fields, stages. Integers only."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from kcnn.graph import costs as op_costs
from kcnn.graph import shape_inference
from kcnn.graph.arguments import check_keywords
from kcnn.graph.formatting import describe_op, format_count, format_pair, format_size, format_table
from kcnn.graph.names import unknown_layer
from kcnn.graph.shape_inference import Shape
from kcnn.graph.tracing import SymbolicTensor, topological_order
from kcnn.graph.windows import WHOLE_INPUT, Pair, Window

COLUMNS = ("layer", "op", "output shape", "params", "MACs", "receptive field", "stride")
LEFT = ("layer", "op")
NAMED = 5  # layers in one line


@dataclass(frozen=True, slots=True)
class LayerSummary:
    """Describe one layer: shape, costs and receptive field. Pairs are (rows, columns) in pixels of the image."""

    name: str
    op: Any
    shape: Shape  # of the output, without the batch
    params: int  # trainable
    non_trainable_params: int  # moving statistics
    macs: int  # multiply-accumulates for one image
    receptive_field: Pair  # of one output position
    stride: Pair  # between the receptive fields of neighboring positions
    offset: Pair  # of the first pixel of the first receptive field; negative in the padding

    @property
    def stage(self) -> int:
        """The stage: k for a stride of 2**k."""
        return max(self.stride).bit_length() - 1


@check_keywords
@dataclass(frozen=True, repr=False)
class Summary:
    """Describe a network: a LayerSummary for each layer, inputs first, and totals. Print it to see a table."""

    layers: tuple[LayerSummary, ...]
    title: str = ""
    details: Callable[[], Mapping[str, str]] | None = field(default=None, compare=False)  # lines below the table

    def __iter__(self) -> Iterator[LayerSummary]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, key: str | int) -> LayerSummary:
        if isinstance(key, int):
            return self.layers[key]
        for layer in self.layers:
            if layer.name == key:
                return layer
        raise unknown_layer(key, [layer.name for layer in self.layers], self.title)

    @property
    def params(self) -> int:
        """Number of trainable parameters."""
        return sum(layer.params for layer in self.layers)

    @property
    def non_trainable_params(self) -> int:
        """Number of parameters that training updates without gradients: moving statistics."""
        return sum(layer.non_trainable_params for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image; a lower bound where layers are `uncounted`."""
        return sum(layer.macs for layer in self.layers)

    @property
    def features(self) -> LayerSummary:
        """The last layer that has rows and columns."""
        return [layer for layer in self.layers if len(layer.shape) == 3][-1]

    @property
    def receptive_field(self) -> Pair:
        """The receptive field of the features, in pixels."""
        return self.features.receptive_field

    @property
    def stride(self) -> Pair:
        """The stride of the features, in pixels."""
        return self.features.stride

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Names of layers whose multiply-accumulates are unknown, so that `macs` is a lower bound."""
        return tuple(layer.name for layer in self.layers if not getattr(layer.op, "macs_known", True))

    def __str__(self) -> str:
        """Return a table of the layers, and the totals below it."""
        totals = self._totals()
        width = max(map(len, totals)) + 2
        lines = []
        for name, text in totals.items():
            first, *more = text.split("\n")
            lines += [f"{name.ljust(width)}{first}", *(" " * width + line for line in more)]
        return "\n".join([format_table(COLUMNS, self._rows(), LEFT), "", *lines])

    def __repr__(self) -> str:
        layers = sum(layer.op is not None for layer in self.layers)  # as a graph counts them: without the input
        return (
            f"<Summary {self.title}: {layers} layers, {format_count(self.params)} params, "
            f"{format_count(self.macs)} MACs>"
        )

    def _repr_html_(self) -> str:
        def cells(texts: Sequence[str], tag: str) -> str:
            aligns = ("left" if column in LEFT else "right" for column in COLUMNS)
            pairs = zip(texts, aligns, strict=True)
            return "".join(f'<{tag} style="text-align:{align}">{escape(text)}</{tag}>' for text, align in pairs)

        rows = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in self._rows())
        totals = "".join(
            f'<tr><th style="text-align:left">{escape(name)}</th>'
            f'<td style="text-align:left;white-space:pre-line">{escape(text)}</td></tr>'
            for name, text in self._totals().items()
        )
        head = f"<thead><tr>{cells(COLUMNS, 'th')}</tr></thead>"
        return f"<table>{head}<tbody>{rows}</tbody></table><table>{totals}</table>"

    def _rows(self) -> Iterator[tuple[str, ...]]:
        for layer in self.layers:
            yield (
                layer.name,
                describe_op(layer.op),
                format_size(layer.shape),
                f"{layer.params:,}" if layer.params else "",
                format_count(layer.macs) if layer.macs else "",
                format_pair(layer.receptive_field),
                format_pair(layer.stride),
            )

    def _name_layers(self, names: Sequence[str]) -> str:
        kinds = {layer.name: getattr(layer.op, "kind", type(layer.op).__name__) for layer in self.layers}
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        return ", ".join(f"{name} ({kinds[name]})" for name in names[:NAMED]) + more

    def _describe_features(self) -> str:
        layer = self.features
        unknown = [one.name for one in self.layers if not getattr(one.op, "window_known", True)]
        if unknown:
            return f"{format_size(layer.shape)}, receptive field unknown behind {self._name_layers(unknown)}"
        field, stride = format_pair(layer.receptive_field), format_pair(layer.stride)
        return f"{format_size(layer.shape)}, receptive field {field}, stride {stride}"

    def _totals(self) -> dict[str, str]:
        maps = any(len(layer.shape) == 3 for layer in self.layers)
        return {
            "network": self.title,
            "params": f"{self.params:,} trainable, {self.non_trainable_params:,} non-trainable",
            "MACs": f"{'at least ' if self.uncounted else ''}{self.macs:,} for an image of "
            f"{format_size(self.layers[0].shape)}",
            **({"not counted": self._name_layers(self.uncounted)} if self.uncounted else {}),
            **({"features": self._describe_features()} if maps else {}),
            **(self.details() if self.details else {}),
        }


def summarize(
    *outputs: SymbolicTensor, title: str = "", details: Callable[[], Mapping[str, str]] | None = None
) -> Summary:
    """Summarize every layer that leads to some tensors.

    Args:
        *outputs: The tensors.
        title: Name of the network.
        details: Function that returns further lines for the table, by heading; called when the summary is printed.

    Returns:
        A LayerSummary for each layer, inputs first.
    """
    layers: dict[int, LayerSummary] = {}
    for x in topological_order(*outputs):
        if x.op is None:
            layers[id(x)] = LayerSummary(x.name, None, x.shape, 0, 0, 0, (1, 1), (1, 1), (0, 0))
            continue
        sources = [layers[id(source)] for source in x.inputs]
        shapes = [source.shape for source in sources]
        receptive_field = _receptive_field(shape_inference.input_window(x.op, *shapes), sources)
        layers[id(x)] = LayerSummary(
            x.name,
            x.op,
            x.shape,
            op_costs.count_params(x.op, *shapes),
            op_costs.count_non_trainable_params(x.op, *shapes),
            op_costs.count_macs(x.op, *shapes, out=x.shape),
            *receptive_field,
        )
    return Summary(tuple(layers.values()), title, details)


def stage_outputs(output: SymbolicTensor) -> dict[int, SymbolicTensor]:
    """Return the last tensor of each stage.

    Args:
        output: The last tensor of the network.

    Returns:
        For each k, the last tensor of stride 2**k that every path to the output passes.
    """
    order = topological_order(output)
    index = {id(x): i for i, x in enumerate(order)}
    last_use = [0] * len(order)
    for i, x in enumerate(order):
        for source in x.inputs:
            last_use[index[id(source)]] = i
    stages, open_until = {}, 0
    for i, (x, layer) in enumerate(zip(order, summarize(output), strict=True)):
        if open_until <= i and len(x.shape) == 3:
            stages[layer.stage] = x
        open_until = max(open_until, last_use[i])
    return stages


def _receptive_field(window: Window | str | None, sources: Sequence[LayerSummary]) -> tuple[Pair, Pair, Pair]:
    """Receptive field, stride and offset of a layer that sees its sources through `window`."""
    first = sources[0]
    size, stride, offset = first.receptive_field, first.stride, first.offset
    if len(sources) > 1:
        offset = tuple(min(s.offset[axis] for s in sources) for axis in (0, 1))  # type: ignore[assignment]
        size = tuple(max(s.offset[axis] + s.receptive_field[axis] for s in sources) - offset[axis] for axis in (0, 1))  # type: ignore[assignment]
    if window is None:
        return size, stride, offset
    if window == WHOLE_INPUT:
        if len(first.shape) != 3:
            return size, stride, offset
        rows, columns = (size[axis] + (first.shape[axis] - 1) * stride[axis] for axis in (0, 1))
        return (rows, columns), stride, offset
    kernel, step, before = window.kernel, window.stride, window.pad_before  # type: ignore[union-attr]
    return (
        (size[0] + (kernel[0] - 1) * stride[0], size[1] + (kernel[1] - 1) * stride[1]),
        (stride[0] * step[0], stride[1] * step[1]),
        (offset[0] - before[0] * stride[0], offset[1] - before[1] * stride[1]),
    )
