"""Boxes of a figure: a convolution with its normalization and activation is one."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from kcnn.graph import shape_inference
from kcnn.graph.graph import Graph
from kcnn.graph.ops import Activation, Add, BatchNorm, Dropout, DropPath, Flatten, Multiply, Rescale
from kcnn.graph.summaries import LayerSummary, summarize
from kcnn.graph.tracing import SymbolicTensor, topological_order
from kcnn.plots.network import labels

FOLDED = {Activation, BatchNorm, Dropout, DropPath, Flatten, Rescale}  # behind another layer they are not worth a box


@dataclass(frozen=True, slots=True)
class Box:
    """Hold layers that are drawn as one box. The first one names it, unless it is a collapsed block."""

    rows: tuple[LayerSummary, ...]
    joins: bool  # more than one tensor comes in
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
    sources: tuple[tuple[int, ...], ...]  # of each box, in the order of its inputs; a box may be there twice
    targets: tuple[tuple[int, ...], ...]  # the same lines from the other side
    outputs: tuple[int, ...]  # the boxes of the network's ends, the first of them first


def build_boxes(network: Graph) -> BoxGraph:
    """Return the boxes of a graph, and the lines between them."""
    ends = tuple(network.outputs.values())
    order, rows = topological_order(*ends), tuple(summarize(*ends))
    uses: dict[int, int] = {}
    for used in (*(source for x in order for source in x.inputs), *ends):
        uses[id(used)] = uses.get(id(used), 0) + 1
    box_of: dict[int, int] = {}
    members: list[list[LayerSummary]] = []
    sources: list[tuple[int, ...]] = []
    joins: list[bool] = []
    for x, row in zip(order, rows, strict=True):
        if len(x.inputs) == 1 and uses[id(x.inputs[0])] == 1 and _small(x, row, joins[box_of[id(x.inputs[0])]]):
            number = box_of[id(x)] = box_of[id(x.inputs[0])]
            members[number].append(row)
            continue
        box_of[id(x)] = len(members)
        members.append([row])
        sources.append(tuple(box_of[id(source)] for source in x.inputs))
        joins.append(len(x.inputs) > 1)
    boxes = tuple(Box(tuple(layers), several) for layers, several in zip(members, joins, strict=True))
    return BoxGraph(boxes, tuple(sources), invert_edges(sources), tuple(dict.fromkeys(box_of[id(end)] for end in ends)))


def invert_edges(sources: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """For each box those that take from it."""
    targets: list[list[int]] = [[] for _ in sources]
    for number, several in enumerate(sources):
        for source in several:
            targets[source].append(number)
    return tuple(map(tuple, targets))


def _small(x: SymbolicTensor, row: LayerSummary, joined: bool) -> bool:
    """Whether a layer is drawn in the box of the one before it; an op from elsewhere where it is pointwise and cheap.

    What normalises a sum or a concatenation belongs to the block that follows, as in a pre-activated unit.
    """
    if joined and type(x.op) is BatchNorm:
        return False
    if x.op is None or type(x.op) in shape_inference.SHAPE_RULES:
        return type(x.op) in FOLDED
    shape = x.inputs[0].shape
    pointwise = x.shape == shape and shape_inference.input_window(x.op, shape) is None
    return pointwise and row.macs <= prod(shape)
