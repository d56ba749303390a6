"""Boxes of a figure: a convolution with its normalization and activation is one."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from kcnn.graph import shape_inference
from kcnn.graph.graph import Graph
from kcnn.graph.ops import (
    Activation,
    Add,
    BatchNorm,
    Dropout,
    DropPath,
    Flatten,
    GroupNorm,
    LayerNorm,
    LayerScale,
    LeakyRelu,
    Multiply,
    Rescale,
)
from kcnn.graph.summaries import LayerSummary, summarize
from kcnn.graph.tracing import SymbolicTensor, topological_order
from kcnn.plots.network import labels

NORMS = (BatchNorm, GroupNorm, LayerNorm)
FOLDED = {
    *NORMS,
    Activation,
    Dropout,
    DropPath,
    Flatten,
    LayerScale,
    LeakyRelu,
    Rescale,
}  # after another layer they have no box of their own


@dataclass(frozen=True, slots=True)
class Box:
    """Hold layers that are drawn as one box. The first one names it, unless it is a collapsed block."""

    rows: tuple[LayerSummary, ...]
    joins: bool  # whether it has more than one input
    block: str = ""  # the name of a collapsed one

    @property
    def lead(self) -> LayerSummary:
        """The first layer."""
        return self.rows[0]

    @property
    def circle(self) -> bool:
        """A sum or a product, drawn as its sign."""
        return type(self.lead.op) in (Add, Multiply) and not self.block

    @property
    def sums(self) -> bool:
        """A sum, where lines without a layer are shortcuts."""
        return self.circle and type(self.lead.op) is Add

    @property
    def bar(self) -> bool:
        """Anything else that joins branches, drawn as wide as they are."""
        return self.joins and not self.circle and not self.block

    @property
    def label(self) -> str:
        """The text in the box."""
        return self.block or labels.label_layer(self.lead)

    @property
    def channels(self) -> int:
        """Channels of the layer that names it; of a collapsed block, of its output."""
        return (self.rows[-1 if self.block else 0].shape or (1,))[-1]

    @property
    def params(self) -> int:
        """Number of trainable parameters."""
        return sum(row.params for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return sum(row.macs for row in self.rows)


@dataclass(frozen=True, slots=True)
class BoxGraph:
    """Hold boxes by number, in topological order, and the lines between them."""

    boxes: tuple[Box, ...]
    sources: tuple[tuple[int, ...], ...]  # of each box, in the order of its inputs; a box may occur twice
    targets: tuple[tuple[int, ...], ...]  # the same lines by their sources
    outputs: tuple[int, ...]  # the boxes of the network's outputs, in their order


def build_boxes(network: Graph) -> BoxGraph:
    """Return the boxes of a graph, and the lines between them."""
    outputs = tuple(network.outputs.values())
    order, rows = topological_order(*outputs), tuple(summarize(*outputs))
    uses: dict[int, int] = {}
    for tensor in (*(source for x in order for source in x.inputs), *outputs):
        uses[id(tensor)] = uses.get(id(tensor), 0) + 1
    box_of: dict[int, int] = {}
    members: list[list[LayerSummary]] = []
    sources: list[tuple[int, ...]] = []
    joins: list[bool] = []
    for x, row in zip(order, rows, strict=True):
        if (
            len(x.inputs) == 1
            and uses[id(x.inputs[0])] == 1
            and _belongs_to_previous(x, row, joins[box_of[id(x.inputs[0])]])
        ):
            number = box_of[id(x)] = box_of[id(x.inputs[0])]
            members[number].append(row)
            continue
        box_of[id(x)] = len(members)
        members.append([row])
        sources.append(tuple(box_of[id(source)] for source in x.inputs))
        joins.append(len(x.inputs) > 1)
    boxes = tuple(Box(tuple(layers), has_several) for layers, has_several in zip(members, joins, strict=True))
    return BoxGraph(boxes, tuple(sources), invert_edges(sources), tuple(dict.fromkeys(box_of[id(x)] for x in outputs)))


def invert_edges(sources: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """Return the targets of each box, from the sources of each."""
    targets: list[list[int]] = [[] for _ in sources]
    for number, inputs in enumerate(sources):
        for source in inputs:
            targets[source].append(number)
    return tuple(map(tuple, targets))


def _belongs_to_previous(x: SymbolicTensor, row: LayerSummary, joins: bool) -> bool:
    """Return whether a layer is drawn in the box of the previous one; a custom op, where it is pointwise and cheap.

    The normalization of a sum or a concatenation belongs to the block that follows, as in a pre-activated unit.
    """
    if joins and type(x.op) in NORMS:
        return False
    if x.op is None or type(x.op) in shape_inference.SHAPE_RULES:
        return type(x.op) in FOLDED
    shape = x.inputs[0].shape
    pointwise = x.shape == shape and shape_inference.input_window(x.op, shape) is None
    return pointwise and row.macs <= prod(shape)
