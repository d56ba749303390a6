"""Tracing: a network as a graph of symbolic tensors, built by the same functions as the Keras model."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from kcnn.graph import shape_inference
from kcnn.graph.formatting import describe_op
from kcnn.graph.names import UnknownNameError
from kcnn.graph.ops import check_fields
from kcnn.graph.overrides import OverrideSet
from kcnn.graph.shape_inference import Shape
from kcnn.graph.windows import InputTooSmallError

if TYPE_CHECKING:
    from kcnn.graph.recording import Recorder

LAYER_NAME = re.compile(r"[\w.-]+", re.ASCII)  # others are no scopes of TensorFlow
MAKE_LAYER = "kcnn.keras_bridge.to_keras:make_layer"  # by name: the graph imports no Keras


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class SymbolicTensor:
    """A tensor without values: its shape without the batch, and the layer and tensors it came from."""

    shape: Shape
    name: str
    op: Any = None
    inputs: tuple["SymbolicTensor", ...] = ()
    context: "TraceContext" = field(default_factory=lambda: TraceContext())

    def __repr__(self) -> str:
        """Return the tensor in one short line: its op without the attributes that have their default values."""
        op = "" if self.op is None else f", {describe_op(self.op)}"
        return f"<SymbolicTensor {self.name!r}: {self.shape}{op}>"


get_shape = vars(SymbolicTensor)["shape"].__get__  # past what a recorded tensor reports
get_context = vars(SymbolicTensor)["context"].__get__


class TraceContext:
    """What the tensors of one trace share: the overrides and the layers so far.

    Args:
        overrides: New values by address.
        prefix: Of the names of layers.
        input_name: Name of the input, which no layer has; "" for a model that was read, with names of its own.
        recorder: Of this trace, a kcnn.graph.recording.Recorder, or None.
    """

    __slots__ = ("input_name", "layers", "overrides", "prefix", "recorder")

    def __init__(
        self,
        overrides: Iterable[tuple[str, Any]] = (),
        prefix: str = "",
        input_name: str = "",
        recorder: "Recorder | None" = None,
    ):
        pairs = list(overrides)
        self.overrides = OverrideSet(pairs) if pairs else None
        self.prefix = prefix
        self.input_name = input_name
        self.recorder = recorder
        self.layers: dict[str, SymbolicTensor] = {}  # by name without the prefix

    @property
    def effective_overrides(self) -> set[str]:
        """Addresses of the overrides that changed a layer."""
        return self.overrides.effective if self.overrides else set()

    def find_unused_overrides(self, addresses: Iterable[str]) -> tuple[str, ...]:
        """Return the addresses that changed no layer.

        Raises:
            UnknownNameError: No layer matches an address, or none that does has its attribute.
        """
        if self.overrides is None:
            return tuple(addresses)
        return self.overrides.find_unused(addresses, {name: x.op for name, x in self.layers.items()})


def apply(op: Any, *inputs: Any, name: str) -> Any:
    """Apply one layer to symbolic tensors, or to Keras tensors.

    Args:
        op: The layer's geometry, such as kcnn.graph.ops.Conv(64).
        *inputs: One or more tensors of one kind.
        name: The layer's name: its address, unique in the network.

    Returns:
        A tensor of the kind of the inputs.

    Raises:
        ValueError: The name is used twice, or names no layer in Keras; or the op does not take these inputs, and the
            message names the layer.
        InputTooSmallError: A larger image may fit.
    """
    if not isinstance(inputs[0], SymbolicTensor):
        return resolve_name(MAKE_LAYER)(op, name)(*inputs)
    context = get_context(inputs[0])
    if not isinstance(name, str) or (context.input_name and not LAYER_NAME.fullmatch(name)):
        raise ValueError(f"a layer name must be of letters, digits, _, - and dots, got {name!r}")
    if name in context.layers or name == context.input_name:
        raise ValueError(f"layer name {name!r} is used twice; names are addresses and must be unique")
    given, recorder = op, context.recorder
    if recorder:
        recorder.add_layer(name, op, inputs)
    if context.overrides:
        op = context.overrides.override(op, name)
    shape = infer_shape(op, list(map(get_shape, inputs)), name, op is not given)
    create = recorder.create_tensor if recorder else SymbolicTensor
    x = context.layers[name] = create(shape, context.prefix + name, op, inputs, context)
    return x


def infer_shape(op: Any, shapes: Sequence[Shape], name: str, overridden: bool) -> Shape:
    """Return the output shape of a layer.

    Args:
        op: The layer's geometry.
        shapes: The shapes of its inputs.
        name: The layer's name, for messages.
        overridden: Whether an override changed the op, which may have given it any value.

    Returns:
        The shape, without the batch.

    Raises:
        ValueError, InputTooSmallError: As from `apply`.
    """
    try:
        if overridden:
            shape_inference.call_cached(check_fields, op)
        return shape_inference.output_shape(op, *shapes)
    except (InputTooSmallError, UnknownNameError) as error:
        raise type(error)(f"layer {name!r}: {error}") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"layer {name!r}: {error}") from None


def decide_by_shapes(function: Callable[..., Any], *tensors: Any) -> Any:
    """Return what a function computes from shapes alone.

    Where a network decides by sizes, as with the stride of a projection, this says what it depends on: a trace with
    other sizes and the same result has the same layers. A search space judges such points without tracing them again.

    Args:
        function: Function of as many shapes as there are tensors; its result has a hash.
        *tensors: Tensors of one kind.

    Returns:
        What it returns.
    """
    if isinstance(tensors[0], SymbolicTensor):
        recorder = get_context(tensors[0]).recorder
        return recorder.observe(function, tensors) if recorder else function(*map(get_shape, tensors))
    return function(*(x.shape for x in tensors))


def topological_order(*outputs: Any, sources: Callable[[Any], Sequence[Any]] = attrgetter("inputs")) -> list[Any]:
    """Return every tensor that leads to some outputs, each once, inputs before outputs.

    Args:
        *outputs: Tensors of any kind.
        sources: Function that returns the tensors that one was computed from; by default its `inputs`.

    Returns:
        The tensors in the order in which they were traced.
    """
    seen: set[int] = set()
    order: list[Any] = []
    stack = [(output, False) for output in reversed(outputs)]
    while stack:
        x, done = stack.pop()
        if done:
            order.append(x)
        elif id(x) not in seen:
            seen.add(id(x))
            stack.append((x, True))
            stack.extend((source, False) for source in reversed(sources(x)))
    return order
