"""What a tensor of a new version of a network has of the values of the old one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kcnn.graph import ops
from kcnn.graph.tracing import SymbolicTensor
from kcnn.weights.alignment import Axis
from kcnn.weights.channel_maps import Arrays, Channels

HERE = (Axis(), Axis())  # rows and columns in their places


@dataclass(frozen=True)
class Carried:
    """What a tensor of the new network has of the old one's values.

    Attributes:
        tensor: The tensor of the old network; None for new values alone.
        channels: The old channel of each channel; -1 for none.
        axes: Where rows and columns have the old positions.
        holds: Whether the values are those of the old network; otherwise the layers correspond, and compute another
            function.
        edits: Weights of new layers with which this is so, by layer and variable.
    """

    tensor: SymbolicTensor | None
    channels: Channels
    axes: tuple[Axis, Axis] = HERE
    holds: bool = False
    edits: Mapping[str, Arrays] = field(default_factory=dict)

    @property
    def is_here(self) -> bool:
        """Whether rows and columns have the old positions in their places."""
        return self.axes == HERE


def carries(one: SymbolicTensor, other: SymbolicTensor) -> bool:
    """Return whether two tensors of a network have the same values in inference."""
    return skip_dropout(one) is skip_dropout(other)


def skip_dropout(x: SymbolicTensor) -> SymbolicTensor:
    """Return the tensor before dropout, stochastic depth and linear activations, which change nothing in inference."""
    while is_passing(x.op):
        x = x.inputs[0]
    return x


def is_passing(op: Any) -> bool:
    """Return whether an op returns its input in inference."""
    return isinstance(op, ops.Dropout | ops.DropPath) or op == ops.Activation("linear")
