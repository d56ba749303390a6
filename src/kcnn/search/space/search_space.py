"""Search spaces: choices of a network and its training, limits, and the feasibility of each point without Keras."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf
from random import Random
from typing import Any

from kcnn.architectures.architecture import Architecture
from kcnn.architectures.spec import ModelSpec, summary, to_spec
from kcnn.graph.arguments import check_keywords, check_kind, check_mapping
from kcnn.graph.graph import Graph
from kcnn.graph.overrides import Override, to_builtin, unmatched_override
from kcnn.search.space.candidate import Candidate, Feasibility, NoFeasiblePointError
from kcnn.search.space.choices import (
    Choice,
    ChoiceRequest,
    Range,
    Values,
    choice_from_json,
    choice_to_json,
    join_conditions,
    parse_values,
    sort_choices,
)
from kcnn.search.space.impossible_values import check_values
from kcnn.search.space.limits import Limits
from kcnn.search.space.optional_layers import find_ops, find_optional_layers
from kcnn.search.space.points import count_points, is_active, iterate_points
from kcnn.search.space.replay import Replay

SAMPLES = 2_000  # random points, before infeasible ones are repaired
REPAIRS = 20
MAX_CACHED = 65_536  # points whose feasibility is kept


@check_keywords
@dataclass(frozen=True, eq=False)
class Space:
    """Define a search space: choices of a network and its training, and limits that every candidate keeps.

    Args:
        network: A name, an Architecture, or a ModelSpec; options and overrides of a ModelSpec hold for all candidates.
        choices: Values by address ({"inception_*_5x5.kernel": (3, 5, (3, 5))}) or by option of the network
            ({"width": (0.5, 1.0)}): a tuple, a Range, `per_layer(...)`, or `conditional(...)`. All layers that one
            address matches have one value.
        training: Values by field of the recipe or its augmentation: {"learning_rate": Range(1e-4, 1e-2, log=True)}.
        limits: Limits of parameters, MACs, memory and receptive field.

    Raises:
        UnknownNameError: No layer matches an address, or an option is unknown.
        ValueError: There is no choice, or one has no values.
    """

    network: str | Architecture | ModelSpec
    choices: Mapping[str, Any]
    training: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    _cache: dict[str, Feasibility] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for name, example in (("choices", "{'stem.kernel': (3, 5)}"), ("training", "{'learning_rate': (0.1, 0.01)}")):
            check_mapping(name, getattr(self, name), example)
        check_kind("limits", self.limits, Limits, "kcnn.search.space.Limits")
        if not self.choices and not self.training:
            raise ValueError("a space needs at least one choice, such as {'stem.kernel': (3, 5)}")
        both = sorted({*self.choices} & {*self.training})
        if both:
            raise ValueError(f"{both[0]!r} is both a choice of the network and of its training; remove one")
        plain = ModelSpec(network=self.spec.network)
        for name in ("top", "activation", "pooling", "aux", "outputs", "prefix", "weights"):
            if getattr(self.spec, name) != getattr(plain, name):
                raise ValueError(f"a search trains complete networks from scratch; remove {name} from the ModelSpec")
        _ = self.all_choices  # mistakes are reported here

    @cached_property
    def spec(self) -> ModelSpec:
        """The network without any choice."""
        return to_spec(self.network)

    @property
    def name(self) -> str:
        """The name of the network."""
        return self.spec.title

    @cached_property
    def base(self) -> Graph:
        """The graph of the network without any choice. Raises ValueError where that does not fit this input."""
        return self.spec.trace_candidate()

    @cached_property
    def all_choices(self) -> tuple[Choice, ...]:
        """Every choice, in an order in which each follows the one that it depends on."""
        requests = {name: parse_values(values, name) for name, values in self.choices.items()}
        options = {name: request.values for name, request in requests.items() if "." not in name}
        optional = find_optional_layers(self.spec, options, [name for name in requests if "." in name])
        choices: dict[str, Choice] = {}
        for name, request in requests.items():
            if "." not in name:
                choices[name] = Choice(name, request.values, request.conditions)
                continue
            for address, layers in _list_addresses(name, request.per_layer, optional.ops).items():
                check_values(address, request.values, [optional.ops[layer] for layer in layers])
                conditions = join_conditions(request.conditions, optional.find_conditions(layers))
                choices[address] = Choice(address, request.values, conditions)
        for name, values in self.training.items():
            request = parse_values(values, name)
            if request.per_layer:
                raise ValueError(f"{name} is a choice of the training, which has no layers; remove per_layer")
            choices[name] = Choice(name, request.values, request.conditions)
        return sort_choices(choices)

    @cached_property
    def network_choices(self) -> tuple[Choice, ...]:
        """The choices that change the network."""
        return tuple(choice for choice in self.all_choices if choice.name not in self.training)

    @cached_property
    def default(self) -> dict[str, Any]:
        """The values of the unchanged network; the first value of a choice that does not have the network's own."""
        own = self._own_values
        values: dict[str, Any] = {}
        for choice in self.all_choices:
            if is_active(choice, values):
                value = own.get(choice.name)
                values[choice.name] = value if value in choice else choice.first
        return values

    @cached_property
    def has_default(self) -> bool:
        """Whether the unchanged network is a feasible point of the space."""
        own, values = self._own_values, self.default
        is_own = all(own.get(c.name) == values[c.name] for c in self.network_choices if c.name in values)
        return is_own and self.check(values).identity is not None

    def sample_point(self, random: Random) -> dict[str, Any]:
        """Return a random point, feasible or not: values of all active choices, each value with equal probability."""
        values: dict[str, Any] = {}
        for choice in self.all_choices:
            if is_active(choice, values):
                values[choice.name] = choice.sample(random)
        return values

    def complete(self, values: Mapping[str, Any], random: Random) -> dict[str, Any]:
        """Return the values of the choices that are active after one of them was changed, and of no others.

        Args:
            values: Values of choices, by name.
            random: The source of those that are missing.
        """
        complete: dict[str, Any] = {}
        for choice in self.all_choices:
            if is_active(choice, complete):
                complete[choice.name] = values[choice.name] if choice.name in values else choice.sample(random)
        return complete

    def check(self, values: Mapping[str, Any]) -> Feasibility:
        """Return whether a point is feasible; cached, since many points differ in their training only.

        Args:
            values: Values of the active choices, by name.
        """
        chosen = {c.name: values[c.name] for c in self.network_choices if c.name in values}
        key = json.dumps(chosen)
        if key not in self._cache:
            if len(self._cache) >= MAX_CACHED:
                self._cache.pop(next(iter(self._cache)))  # the oldest
            self._cache[key] = self._check(chosen)
        return self._cache[key]

    def identity(self, values: Mapping[str, Any]) -> str | None:
        """Return the identity of a candidate by what it computes and how it is trained; None where it is rejected.

        Args:
            values: Values of the active choices, by name.
        """
        network = self.check(values).identity
        if network is None:
            return None
        return network + json.dumps({name: values[name] for name in self.training if name in values}, sort_keys=True)

    def candidate(self, values: Mapping[str, Any]) -> Candidate:
        """Return the candidate with some values.

        Args:
            values: Values of the active choices, by name.

        Returns:
            The candidate; its spec has only overrides that change something.

        Raises:
            ValueError: The values are not feasible, not of the space, or incomplete.
        """
        rest = {name: to_builtin(value) for name, value in values.items()}
        chosen: dict[str, Any] = {}
        for choice in self.all_choices:
            if is_active(choice, chosen):
                if choice.name not in rest:
                    raise ValueError(f"a candidate needs a value of {choice.name}")
                if rest[choice.name] not in choice:
                    raise ValueError(f"{choice.name} {rest[choice.name]!r} is not in the space")
                chosen[choice.name] = rest.pop(choice.name)
        if rest:
            raise ValueError(f"{', '.join(rest)}: no active choice has this name")
        feasibility = self.check(chosen)
        if feasibility.identity is None:
            raise ValueError(f"{self.name}: {feasibility.explanation}")
        training = {name: value for name, value in chosen.items() if name in self.training}
        graph = self.trace(chosen)
        if graph.spec is not None and graph.unused_overrides:
            used = {a: v for a, v in graph.spec.overrides.items() if a not in graph.unused_overrides}
            graph = replace(graph.spec, overrides=used).trace_candidate()
        return Candidate(chosen, graph, training)

    def sample(self, seed: int | str, exclude: Collection[str] = ()) -> Candidate:
        """Return a random feasible candidate.

        Args:
            seed: The seed, which fixes the candidate.
            exclude: Identities of candidates that are not to be returned.

        Raises:
            NoFeasiblePointError: None was found; `analyze_feasibility` reports the reasons.
        """
        random = Random(f"candidate {seed}")
        for number in range(SAMPLES + REPAIRS):
            values = self.sample_point(random)
            if number >= SAMPLES:
                values = self.repair(values, random)
            identity = self.identity(values)
            if identity is not None and identity not in exclude:
                return self.candidate(values)
        kind = f"other than the {len(exclude)} before" if exclude else "within the limits"
        raise NoFeasiblePointError(f"{self.name}: {SAMPLES:,} random points include no feasible one {kind}")

    def repair(self, values: Mapping[str, Any], random: Random) -> dict[str, Any]:
        """Return a point nearer to the limits: one choice after another is improved as long as that helps.

        Args:
            values: The point.
            random: The source of the order of choices.
        """
        point = dict(values)
        excess, before = self.check(point).excess, inf
        while (excess and excess < before) or (before == inf and excess == inf):
            before = excess
            order = list(self.network_choices)
            random.shuffle(order)
            for choice in order:
                if choice.name not in point or isinstance(choice.values, Range):
                    continue
                for value in choice.values:
                    neighbor = self.complete({**point, choice.name: value}, random)
                    new_excess = self.check(neighbor).excess
                    if new_excess < excess:
                        point, excess = neighbor, new_excess
            if excess == inf:
                break
        return point

    def points(self) -> Iterator[dict[str, Any]]:
        """Yield every point of the choices of the network, feasible or not; a range has its midpoint only."""
        yield from iterate_points(self.network_choices, {})

    @cached_property
    def combinations(self) -> int:
        """The number of points, without those that a condition rules out; a range counts once."""
        return count_points(self.network_choices, {})

    def with_values(self, values: Mapping[str, Values]) -> "Space":
        """Return the space with other values of some choices.

        Args:
            values: A tuple of values, or a Range, by the name of a choice.
        """
        requests = {
            choice.name: ChoiceRequest(values.get(choice.name, choice.values), conditions=choice.conditions)
            for choice in self.all_choices
        }
        training = {name: request for name, request in requests.items() if name in self.training}
        choices = {name: request for name, request in requests.items() if name not in self.training}
        return replace(self, choices=choices, training=training)

    def model_spec(self, values: Mapping[str, Any]) -> ModelSpec:
        """Return the spec of the network of a point, feasible or not.

        Args:
            values: Values of the active choices, by name.
        """
        return self.spec.with_overrides({c.name: values[c.name] for c in self.network_choices if c.name in values})

    def trace(self, values: Mapping[str, Any]) -> Graph:
        """Return the graph of a point, whatever the limits are.

        Args:
            values: Values of the active choices, by name.

        Raises:
            ValueError: Its layers do not fit.
        """
        return self.model_spec(values).trace_candidate()

    def to_json(self) -> dict[str, Any]:
        """Return the space as JSON values.

        Raises:
            ValueError: The network is an Architecture that no module or file defines.
        """
        if not isinstance(self.spec.network, str) and self.spec.definition is None:
            raise ValueError(
                f"{self.name}: a search needs an architecture that its processes can import; define it at the top "
                "level of a Python file, or pass its name, such as 'my_net.py:net'"
            )
        training = {c.name: choice_to_json(c) for c in self.all_choices if c.name in self.training}
        return {
            "spec": self.spec.to_json(),
            "choices": {choice.name: choice_to_json(choice) for choice in self.network_choices},
            "training": training,
            "limits": self.limits.to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Space":
        """Return the space that `to_json` wrote."""
        return cls(
            ModelSpec.from_json(values["spec"]),
            {name: choice_from_json(record) for name, record in values["choices"].items()},
            training={name: choice_from_json(record) for name, record in values["training"].items()},
            limits=Limits(**values["limits"]),
        )

    @cached_property
    def _own_values(self) -> dict[str, Any]:
        """The network's own values of the choices, without those in which its layers differ."""
        options = {**self.spec.architecture.defaults(), **self.spec.options}
        ops, values = find_ops(self.spec), {}
        for choice in self.all_choices:
            if choice.name in options:
                values[choice.name] = to_builtin(options[choice.name])
            elif "." in choice.name:
                override = Override(choice.name, None)
                own = {
                    getattr(op, override.attribute)
                    for name, op in ops.items()
                    if override.matches(name) and override.attribute in getattr(op, "__dataclass_fields__", ())
                }
                if len(own) == 1:
                    values[choice.name] = own.pop()
        return values

    @cached_property
    def _replay(self) -> Replay:
        return Replay(self.spec, [choice.name for choice in self.network_choices if "." in choice.name])

    def _check(self, chosen: Mapping[str, Any]) -> Feasibility:
        try:
            identity, costs = self._replay.estimate_costs(chosen)
        except ValueError as error:
            return Feasibility(excess=inf, reason=str(error).partition(":")[0], explanation=str(error))
        except (TypeError, AttributeError) as error:  # an option with a value that the backbone cannot use
            return Feasibility(excess=inf, reason="the backbone", explanation=f"the backbone failed: {error}")
        limits = self.limits
        excesses = [
            (value / limit - 1 if limit else inf, name, f"{value:,} {unit} exceed {name} {limit:,.0f}")
            for name, limit, value, unit in (
                ("max_params", limits.max_params, costs.params, "parameters"),
                ("max_macs", limits.max_macs, costs.macs, "MACs"),
                ("max_activation_bytes", limits.max_activation_bytes, costs.activation_bytes, "bytes of activations"),
            )
            if limit is not None and value > limit
        ]
        if limits.min_receptive_field:
            least, pixels = limits.min_receptive_field, min(summary(self.trace(chosen)).receptive_field)
            if pixels < least:
                text = f"a receptive field of {pixels} is below min_receptive_field {least:,.0f}"
                excesses.append((least / pixels - 1, "min_receptive_field", text))
        if not excesses:
            return Feasibility(identity, costs)
        _, name, text = max(excesses)
        return Feasibility(costs=costs, excess=sum(excess for excess, _, _ in excesses), reason=name, explanation=text)


def _list_addresses(address: str, per_layer: bool, ops: Mapping[str, Any]) -> dict[str, list[str]]:
    """The layers by address: all by the address itself, or each by its own. UnknownNameError: there is none."""
    override = Override(address, None)
    names = [
        name
        for name, op in ops.items()
        if override.matches(name) and override.attribute in getattr(op, "__dataclass_fields__", ())
    ]
    if not names:
        raise unmatched_override(address, ops)
    return {f"{name}.{override.attribute}": [name] for name in names} if per_layer else {address: names}
