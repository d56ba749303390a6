"""Recordings of traces: the layers, and what the function that was traced saw of their shapes in between.

A network that is traced with other overrides calls the same layers as long as it sees the same: who follows a recording
and compares that alone need not call the function again.
"""

from collections.abc import Callable
from operator import eq, itemgetter
from typing import Any, NamedTuple

from kcnn.graph.shape_inference import Shape
from kcnn.graph.tracing import SymbolicTensor, get_context, get_shape


class Layer(NamedTuple):
    """A layer before overrides; `sources` are numbers of tensors in the order of tracing, the image being 0."""

    name: str
    op: Any
    sources: tuple[int, ...]


class Observation(NamedTuple):
    """What the function saw: the outcome of a function of the shapes of some tensors."""

    function: Callable[..., Any]
    sources: tuple[int, ...]
    outcome: Any


class Recorder:
    """Records one trace.

    Attributes:
        events: Layers and observations in their order.
        is_complete: Whether these events are all that the trace depends on: not where the function read an op, put a
            shape into one, or went on after the error of a layer.
    """

    def __init__(self) -> None:
        self.events: list[Layer | Observation] = []
        self.is_complete = True
        self._is_pending = False  # the last layer has no tensor yet
        self._numbers: dict[int, int] = {}  # of tensors, by id
        self._tensors: list[SymbolicTensor] = []  # keeps the ids unique

    def create_tensor(self, *fields: Any) -> SymbolicTensor:
        """Return a tensor with the fields of a SymbolicTensor, which reports what is read of it."""
        x = ObservedTensor(*fields)
        self._numbers[id(x)] = len(self._tensors)
        self._tensors.append(x)
        self._is_pending = False
        return x

    def add_layer(self, name: str, op: Any, inputs: tuple[SymbolicTensor, ...]) -> None:
        """Record a layer before its shape is inferred."""
        self.is_complete &= not self._is_pending
        self._is_pending = True
        seen = len(self.events)
        try:
            hash(op)  # reads the shapes that it holds
        except TypeError:
            self.is_complete = False
        self.is_complete &= len(self.events) == seen
        self.events.append(Layer(name, op, self._find_numbers(inputs)))

    def observe(self, function: Callable[..., Any], tensors: tuple[SymbolicTensor, ...]) -> Any:
        """Return the outcome of a function of shapes, and record it."""
        outcome = function(*map(get_shape, tensors))
        self.events.append(Observation(function, self._find_numbers(tensors), outcome))
        return outcome

    def note_read(self) -> None:
        """Record that the function read what may differ between traces, and is not compared."""
        self.is_complete = False

    def find_number(self, x: SymbolicTensor) -> int:
        """Return the number of a tensor."""
        return self._numbers[id(x)]

    def _find_numbers(self, tensors: tuple[SymbolicTensor, ...]) -> tuple[int, ...]:
        if any(id(x) not in self._numbers for x in tensors):  # of another trace
            self.is_complete = False
            return ()
        return tuple([self._numbers[id(x)] for x in tensors])


class ObservedTensor(SymbolicTensor):
    """A symbolic tensor that reports what is read of it to the recorder of its trace."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        if name == "shape":
            return ObservedShape(self)
        if name == "op":
            get_context(self).recorder.note_read()
        return object.__getattribute__(self, name)


class ObservedShape(tuple):
    """A shape that reports which of its sizes are read, or the result of a comparison; else all sizes are read."""

    tensor: ObservedTensor

    def __new__(cls, tensor: ObservedTensor) -> "ObservedShape":
        """Return the shape of a tensor."""
        self = super().__new__(cls, get_shape(tensor))
        self.tensor = tensor
        return self

    def __getitem__(self, index: Any) -> Any:
        return self._observe(itemgetter(index))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ObservedShape):
            return self._observe(eq, other.tensor)
        return self._observe(lambda shape: shape == other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __radd__(self, other: Shape) -> Shape:
        return other + self._observe(_copy)

    def _observe(self, function: Callable[..., Any], *others: ObservedTensor) -> Any:
        return get_context(self.tensor).recorder.observe(function, (self.tensor, *others))


def _read_all(name: str) -> Callable[..., Any]:
    def read(self: ObservedShape, *args: Any) -> Any:
        return getattr(self._observe(_copy), name)(*args)

    return read


def _copy(shape: Shape) -> Shape:
    return shape


for _name in (
    *("__add__", "__contains__", "__ge__", "__gt__", "__hash__", "__iter__", "__le__", "__len__", "__lt__", "__mul__"),
    *("__repr__", "__rmul__", "count", "index"),
):
    setattr(ObservedShape, _name, _read_all(_name))
