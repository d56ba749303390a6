"""Ops that stand for layers of foreign Keras models, which no body of kcnn applies."""

from dataclasses import dataclass
from typing import Any

from kcnn.graph import costs as op_costs
from kcnn.graph import shape_inference
from kcnn.graph.shape_inference import Shape
from kcnn.graph.windows import WHOLE_INPUT, Window


@dataclass(frozen=True, slots=True)
class Opaque:
    """Stand for a Keras layer without an op.

    Attributes:
        kind: Class name of the layer.
        output: Shape of its output, without the batch.
        trainable_params: Number of trainable parameters.
        moving_params: Number of other parameters.
        cost: Multiply-accumulates for one image; None if they are unknown.
        is_global: Whether every output position sees the entire input.
        window_known: Whether an output position sees its own pixel alone, or the entire input.
    """

    kind: str
    output: Shape
    trainable_params: int = 0
    moving_params: int = 0
    cost: int | None = 0
    is_global: bool = False
    window_known: bool = True

    @property
    def macs_known(self) -> bool:
        """Whether `macs` counts all that the layer computes."""
        return self.cost is not None

    def shape(self, *shapes: Shape) -> Shape:
        """Return the shape of the output."""
        return self.output

    def params(self, *shapes: Shape) -> int:
        """Return the number of trainable parameters."""
        return self.trainable_params

    def non_trainable_params(self, *shapes: Shape) -> int:
        """Return the number of other parameters."""
        return self.moving_params

    def macs(self, *shapes: Shape) -> int:
        """Return the multiply-accumulates that are known."""
        return self.cost or 0

    def window(self, *shapes: Shape) -> str | None:
        """Return WHOLE_INPUT for a layer that sees the entire input, None otherwise."""
        return WHOLE_INPUT if self.is_global else None


@dataclass(frozen=True, slots=True)
class Shared:
    """Stand for a further call of a layer: it computes again, with the parameters that its first call counts."""

    op: Any

    @property
    def macs_known(self) -> bool:
        """Whether `macs` counts all that the layer computes."""
        return getattr(self.op, "macs_known", True)

    @property
    def window_known(self) -> bool:
        """Whether `window` is what the layer sees."""
        return getattr(self.op, "window_known", True)

    def shape(self, *shapes: Shape) -> Shape:
        """Return the shape of the output."""
        return shape_inference.output_shape(self.op, *shapes)

    def macs(self, *shapes: Shape) -> int:
        """Return the multiply-accumulates of this call."""
        return op_costs.count_macs(self.op, *shapes, out=self.shape(*shapes))

    def window(self, *shapes: Shape) -> Window | str | None:
        """Return what one output position sees."""
        return shape_inference.input_window(self.op, *shapes)
