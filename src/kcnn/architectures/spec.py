"""Requests for networks: ModelSpec, and the functions that trace and summarize one."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property, partial
from os import PathLike
from typing import Any

from kcnn.architectures.architecture import Architecture
from kcnn.architectures.descriptions import describe_graph
from kcnn.architectures.registry import find_unpublished, get_architecture, normalize_network
from kcnn.architectures.sources import Source, find_definition, load_source
from kcnn.architectures.spec_values import from_json_value, is_json, to_json_value
from kcnn.architectures.tracer import POOLING_MODES, ArchitectureError, Tracer, nominal_shape
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_integer, check_keywords, check_kind, check_mapping, wrong_kind, wrong_value
from kcnn.graph.callers import warn_caller
from kcnn.graph.formatting import format_size
from kcnn.graph.graph import Graph
from kcnn.graph.names import find_closest, unknown
from kcnn.graph.overrides import to_builtin
from kcnn.graph.summaries import Summary, summarize
from kcnn.graph.tracing import SymbolicTensor
from kcnn.graph.windows import InputTooSmallError

OUTPUT_ACTIVATION = "softmax"  # which no hidden layer has
ACTIVATIONS, POOLING = (OUTPUT_ACTIVATION, "sigmoid"), tuple(POOLING_MODES)
VALUES = "a number, text, True, False, None, an op, or a tuple of these"
COMMON_OPTIONS = ("width", "depth", "units", "repeats", "filters", "dropout", "drop_path")  # of many networks
PREFIX = re.compile(r"([A-Za-z0-9][\w.-]*)?", re.ASCII)  # what every backend takes in the name of a layer


class NoEffectWarning(UserWarning):
    """Warns of an override by address that changed no layer."""


@check_keywords(within={"options={{{!r}: VALUE}}": COMMON_OPTIONS})
@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Define which network to build: what kcnn.build takes, a saved model carries and a trial proposes.

    Args:
        network: A name, such as "googlenet.bn" or "my_net.py:net", or an Architecture.
        classes: Number of classes; the architecture's own where it is None.
        input_shape: (rows, columns, channels). None for rows or columns leaves them open, and None in all takes the
            architecture's own.
        top: Whether the network ends in its head; without it, in its features.
        activation: What follows the logits: None, "softmax", or "sigmoid" for several labels per image.
        pooling: Without the head, "avg" or "max" over rows and columns; None leaves feature maps.
        overrides: Attributes of layers by address, such as {"inception_*_5x5.kernel": 3}.
        options: Keywords of the backbone and the head, such as {"width": 0.35}.
        aux: Whether auxiliary classifiers are added.
        outputs: Layers, units or stages to end in instead: ("stage3",) is the last tensor of stride 8,
            ("stage3_unit1",) the last layer of that unit.
        prefix: Put in front of every layer's name: letters, digits, "_", "-" and dots.
        weights: Pretrained weights by name, or a file.
        source: In a spec from JSON, the checksum of the file that defines the network.

    Raises:
        TypeError: A field is of the wrong kind.
        ValueError: A field has a value that no network takes.
    """

    network: str | Architecture
    classes: int | None = None
    input_shape: Sequence[int | None] | None = None
    top: bool = True
    activation: str | None = None
    pooling: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    aux: bool = False
    outputs: Sequence[str] = ()
    prefix: str = ""
    weights: str | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        check_kind("network", self.network, str | Architecture, "a name or a kcnn.Architecture")
        if isinstance(self.network, str):
            _set(self, network=normalize_network(self.network))
        title = self.title
        for name, example in (("overrides", "{'stem.kernel': 5}"), ("options", "{'width': 0.5}")):
            value = getattr(self, name)
            if value is not None:
                check_mapping(name, value, example, title)
            _set(self, **{name: to_builtin(value or {})})
            for key, item in getattr(self, name).items():
                if not is_json(item):
                    raise wrong_kind(f"{name}[{key!r}]", VALUES, item, title)
        if self.weights is not None:
            check_kind("weights", self.weights, str | PathLike, "a name or a file", title)
            _set(self, weights=str(self.weights))
        if self.input_shape is not None:
            _set(self, input_shape=_check_shape(title, self.input_shape))
        _set(self, outputs=_check_outputs(title, self.outputs), top=to_builtin(self.top), aux=to_builtin(self.aux))
        for name in ("top", "aux"):
            check_kind(name, getattr(self, name), bool, "True or False", title)
        for name, known in (("activation", ACTIVATIONS), ("pooling", POOLING)):
            if getattr(self, name) is not None:
                check_kind(name, getattr(self, name), str, f"None or one of {', '.join(known)}", title)
                if getattr(self, name) not in known:
                    raise unknown(name, getattr(self, name), known, title)
        if self.classes is not None:
            if isinstance(self.classes, int) and self.classes == 0:
                error = wrong_value("classes", "a positive integer", 0, title)
                raise ValueError(f"{error}; for features without a classifier write top=False, pooling='avg'")
            _set(self, classes=check_integer("classes", self.classes, 1, "a positive integer", title))
        check_kind("prefix", self.prefix, str, "text", title)
        if not PREFIX.fullmatch(self.prefix):
            raise wrong_value("prefix", "letters, digits, _, - and dots, such as 'left_'", self.prefix, title)
        for address in self.overrides:
            if "." not in address:
                raise ValueError(f'{self.title}: the address of an override must be "layer.attribute", got {address!r}')

    @property
    def title(self) -> str:
        """The name of the network, without a file or module; for an Architecture, the name of its function."""
        if not isinstance(self.network, str):
            return self.network.title
        return self.network.rpartition(":")[2] if self.definition else self.network

    @cached_property
    def definition(self) -> Source | None:
        """The file or module that defines the network; None for a published one, and where there is no file."""
        return find_unpublished(self.network) if isinstance(self.network, str) else find_definition(self.network)

    @cached_property
    def architecture(self) -> Architecture:
        """The architecture. Raises UnknownNameError, or ImportError where its plugin is broken."""
        if not isinstance(self.network, str):
            return self.network
        return load_source(self.definition, self.source) if self.definition else get_architecture(self.network)

    @property
    def nominal_shape(self) -> tuple[int, int, int]:
        """(rows, columns, channels) that the network is traced at: its own where the spec leaves them open."""
        return nominal_shape(self.architecture, self.input_shape)

    def trace(self) -> Graph:
        """Trace the network into a graph: no Keras, no TensorFlow, milliseconds.

        Returns:
            The graph, with this spec.

        Raises:
            UnknownNameError: A network, option, layer or output is unknown; the message suggests the closest.
            ValueError: The input is too small; the message has the first layer that does not fit and the smallest
                input that fits.
        """
        graph = self._trace()
        if graph.unused_overrides:
            unused = ", ".join(graph.unused_overrides)
            text = f"{self.title}: override has no effect: the layers already have these values ({unused})"
            warn_caller(text, NoEffectWarning)
        return graph

    def check(self) -> None:
        """Check names, values and the input size, before anything slow is started.

        Raises:
            UnknownNameError, ValueError: As from `trace`.
        """
        self._trace()

    def _trace(self) -> Graph:
        tracer = Tracer(self)
        try:
            return tracer.at_own_size()
        except InputTooSmallError as error:
            least = tracer.min_input_size()
            fits = f"the smallest input that fits is {least}x{least}" if least else "no input fits"
            size = format_size(tracer.shape)
            raise ValueError(f"{self.title}: an input of {size} is too small: {error}; {fits}") from None
        except ArchitectureError:
            raise
        except ValueError as error:
            raise type(error)(f"{self.title}: {error}") from None

    def trace_candidate(self) -> Graph:
        """Trace one of many candidates, without a word on overrides that change nothing or match no layer.

        Returns:
            The graph, with this spec.

        Raises:
            InputTooSmallError: A larger input might do.
            ValueError: The network cannot be built so.
        """
        return Tracer(self, strict=False).at_own_size()

    def min_input_size(self) -> int | None:
        """Return the side in pixels of the smallest square image that fits; None if none does."""
        return Tracer(self, strict=False).min_input_size()

    def with_overrides(self, overrides: Mapping[str, Any]) -> "ModelSpec":
        """Return the spec with layers changed by address ("stem.kernel") and options by name ("width")."""
        check_mapping("overrides", overrides, "{'stem.kernel': 5, 'width': 0.5}", self.title)
        layers = {address: value for address, value in overrides.items() if "." in address}
        options = {name: value for name, value in overrides.items() if "." not in name}
        return replace(self, overrides={**self.overrides, **layers}, options={**self.options, **options})

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values; an Architecture by its file or module, ops as objects with their name.

        An Architecture that no file defines at the top level is written by its title alone. Fields with their default
        values are left out.
        """
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        defaults = asdict(ModelSpec(network="default"))
        kept = {name: to_json_value(value) for name, value in values.items() if value != defaults[name]}
        if self.definition is None:
            return {**kept, "network": self.title}
        return {**kept, "network": self.definition.name, "source": self.source or self.definition.checksum}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ModelSpec":
        """Return the spec that `to_json` wrote.

        Args:
            values: What `to_json` returned.

        Returns:
            The spec.

        Raises:
            UnknownNameError: A field is unknown.
        """
        check_mapping("a model spec", values, "{'network': 'lenet5'}")
        known = [f.name for f in fields(cls)]
        for name in values:
            if name not in known:
                raise unknown("model spec key", name, known)
        spec = cls(**{name: from_json_value(value) for name, value in values.items()})
        return spec if spec.source or not spec.definition else replace(spec, source="none")  # runs no code unasked

    def diff(self, other: "ModelSpec") -> list[tuple[str, Any, Any]]:
        """Return (field, value of this spec, value of the other) for each field that differs."""
        pairs = ((f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return [(name, here, there) for name, here, there in pairs if here != there]


def to_spec(network: "str | Architecture | ModelSpec", **keywords: Any) -> ModelSpec:
    """Return the ModelSpec of a network and keywords.

    Args:
        network: A name, an Architecture, or a ModelSpec.
        **keywords: Fields of ModelSpec, and options of the network. Where both have `activation`, "softmax" is the
            field, and any other value the option.

    Returns:
        The spec.

    Raises:
        UnknownNameError: A keyword is neither a field nor an option; the message suggests the closest of both.
        TypeError: Keywords beside a ModelSpec.
    """
    if isinstance(network, ModelSpec):
        if keywords:
            raise TypeError(f"got {', '.join(keywords)} beside a ModelSpec; set them in it by dataclasses.replace")
        return network
    known = {f.name for f in fields(ModelSpec)} - {"network", "options", "source"}
    if keywords.get("activation") not in (None, OUTPUT_ACTIVATION) and "activation" in _find_options(network):
        known -= {"activation"}
    own = {name: value for name, value in keywords.items() if name in known}
    rest = {name: value for name, value in keywords.items() if name not in known}
    options = rest.pop("options", None)
    if options is not None:
        check_mapping("options", options, "{'width': 0.5}")
    options = {**(options or {}), **rest}
    spec = ModelSpec(network=network, options=options, **own)
    defaults = spec.architecture.defaults()
    for name in rest:
        if name not in defaults:
            kind = "keyword" if find_closest(name, [*defaults, *sorted(known)]) in known else "option"
            raise unknown(kind, name, [*defaults, *sorted(known)], spec.title)
    return spec


def _find_options(network: str | Architecture) -> dict[str, Any]:
    return ModelSpec(network=network).architecture.defaults()


def takes_spec(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function with the fields of ModelSpec in its signature, in place of its `**keywords`."""
    own = list(inspect.signature(function).parameters.values())
    spec = [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=None if f.name == "overrides" else f.default)
        for f in fields(ModelSpec)
        if f.name not in ("network", "options", "source")
    ]
    names = {p.name for p in own}
    merged = [*own[:-1], *(p for p in spec if p.name not in names), own[-1]]
    function.__signature__ = inspect.Signature(merged)  # type: ignore[attr-defined]
    return function


@takes_spec
def trace(network: str | Architecture | ModelSpec, **keywords: Any) -> Graph:
    """Trace a network into a graph, without Keras.

    Args:
        network: A name ("googlenet.bn"), an Architecture, or a ModelSpec.
        **keywords: Fields of kcnn.ModelSpec, and the network's own options by keyword (`width=0.35`).

    Returns:
        The graph: layers with their shapes, to summarize, compare, plot or build.

    Raises:
        UnknownNameError: A network, option, layer or output is unknown; the message suggests the closest.
        ValueError: The input is too small, or a field has a value that no network takes.
    """
    return to_spec(network, **keywords).trace()


@takes_spec
def summary(network: "str | Architecture | ModelSpec | Graph | SymbolicTensor", **keywords: Any) -> Summary:
    """Summarize a network layer by layer: shapes, parameters, MACs, receptive fields. Print it to see a table.

    Args:
        network: A name, an Architecture, a ModelSpec, a graph, or a symbolic tensor (every layer that leads to it).
        **keywords: Fields of kcnn.ModelSpec, and the network's own options by keyword (`width=0.35`).

    Returns:
        A LayerSummary per layer, inputs first, and totals.

    Raises:
        TypeError: The argument is none of these. Convert a Keras model with kcnn.from_keras.
        UnknownNameError, ValueError: As from kcnn.trace.
    """
    if isinstance(network, str | Architecture | ModelSpec):
        network = trace(network, **keywords)
    elif keywords:
        raise TypeError(f"got {', '.join(keywords)} with a graph, which is traced already; pass them to kcnn.trace")
    if isinstance(network, Graph):
        details = partial(describe_graph, network)
        return summarize(*network.outputs.values(), title=network.name, details=details)
    if isinstance(network, SymbolicTensor):
        return summarize(network, title=network.name)
    expected = "a name, a spec, a graph or a symbolic tensor (kcnn.from_keras converts a Keras model)"
    raise wrong_kind("network", expected, network)


@check_arguments
def min_input_size(network: str | Architecture | ModelSpec) -> int:
    """Return the side in pixels of the smallest square image that fits a network, without building it.

    Args:
        network: A name, an Architecture, or a ModelSpec, which may have overrides and options.

    Returns:
        Pixels a side.

    Raises:
        ValueError: No image fits.
    """
    spec = to_spec(network)
    least = Tracer(spec).min_input_size()
    if least is None:
        graph = spec.trace()  # raises with the layer that does not fit
        raise ValueError(f"{graph.name}: no square input fits, although {graph.input.shape} does")
    return least


def _set(record: Any, **values: Any) -> None:
    """Set fields of a frozen record in its __post_init__."""
    for name, value in values.items():
        object.__setattr__(record, name, value)


def _check_shape(title: str, value: Any) -> tuple[int | None, ...]:
    expected = "(rows, columns, channels)"
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        raise wrong_kind("input_shape", expected, value, title)
    shape: tuple[Any, ...] = to_builtin(list(value))
    if len(shape) != 3:
        raise wrong_value("input_shape", expected, value, title)
    for size, name in zip(shape, ("rows", "columns", "channels"), strict=True):
        if size is not None or name == "channels":
            check_integer(f"{name} of input_shape", size, 1, "a positive integer", f"{title}: input_shape {value!r}")
    return shape


def _check_outputs(title: str, names: Any) -> tuple[str, ...]:
    if isinstance(names, str):
        raise wrong_kind("outputs", f"a list of layers or stages (write [{names!r}])", names, title)
    check_kind("outputs", names, Iterable | None, "a list of layers or stages", title)
    names = tuple(names or ())
    for name in names:
        check_kind("outputs", name, str, "names of layers or stages", title)
    return names
