"""Trace a requested network at any image size, into a graph of ops."""

from collections.abc import Callable, Mapping, Sequence
from pkgutil import resolve_name
from typing import Any

from kcnn import blocks
from kcnn.architectures.architecture import Architecture, keyword_defaults
from kcnn.graph import ops
from kcnn.graph.arguments import check_kind, explain_keyword, wrong_kind, wrong_value
from kcnn.graph.graph import Graph, find_features
from kcnn.graph.names import UnknownNameError, unknown, unknown_layer
from kcnn.graph.recording import Recorder
from kcnn.graph.summaries import stage_outputs
from kcnn.graph.tracing import SymbolicTensor, TraceContext, apply

LARGEST_INPUT = 4096  # pixels a side; a network that fits no input up to this size fits none
POOLING_MODES = {"avg": "average", "max": "max"}  # keras.applications' word: the op's
INPUT = "image"  # name of the input, beside the layers
POOL = "features_pool"  # the layer of pooling=
READ_KERAS_CODE = "kcnn.keras_bridge.keras_code:read_keras_code"  # by name: nothing here imports Keras


class ArchitectureError(ValueError):
    """Raised for an error in the code of a backbone or head, whatever its class."""


class Tracer:
    """A checked spec, ready to be traced at any image size.

    Args:
        spec: A kcnn.ModelSpec.
        strict: Whether an override that matches no layer is an error.
    """

    def __init__(self, spec: Any, strict: bool = True):
        self.spec, self.strict, architecture = spec, strict, spec.architecture
        self.shape = nominal_shape(architecture, spec.input_shape)
        self.classes = architecture.classes if spec.classes is None else spec.classes
        self.options = _check_options(architecture, spec.title, spec.options)
        if spec.aux and not architecture.aux:
            raise ValueError(f"{spec.title} has no auxiliary classifiers")
        if spec.aux and (spec.outputs or not spec.top):
            raise ValueError(
                f"{spec.title}: auxiliary classifiers need the complete network; remove outputs= and use top=True"
            )
        if spec.pooling and (spec.top or spec.outputs):
            raise ValueError(f"{spec.title}: pooling={spec.pooling!r} needs top=False, without outputs=")
        if spec.activation and (spec.aux or spec.outputs or not spec.top):
            raise ValueError(
                f"{spec.title}: activation={spec.activation!r} needs the head alone: top=True, no outputs=, and no aux "
                "(auxiliary classifiers are trained on logits)"
            )
        if architecture.keras is not None and (spec.overrides or spec.prefix):
            options = ", ".join(architecture.defaults()) or "none"
            refused = "overrides by address" if spec.overrides else "prefix"
            raise ValueError(f"{spec.title} exists only as Keras code and takes no {refused}; its options: {options}")

    def at_own_size(self, recorder: Recorder | None = None) -> Graph:
        """Trace at the size that the spec asks for, or the network's own, and record it where there is a recorder."""
        return self.at(*self.shape[:2], recorder)

    def at(self, rows: int, columns: int, recorder: Recorder | None = None) -> Graph:
        """Trace at another size."""
        spec, architecture, classes = self.spec, self.spec.architecture, self.classes
        if architecture.backbone is not None:
            overrides = [*architecture.overrides.items(), *spec.overrides.items()]
            context = TraceContext(overrides, spec.prefix, INPUT, recorder)
            create = recorder.create_tensor if recorder else SymbolicTensor
            image = create((rows, columns, self.shape[2]), spec.prefix + INPUT, None, (), context)
            features = self._call(architecture.backbone, _rescale(architecture.rescale, image))
            outputs = self._finish(features, lambda: self._call(architecture.head, features, classes))
        else:
            shape = (rows, columns, self.shape[2])
            read_keras_code = resolve_name(READ_KERAS_CODE)
            image, logits = read_keras_code(spec.title, architecture, shape, classes, self.options)
            context = image.context
            features = find_features(logits)
            outputs = self._finish(features, lambda: logits)
        for number, (address, head) in enumerate((architecture.aux if spec.aux else {}).items(), 1):
            name = f"aux{number}"
            outputs[name] = self._call(head, _find_layer(context, address), classes, name=name)
        if spec.outputs:
            outputs = _find_outputs(context, next(iter(outputs.values())), spec.outputs)
        unused = (
            context.find_unused_overrides(spec.overrides)
            if self.strict
            else tuple(address for address in spec.overrides if address not in context.effective_overrides)
        )
        return Graph(
            name=spec.title,
            input=image,
            outputs=outputs,
            input_shape=self.shape if spec.input_shape is None else tuple(spec.input_shape),
            spec=spec,
            architecture=architecture,
            unused_overrides=unused,
            backbone_output=features,
        )

    def _finish(self, features: SymbolicTensor, head: Callable[[], SymbolicTensor]) -> dict[str, SymbolicTensor]:
        """The main output by its kind: logits, probabilities or features."""
        spec = self.spec
        if not spec.top:
            if spec.pooling and len(features.shape) != 3:
                raise ValueError(f"pooling={spec.pooling!r} needs feature maps; the backbone ends in {features.shape}")
            pool = ops.GlobalPool(POOLING_MODES[spec.pooling]) if spec.pooling else None
            return {"features": apply(pool, features, name=POOL) if pool else features}
        logits = head()
        if not spec.activation:
            return {"logits": logits}
        if isinstance(logits.op, ops.Activation) and logits.op.function in ("softmax", "sigmoid"):
            raise ValueError(f"ends in a {logits.op.function} already; remove activation={spec.activation!r}")
        return {"probabilities": apply(ops.Activation(spec.activation), logits, name="probabilities")}

    def min_input_size(self) -> int | None:
        """Return the smallest side that fits, by doubling and bisection; None if none does."""

        def fits(side: int) -> bool:
            try:
                self.at(side, side)
            except ArchitectureError:
                raise
            except ValueError:
                return False
            return True

        high = 1
        while not fits(high):
            high *= 2
            if high > LARGEST_INPUT:
                return None
        low = high // 2  # does not fit, or 0
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if fits(middle) else (middle, high)
        return high

    def _call(self, function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
        """Call a backbone or head with the options that it declares."""
        options = {option: self.options[option] for option in keyword_defaults(function) if option in self.options}
        title, name = self.spec.title, getattr(function, "__name__", "its function")
        try:
            x = function(*args, **keywords, **options)
        except ValueError:
            raise
        except Exception as error:
            if isinstance(error, TypeError) and (unknown := explain_keyword(error, (ops, blocks))):
                raise ArchitectureError(f"{title}: {name} fails: {unknown}") from error
            if self.spec.options and isinstance(error, TypeError | AttributeError):  # most often of their values
                raise ArchitectureError(f"{title} cannot be built with {dict(self.spec.options)}: {error}") from error
            raise ArchitectureError(f"{title}: {name} fails: {type(error).__name__}: {error}") from error
        if not isinstance(x, SymbolicTensor) or x.context is not args[0].context:
            raise wrong_kind(f"the result of {name}", "a tensor computed from its input", x)
        return x


def nominal_shape(architecture: Architecture, shape: Sequence[int | None] | None) -> tuple[int, int, int]:
    """Return (rows, columns, channels) to trace at: the nominal size where a spec leaves it open."""
    if shape is None:
        return architecture.input_shape
    rows, columns = (n or nominal for n, nominal in zip(shape[:2], architecture.input_shape, strict=False))
    assert shape[2] is not None
    return rows, columns, shape[2]


def _check_options(architecture: Architecture, title: str, options: Mapping[str, Any]) -> dict[str, Any]:
    defaults = architecture.defaults()
    for option, value in options.items():
        if option not in defaults:
            raise unknown("option", option, defaults, title)
        default = defaults[option]
        if isinstance(default, int | float) and not isinstance(default, bool):
            expected = f"a number (default {default!r})"
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise wrong_kind(f"option {option}", expected, value, title)
            if not 0 <= value < float("inf"):
                raise wrong_value(f"option {option}", expected, value, title)
        if isinstance(default, tuple):
            check_kind(f"option {option}", value, tuple, f"a list (default {list(default)!r})", title)
    return {**architecture.options, **options}


def _rescale(op: Any, image: SymbolicTensor) -> SymbolicTensor:
    """Rescale an image. A gray one becomes color first where each color is scaled by its own values.

    A scaled gray image of one channel could not give what the same gray image of three channels gives: its padding
    with zeros has another brightness in each color.
    """
    if image.shape[2] == 1 and getattr(op, "channels", 1) > 1:
        image = apply(ops.Concat(), *[image] * op.channels, name="gray_to_color")
    return apply(op, image, name="rescale")


def _find_layer(context: TraceContext, name: str) -> SymbolicTensor:
    if name not in context.layers:
        raise unknown_layer(name, context.layers)
    return context.layers[name]


def _find_unit(context: TraceContext, name: str) -> SymbolicTensor | None:
    """The output of a unit: the one layer, of those named "unit_...", that none of the others takes in."""
    if name in context.layers:
        return None
    inside = [x for layer, x in context.layers.items() if layer.startswith(f"{name}_")]
    used = {id(source) for x in inside for source in x.inputs}
    ends = [x for x in inside if id(x) not in used]
    return ends[0] if len(ends) == 1 else None


def _find_outputs(context: TraceContext, last: SymbolicTensor, names: Sequence[str]) -> dict[str, SymbolicTensor]:
    outputs = {}
    for name in names:
        if name in context.layers or not (name.startswith("stage") and name[5:].isdigit()):
            outputs[name] = _find_unit(context, name) or _find_layer(context, name)
            continue
        stages = stage_outputs(last)
        if int(name[5:]) not in stages:
            held = [f"stage{k}" for k in sorted(stages)]
            raise UnknownNameError(
                f"unknown stage {name!r}; stages are numbered by how often the image is halved: choose "
                f"from {', '.join(held)}, or a layer or unit by name"
            )
        outputs[name] = stages[int(name[5:])]
    return outputs
