"""A traced network: its symbolic tensors, and the spec that traces it again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from kcnn.graph.arguments import check_keywords
from kcnn.graph.costs import count_params
from kcnn.graph.formatting import format_size
from kcnn.graph.ops import Conv
from kcnn.graph.tracing import SymbolicTensor, topological_order
from kcnn.graph.windows import to_pair

if TYPE_CHECKING:
    from kcnn.architectures.architecture import Architecture
    from kcnn.architectures.spec import ModelSpec

FIGURE = "kcnn.plots.network:plot_network"  # by name: a lower room imports no higher one


@check_keywords
@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Graph:
    """Hold a network as data: its input and output tensors, and the spec that traces it again."""

    name: str
    input: SymbolicTensor
    outputs: Mapping[str, SymbolicTensor]  # logits, probabilities or features, then auxiliary logits; or maps by name
    input_shape: tuple[int | None, ...]  # None for open rows or columns
    spec: "ModelSpec | None" = None  # None for a graph that was read from a Keras model
    architecture: "Architecture | None" = None
    unused_overrides: tuple[str, ...] = ()  # overrides that had no effect
    backbone_output: SymbolicTensor | None = None  # what the architecture's backbone returned

    @property
    def features(self) -> SymbolicTensor:
        """The input of the head: what the backbone returns, or what `find_features` finds where that is unknown."""
        return self.backbone_output or find_features(next(iter(self.outputs.values())))

    @property
    def class_scores(self) -> SymbolicTensor | None:
        """The logits, or the probabilities of an `activation=`; None for a graph that ends in features or layers."""
        return self.outputs.get("logits") or self.outputs.get("probabilities")

    def with_overrides(self, overrides: Mapping[str, Any]) -> "Graph":
        """Trace the network again with layers changed by address, or options changed by name.

        Args:
            overrides: New values, such as {"stage3_unit1_a.stride": 1, "width": 0.5}; earlier overrides remain.

        Returns:
            The new graph; this one is unchanged.

        Raises:
            UnknownNameError: No layer or option has this name.
            ValueError: The graph was read from a Keras model, which has no function to trace; or as from kcnn.trace.
        """
        if self.spec is None:
            raise ValueError(
                f"{self.name} was read from a Keras model and takes no overrides; to override layers, define its "
                "backbone as a kcnn.Architecture"
            )
        return self.spec.with_overrides(overrides).trace()

    def __repr__(self) -> str:
        layers = sum(x.op is not None for x in topological_order(*self.outputs.values()))
        size = format_size(self.input_shape)
        return f"<Graph {self.name}: {layers} layers, input {size}, outputs {', '.join(self.outputs)}>"

    def _repr_svg_(self) -> str:
        return resolve_name(FIGURE)(self)


def find_features(output: SymbolicTensor) -> SymbolicTensor:
    """Return the input of a network's head, as its layers show it.

    It is the last tensor with rows and columns that leads to the output, or in a fully convolutional classifier the
    input of the 1x1 convolution that ends in one map for each class.
    """
    features = [x for x in topological_order(output) if len(x.shape) == 3][-1]
    classifier = find_classifier(output)
    if classifier is None or len(output.shape) != 1 or not isinstance(classifier.op, Conv):
        return features
    is_class_map = (
        to_pair(classifier.op.kernel) == (1, 1) and classifier.op.bias and classifier.shape[2] == output.shape[0]
    )
    return classifier.inputs[0] if is_class_map else features


def find_classifier(output: SymbolicTensor) -> SymbolicTensor | None:
    """Return the output of the last layer with parameters that leads to logits; None where several paths do."""
    x = output
    while x.op is not None and not count_params(x.op, *[source.shape for source in x.inputs]):
        if len(x.inputs) != 1:
            return None
        x = x.inputs[0]
    return x if x.op is not None else None
