"""A space of networks: which layers may be how, and what arithmetic says of a point in it, before anything is built."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf
from random import Random
from typing import Any

from kcnn.architectures.architecture import Architecture
from kcnn.architectures.registry import get_architecture
from kcnn.architectures.spec import LARGEST_INPUT, ModelSpec, summary
from kcnn.graph.graph import Graph
from kcnn.graph.names import suggest
from kcnn.graph.overrides import Override, to_builtin
from kcnn.graph.shape_inference import InputTooSmallError
from kcnn.graph.tracing import topological_order
from kcnn.search.space.choices import (
    Choice,
    ChoiceRequest,
    Range,
    choice_from_json,
    choice_to_json,
    sort_choices,
    to_request,
)
from kcnn.search.space.costs import Costs, estimate_costs
from kcnn.search.space.points import count_points, is_active, iterate_points

LIMITS = ("max_params", "max_macs", "max_activation_bytes", "min_receptive_field")
TRIES = 2_000  # points that are looked at for one that is feasible, before others are walked from
WALKS = 20


class NoFeasiblePointError(ValueError):
    """No point of a space can be built within its limits."""


@dataclass(frozen=True)
class Feasibility:
    """What arithmetic says of a point: a network, by what it does, or why there is none."""

    identity: str | None = None  # of the network; None where it is refused
    costs: Costs | None = None  # None where it cannot be drawn
    excess: float = 0.0  # how far over its limits: 1 where a number is twice what is allowed; inf where none is drawn
    refusal: str | None = None  # a layer or a limit that refuses, by which refusals are counted
    why: str | None = None


@dataclass(frozen=True)
class Candidate:
    """A feasible point: the values chosen, by name, and what they come to."""

    values: Mapping[str, Any]
    graph: Graph
    training: Mapping[str, Any]  # fields of the recipe


@dataclass(frozen=True, eq=False)
class Space:
    """Values to try in a network, by address or option, and in its training; limits that every candidate keeps.

    `choices` maps an address ({"inception_*_5x5.kernel": (3, 5, (3, 5))}) or an option of body and head
    ({"width": (0.5, 1.0)}) to a tuple of values, a Range, `each(...)`, or `only_if(...)`. All layers that answer to
    one address take one value. `training` does so for fields of the recipe and its augmentation:
    {"learning_rate": Range(1e-4, 1e-2, log=True)}. `options` and `changes` hold everywhere.

    `max_params` counts trained numbers, `max_macs` multiply-accumulates of one image, `max_activation_bytes` the
    outputs of all layers for one image in float32, `min_receptive_field` pixels of the shorter side, of the features.

    ValueError for an address that no layer answers to, an unknown option, or a choice without values.
    """

    network: str | Architecture
    choices: Mapping[str, Any]
    classes: int | None = None
    input_shape: tuple[int, int, int] | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    max_params: float = inf
    max_macs: float = inf
    max_activation_bytes: float = inf
    min_receptive_field: float = 0
    _known: dict[str, Feasibility] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for name in LIMITS:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                raise ValueError(f"{name} is a number of at least 0, not {value!r}")
        if not self.choices and not self.training:
            raise ValueError("a space needs at least one choice, such as {'stem.kernel': (3, 5)}")
        both = sorted({*self.choices} & {*self.training})
        if both:
            raise ValueError(f"{both[0]!r} is named as a choice of the network and of its training")
        _ = self.all_choices  # mistakes are told here

    @property
    def name(self) -> str:
        return self.network if isinstance(self.network, str) else self.network.title

    @cached_property
    def base(self) -> Graph:
        """The network as it is where nothing is chosen. ValueError where that does not fit this input."""
        return self._drawn({}, {})

    @cached_property
    def all_choices(self) -> tuple[Choice, ...]:
        """Every choice, one for each layer where that was asked for, each behind the one that it depends on."""
        wishes = {name: to_request(values, name) for name, values in self.choices.items()}
        layers, when = self._layers(wishes)
        found: dict[str, Choice] = {}
        for name, one in wishes.items():
            for place in self._places(name, one, layers) if "." in name else (name,):
                found[place] = Choice(place, one.values, one.only_if or when.get(place.rpartition(".")[0]))
        for name, values in self.training.items():
            one = to_request(values, name)
            if one.each:
                raise ValueError(f"{name} belongs to the training, which has no layers: each() is for addresses")
            found[name] = Choice(name, one.values, one.only_if)
        return sort_choices(found)

    @cached_property
    def of_network(self) -> tuple[Choice, ...]:
        """The choices that change the network, not its training alone."""
        return tuple(choice for choice in self.all_choices if choice.name not in self.training)

    @cached_property
    def default(self) -> dict[str, Any]:
        """The network as it is, as values of the choices; the first of each where its own is not among them."""
        own = self._own_values
        found: dict[str, Any] = {}
        for choice in self.all_choices:
            if is_active(choice, found):
                value = own.get(choice.name)
                first = choice.values.middle if isinstance(choice.values, Range) else choice.values[0]
                found[choice.name] = value if value in choice else first
        return found

    @cached_property
    def has_default(self) -> bool:
        """Whether the network as it is, is a feasible point of the space."""
        own, chosen = self._own_values, self.default
        there = all(own.get(c.name) == chosen[c.name] for c in self.of_network if c.name in chosen)
        return there and self.judge(chosen).identity is not None

    def pick(self, random: Random) -> dict[str, Any]:
        """A point, feasible or not: each choice that matters by itself, every value as likely as another."""
        found: dict[str, Any] = {}
        for choice in self.all_choices:
            if is_active(choice, found):
                found[choice.name] = choice.pick(random)
        return found

    def judge(self, values: Mapping[str, Any]) -> Feasibility:
        """What arithmetic says of a point; remembered, since many points differ in their training alone."""
        chosen = {c.name: values[c.name] for c in self.of_network if c.name in values}
        key = json.dumps(chosen)
        if key not in self._known:
            self._known[key] = self._judged(chosen)
        return self._known[key]

    def identity(self, values: Mapping[str, Any]) -> str | None:
        """What a candidate is, by what it does: two that patch to one network and train alike are one."""
        network = self.judge(values).identity
        if network is None:
            return None
        return network + json.dumps({name: values[name] for name in self.training if name in values}, sort_keys=True)

    def candidate(self, values: Mapping[str, Any]) -> Candidate:
        """The network and training that values come to. ValueError where they are not feasible, or not of the space."""
        given = {name: to_builtin(value) for name, value in values.items()}
        chosen: dict[str, Any] = {}
        for choice in self.all_choices:
            if is_active(choice, chosen):
                if choice.name not in given:
                    raise ValueError(f"a candidate needs a value of {choice.name}")
                if given[choice.name] not in choice:
                    raise ValueError(f"{choice.name} {given[choice.name]!r} is not in the space")
                chosen[choice.name] = given.pop(choice.name)
        if given:
            raise ValueError(f"{', '.join(given)}: no choice of that name matters here")
        verdict = self.judge(chosen)
        if verdict.identity is None:
            raise ValueError(f"{self.name}: {verdict.why}")
        training = {name: value for name, value in chosen.items() if name in self.training}
        drawing = self.trace(chosen)
        if (
            drawing.spec is not None and drawing.unused_overrides
        ):  # drawn again without what changed nothing: a card and a command name what differs
            kept = {a: v for a, v in drawing.spec.overrides.items() if a not in drawing.unused_overrides}
            drawing = replace(drawing.spec, overrides=kept).trace_candidate()
        return Candidate(chosen, drawing, training)

    def sample(self, seed: int | str, apart_from: Sequence[str] | set[str] = ()) -> Candidate:
        """A feasible candidate, fixed by the seed, whose identity is none of `apart_from`.

        NothingFeasible where none is found; kcnn.search.space.feasibility tells why.
        """
        random = Random(f"candidate {seed}")
        for _ in range(TRIES):
            values = self.pick(random)
            identity = self.identity(values)
            if identity is not None and identity not in apart_from:
                return self.candidate(values)
        for _ in range(WALKS):
            values = self.walk(self.pick(random), random)
            identity = self.identity(values)
            if identity is not None and identity not in apart_from:
                return self.candidate(values)
        what = f"that is not one of the {len(apart_from)} before" if apart_from else "that can be built in its limits"
        raise NoFeasiblePointError(f"{self.name}: {TRIES:,} points hold none {what}")

    def walk(self, values: Mapping[str, Any], random: Random) -> dict[str, Any]:
        """From a point towards the limits, one choice after another, as far as that goes."""
        here = dict(values)
        excess, before = self.judge(here).excess, inf
        while (excess and excess < before) or (before == inf and excess == inf):
            before = excess
            order = list(self.of_network)
            random.shuffle(order)
            for choice in order:
                if choice.name not in here or isinstance(choice.values, Range):
                    continue
                for value in choice.values:
                    there = self._settled({**here, choice.name: value}, random)
                    found = self.judge(there).excess
                    if found < excess:
                        here, excess = there, found
            if excess == inf:
                break
        return here

    def points(self) -> Iterator[dict[str, Any]]:
        """Every point of the network's choices, feasible or not; ranges stand at their middle."""
        yield from iterate_points(self.of_network, {})

    @cached_property
    def combinations(self) -> int:
        """How many points there are, those that a condition rules out left out; a range counts once."""
        return count_points(self.of_network, {})

    def trace(self, values: Mapping[str, Any]) -> Graph:
        """The network of a point on paper, feasible or not. ValueError where its layers do not fit."""
        chosen = {c.name: values[c.name] for c in self.of_network if c.name in values}
        return self._drawn(
            {name: value for name, value in chosen.items() if "." not in name},
            {name: value for name, value in chosen.items() if "." in name},
        )

    def to_json(self) -> dict[str, Any]:
        """The space as JSON has it. ValueError for an Architecture, which has no name."""
        if not isinstance(self.network, str):
            raise ValueError("a space over an Architecture cannot be written down; publish it under a name")
        return {
            "network": self.network,
            "classes": self.classes,
            "input_shape": None if self.input_shape is None else list(self.input_shape),
            "choices": {choice.name: choice_to_json(choice) for choice in self.of_network},
            "training": {
                choice.name: choice_to_json(choice) for choice in self.all_choices if choice.name in self.training
            },
            "options": dict(self.options),
            "overrides": dict(self.overrides),
            "limits": {name: getattr(self, name) for name in LIMITS if getattr(self, name) not in (0, inf)},
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Space":
        """A space from what `asdict` has written."""
        shape = told["input_shape"]
        return cls(
            told["network"],
            {name: choice_from_json(one) for name, one in told["choices"].items()},
            classes=told["classes"],
            input_shape=None if shape is None else tuple(shape),
            training={name: choice_from_json(one) for name, one in told["training"].items()},
            options=told["options"],
            overrides=told["overrides"],
            **told["limits"],
        )

    def _settled(self, values: Mapping[str, Any], random: Random) -> dict[str, Any]:
        """Values after one of them was changed: those that matter now, and no others."""
        found: dict[str, Any] = {}
        for choice in self.all_choices:
            if is_active(choice, found):
                found[choice.name] = values[choice.name] if choice.name in values else choice.pick(random)
        return found

    def _drawn(self, options: Mapping[str, Any], changes: Mapping[str, Any]) -> Graph:
        return self.spec(options, changes).trace_candidate()

    def spec(self, options: Mapping[str, Any], overrides: Mapping[str, Any]) -> ModelSpec:
        """The spec of the network with options and overrides in addition to the space's own."""
        return ModelSpec(
            network=self.network,
            classes=self.classes,
            input_shape=self.input_shape,
            overrides={**self.overrides, **overrides},
            options={**self.options, **options},
        )

    def _ops(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The ops of a network's layers by name, on an input on which it fits, where this one is too small."""
        spec = self.spec(options, {})
        shape: Any = self.input_shape
        while True:
            try:
                drawing = replace(spec, input_shape=shape).trace_candidate()
            except InputTooSmallError:
                if shape is None or max(shape) > LARGEST_INPUT:
                    raise
                shape = (2 * shape[0], 2 * shape[1], shape[2])
                continue
            return {x.name: x.op for x in topological_order(*drawing.outputs.values()) if x.op is not None}

    def _layers(
        self, wishes: Mapping[str, ChoiceRequest]
    ) -> tuple[dict[str, Any], dict[str, tuple[str, tuple[Any, ...]]]]:
        """The ops of all layers there may be, by name, and the option and its values on which some of them depend."""
        found, when = self._ops({}), {}
        for name, one in wishes.items():
            if "." not in name and not isinstance(one.values, Range):
                drawn = {value: self._ops({name: value}) for value in one.values}
                for layer in {layer: None for ops in drawn.values() for layer in ops}:
                    there = tuple(value for value in one.values if layer in drawn[value])
                    found.setdefault(layer, next(drawn[value][layer] for value in there))
                    if len(there) < len(one.values):
                        when[layer] = (name, there)
        return found, when

    def _places(self, address: str, one: ChoiceRequest, layers: Mapping[str, Any]) -> tuple[str, ...]:
        """The addresses that a wish stands for: itself, or one for each layer."""
        change = Override(address, None)
        named = [name for name in layers if change.matches(name)]
        there = [name for name in named if change.attribute in getattr(layers[name], "__dataclass_fields__", ())]
        if not there:
            glob = address.rpartition(".")[0]
            if named:
                have = sorted({f for name in named for f in getattr(layers[name], "__dataclass_fields__", ())})
                raise ValueError(
                    f"{address!r}: {named[0]} has {', '.join(have) or 'no fields'}, not {change.attribute!r}"
                )
            near = ", ".join(suggest(glob, layers, 4))
            raise ValueError(f"{address!r}: no layer answers to {glob!r}; the nearest are {near}")
        return tuple(f"{name}.{change.attribute}" for name in there) if one.each else (address,)

    @cached_property
    def _own_values(self) -> dict[str, Any]:
        """What the network has where a choice stands; nothing where its layers differ."""
        plan = get_architecture(self.network) if isinstance(self.network, str) else self.network
        options = {**plan.defaults(), **self.options}
        ops, found = self._ops({}), {}
        for choice in self.all_choices:
            if choice.name in options:
                found[choice.name] = to_builtin(options[choice.name])
            elif "." in choice.name:
                change = Override(choice.name, None)
                own = {
                    getattr(op, change.attribute)
                    for name, op in ops.items()
                    if change.matches(name) and change.attribute in getattr(op, "__dataclass_fields__", ())
                }
                if len(own) == 1:
                    found[choice.name] = own.pop()
        return found

    def _judged(self, chosen: Mapping[str, Any]) -> Feasibility:
        try:
            drawing = self.trace(chosen)
        except ValueError as error:
            return Feasibility(excess=inf, refusal=str(error).partition(":")[0], why=str(error))
        except (TypeError, AttributeError) as error:  # a body that was given what it cannot draw with
            return Feasibility(excess=inf, refusal="the body", why=f"it cannot be drawn: {error}")
        identity, spent = estimate_costs(drawing)
        over = [
            (value / limit - 1 if limit else inf, name, f"{value:,} {unit} are over {name} {limit:,.0f}")
            for name, limit, value, unit in (
                ("max_params", self.max_params, spent.params, "parameters"),
                ("max_macs", self.max_macs, spent.macs, "MACs"),
                ("max_activation_bytes", self.max_activation_bytes, spent.activation_bytes, "bytes of activations"),
            )
            if value > limit
        ]
        if self.min_receptive_field:
            least, seen = self.min_receptive_field, min(summary(drawing).receptive_field)
            if seen < least:
                why = f"a receptive field of {seen} is under min_receptive_field {least:,.0f}"
                over.append((least / seen - 1, "min_receptive_field", why))
        if not over:
            return Feasibility(identity, spent)
        _, name, why = max(over)
        return Feasibility(costs=spent, excess=sum(one[0] for one in over), refusal=name, why=why)
