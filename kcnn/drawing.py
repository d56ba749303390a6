"""Whole networks on paper: draw one by name, measure it, draw it again with changes."""

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kcnn.architecture import Architecture, keyword_defaults
from kcnn.arithmetic import InputTooSmallError
from kcnn.measurement import Summary, summarize, stage_outputs
from kcnn.registry import get_architecture
from kcnn.sketch import TraceContext, SymbolicTensor, apply, suggest, to_builtin, topological_order

LARGEST_INPUT = 4096  # pixels a side; where no smaller input fits, none is taken to


class NoEffectWarning(UserWarning):
    """A change by address that altered no layer."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """A network on paper: its tensors, and what it takes to draw it again."""

    name: str
    input: SymbolicTensor
    outputs: Mapping[str, SymbolicTensor]  # "logits" or "features" first, then auxiliary logits or taps, by name
    input_shape: tuple[int | None, ...]  # None where it is open
    network: str | Architecture | None = None  # what was drawn; None where a Keras graph was read
    architecture: Architecture | None = None  # its plan
    asked: Mapping[str, Any] = field(default_factory=dict)  # the other arguments of `draw`
    unused_overrides: tuple[str, ...] = ()  # changes that altered no layer

    @property
    def options(self) -> Mapping[str, Any]:
        """The keywords of the body and the head that were asked for."""
        return {word: value for word, value in self.asked.items() if word not in ARGUMENTS}

    @property
    def features(self) -> SymbolicTensor:
        """The tensor that the head stands on: the last one with rows and columns."""
        return _features(next(iter(self.outputs.values())))


def trace(
    network: str | Architecture,
    *,
    classes: int | None = None,
    input_shape: Sequence[int | None] | None = None,
    top: bool = True,
    overrides: Mapping[str, Any] | None = None,
    aux: bool = False,
    outputs: Sequence[str] = (),
    prefix: str = "",
    **options: Any,
) -> Graph:
    """A network on paper, by name ("googlenet.bn") or as an Architecture.

    `input_shape` is (rows, columns, channels); None for rows or columns draws the nominal size.
    `changes` alter layers by address, {"inception_*_5x5.kernel": 3}. `aux` adds the auxiliary
    classifiers. `taps` end the drawing in these layers or stages ("stage3": the last tensor of
    stride 8). `options` are the body's and head's own keywords.

    ValueError: an unknown name, option, address or tap, with the nearest there are; an input
    that is too small, with the first layer that does not fit and the smallest input that does.
    """
    name, shape, on = _drawer(
        network,
        classes=classes,
        input_shape=input_shape,
        top=top,
        changes=overrides,
        aux=aux,
        taps=outputs,
        prefix=prefix,
        **options,
    )
    try:
        drawing = on(shape[0], shape[1])
    except InputTooSmallError as error:
        least = _smallest(on)
        fits = f"the smallest input that fits is {least}x{least}" if least else "no input fits"
        size = "x".join(map(str, shape))
        raise ValueError(f"{name}: an input of {size} is too small: {error}; {fits}") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    except (TypeError, AttributeError) as error:
        if not options:
            raise
        raise ValueError(f"{name} cannot be drawn with {options}: {error}") from error
    if drawing.unused_overrides:
        text = f"{name}: {', '.join(drawing.unused_overrides)} changed nothing: the layers are so already"
        warnings.warn(text, NoEffectWarning, stacklevel=2)
    return drawing


ARGUMENTS = {  # of `draw`, with what they are when nobody asks; every other keyword is an option of the network
    word: p.default for word, p in inspect.signature(trace).parameters.items() if p.kind is p.KEYWORD_ONLY
}


def try_trace(network: str | Architecture, **asked: Any) -> Graph:
    """`draw` for one of many tries: a change that alters nothing, or a layer that is not there, is passed over.

    ValueError where the network cannot be drawn so; DoesNotFit, which is one, where a larger input might do.
    """
    _, shape, on = _drawer(network, strict=False, **asked)
    return on(shape[0], shape[1])


def find_min_input_size(network: str | Architecture, **asked: Any) -> int | None:
    """Pixels of the side of the smallest square image that `attempt` draws; None where it draws none."""
    return _smallest(_drawer(network, strict=False, **asked)[2])


def with_overrides(drawing: Graph | str, changes: Mapping[str, Any]) -> Graph:
    """The same network drawn again with layers changed by address, or options of body and head by name.

    {"stage3_unit1_a.stride": 1, "width": 0.5}; earlier changes of the drawing are kept.
    """
    if isinstance(drawing, str):
        drawing = trace(drawing)
    if not isinstance(drawing, Graph):
        raise TypeError(f"only a drawing or a network's name can be patched, not {drawing!r}; kcnn.draw makes drawings")
    if drawing.network is None:
        raise ValueError(
            f"{drawing.name} was read from a Keras graph: it has no body that could be drawn again, so it cannot be "
            "patched; publish its body as a kcnn.Architecture"
        )
    options = {name: value for name, value in changes.items() if "." not in name}
    layers = {address: value for address, value in changes.items() if "." in address}
    asked = {**drawing.asked, **options, "changes": {**drawing.asked["changes"], **layers}}
    return trace(drawing.network, **asked)


def summary(network: str | Graph | SymbolicTensor) -> Summary:
    """A row per layer of a network, a drawing, or all that leads to a sketch."""
    if isinstance(network, str):
        network = trace(network)
    if isinstance(network, Graph):
        ends = tuple(network.outputs.values())
    elif isinstance(network, SymbolicTensor):
        ends = (network,)
    else:
        raise TypeError(
            f"kcnn.measure takes a name, a drawing or a sketch, not {network!r}; kcnn.read sketches a Keras model"
        )
    return summarize(*ends)


def min_input_size(network: str | Architecture, **asked: Any) -> int:
    """Pixels of the side of the smallest square image that a network takes, by arithmetic.

    `asked` are the other arguments of `draw`. ValueError where no image fits.
    """
    least = _smallest(_drawer(network, **asked)[2])
    if least is None:
        drawing = trace(network, **asked)  # says what does not fit
        raise ValueError(f"{drawing.name}: no square input fits, although {drawing.input.shape} does")
    return least


def _drawer(
    network: str | Architecture,
    *,
    classes: int | None = None,
    input_shape: Sequence[int | None] | None = None,
    top: bool = True,
    changes: Mapping[str, Any] | None = None,
    aux: bool = False,
    taps: Sequence[str] = (),
    prefix: str = "",
    strict: bool = True,
    **options: Any,
) -> tuple[str, tuple[int, int, int], Callable[[int, int], Graph]]:
    """What `draw` is asked for, checked: the network's name, the shape to draw at, and what draws at any size.

    Unless `strict`, a change that no layer answers to is passed over.
    """
    plan = get_architecture(network) if isinstance(network, str) else network
    if not isinstance(plan, Architecture):
        raise TypeError(f"a network is a name or a kcnn.Architecture, not {network!r}")
    name = network if isinstance(network, str) else plan.title
    shape = _input(plan, name, input_shape)
    for word, value in (("top", top), ("aux", aux)):
        if not isinstance(value, bool):
            raise ValueError(f"{name}: {word} is True or False, not {value!r}")
    count = plan.classes if classes is None else to_builtin(classes)
    if type(count) is not int or count < 1:
        raise ValueError(f"{name}: classes must be a whole number of at least 1, not {classes!r}")
    chosen = _options(plan, name, options)
    wanted = {address: to_builtin(value) for address, value in (changes or {}).items()}
    for address in wanted:
        if "." not in address:
            raise ValueError(f'{name}: a change needs "layer.field" as its address, not {address!r}')
    if aux and not plan.aux:
        raise ValueError(f"{name} has no auxiliary classifiers")
    if aux and (taps or not top):
        raise ValueError(
            f"{name}: auxiliary classifiers belong to a whole network, not to one with taps or without a top"
        )
    sides = plan.aux if aux else {}
    if plan.keras is not None and (wanted or prefix):
        there = ", ".join(plan.defaults()) or "there are none"
        what = "changed by address" if wanted else "renamed by a prefix"
        raise ValueError(
            f"{name} exists only as Keras code: its layers cannot be {what}; its options can be chosen: {there}"
        )

    def on(rows: int, columns: int) -> Graph:
        if plan.backbone is not None:
            paper = TraceContext([*plan.overrides.items(), *wanted.items()], prefix)
            image = SymbolicTensor((rows, columns, shape[2]), f"{prefix}image", context=paper)
            x = _part(plan.backbone, chosen, apply(plan.rescale, image, name="rescale"))
            ends = {"logits": _part(plan.head, chosen, x, count)} if top else {"features": x}
        else:
            image, logits = _from_keras(name, plan, (rows, columns, shape[2]), count, chosen)
            paper, ends = image.context, {"logits": logits} if top else {"features": _features(logits)}
        for number, (address, side) in enumerate(sides.items(), 1):
            ends[f"aux{number}"] = _part(side, chosen, _layer(paper, address), count, name=f"aux{number}")
        if taps:
            ends = _tapped(paper, next(iter(ends.values())), taps)
        asked = {
            "classes": to_builtin(classes),
            "input_shape": None if input_shape is None else to_builtin(list(input_shape)),
            "top": top,
            "changes": wanted,
            "aux": aux,
            "taps": taps,
            "prefix": prefix,
        }
        return Graph(
            name=name,
            input=image,
            outputs=ends,
            input_shape=shape if input_shape is None else to_builtin(list(input_shape)),
            network=network,
            architecture=plan,
            asked={**asked, **{option: to_builtin(value) for option, value in options.items()}},
            unused_overrides=paper.unused_overrides(wanted) if strict else tuple(one for one in wanted if one not in paper.effective),
        )

    return name, shape, on


def _input(plan: Architecture, name: str, asked: Sequence[int | None] | None) -> tuple[int, int, int]:
    """(rows, columns, channels) to draw at: the nominal size where the asked one is open."""
    if asked is None:
        return plan.input_shape
    shape = to_builtin(list(asked)) if isinstance(asked, Iterable) else (asked,)
    sizes = [n for n in shape[:2] if n is not None]
    if len(shape) != 3 or not all(type(n) is int and n >= 1 for n in (*sizes, shape[2])):
        raise ValueError(f"{name}: input_shape is (rows, columns, channels), such as (224, 224, 3), not {asked!r}")
    rows, columns = (n or nominal for n, nominal in zip(shape[:2], plan.input_shape, strict=False))
    return rows, columns, shape[2]


def _options(plan: Architecture, name: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    known = plan.defaults()
    for option in asked:
        if option not in known:
            there = f"the nearest are {', '.join(suggest(option, known))}" if known else "it has none"
            raise ValueError(f"{name} has no option {option!r}; {there}")
    given = {option: to_builtin(value) for option, value in asked.items()}
    for option, value in given.items():
        usual = known[option]
        number = isinstance(usual, int | float) and not isinstance(usual, bool)
        if number and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf")):
            raise ValueError(f"{name}: {option} is a number, {usual!r} where nothing is said, not {value!r}")
        if isinstance(usual, tuple) and not isinstance(value, tuple):
            raise ValueError(f"{name}: {option} is a list, {list(usual)!r} where nothing is said, not {value!r}")
    return {**plan.options, **given}


def _part(part: Callable[..., Any], options: Mapping[str, Any], *args: Any, **named: Any) -> Any:
    """A body or head, given those of the options that it declares."""
    return part(*args, **named, **{option: options[option] for option in keyword_defaults(part) if option in options})


def _features(end: SymbolicTensor) -> SymbolicTensor:
    return [x for x in topological_order(end) if len(x.shape) == 3][-1]


def _from_keras(
    name: str, plan: Architecture, shape: tuple[int, int, int], classes: int, options: Mapping[str, Any]
) -> tuple[SymbolicTensor, SymbolicTensor]:
    """Image and logits of a network that exists only as Keras code, read from its graph."""
    from kcnn.read import from_keras, call_keras_builder

    found = from_keras(call_keras_builder(name, plan, shape, classes, options))
    return found.input, next(iter(found.outputs.values()))


def _layer(paper: TraceContext, name: str) -> SymbolicTensor:
    if name not in paper.layers:
        raise ValueError(f"no layer is named {name!r}; the nearest are {', '.join(suggest(name, paper.layers, 4))}")
    return paper.layers[name]


def _tapped(paper: TraceContext, end: SymbolicTensor, taps: Sequence[str]) -> dict[str, SymbolicTensor]:
    if isinstance(taps, str):
        raise ValueError(f"taps is a list of layers or stages, not the word {taps!r}")
    found = {}
    for tap in taps:
        if not isinstance(tap, str):
            raise ValueError(f"taps are names of layers or stages, not {tap!r}")
        if tap in paper.layers or not (tap.startswith("stage") and tap[5:].isdigit()):
            found[tap] = _layer(paper, tap)
            continue
        there = stage_outputs(end)
        if int(tap[5:]) not in there:
            raise ValueError(f"there is no {tap}; there are {', '.join(f'stage{k}' for k in sorted(there))}")
        found[tap] = there[int(tap[5:])]
    return found


def _smallest(on: Callable[[int, int], Graph]) -> int | None:
    """The least side at which `on` draws, by doubling and halving; None where none does."""

    def fits(side: int) -> bool:
        try:
            on(side, side)
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
