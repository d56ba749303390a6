"""Choices of a search space: values by address or by name, ranges, a choice for each layer, conditions."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.names import unknown
from kcnn.graph.overrides import to_builtin

Condition = tuple[str, tuple[Any, ...]]  # the name of another choice, and those of its values that it takes


@check_arguments
@dataclass(frozen=True)
class Range:
    """Define a range of numbers from `low` to `high`, both included; integers where both are.

    Args:
        low: The lowest number.
        high: The highest number.
        log: Whether samples are uniform in the logarithm.

    Raises:
        ValueError: `low` is not below `high`, or not above 0 where `log` is set.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or not all(map(math.isfinite, (self.low, self.high))):
            raise ValueError(f"a Range goes from a lower to a higher number, got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic Range starts above 0, got {self.low}")

    @property
    def is_integer(self) -> bool:
        """Whether the range holds integers only."""
        return type(self.low) is int and type(self.high) is int

    def __contains__(self, value: Any) -> bool:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and self.low <= value <= self.high and (not self.is_integer or value == int(value))

    def sample(self, random: Random) -> float:
        """Return a random number of the range."""
        if not self.log:
            if self.is_integer:
                return random.randint(int(self.low), int(self.high))
            return random.uniform(self.low, self.high)
        value = math.exp(random.uniform(math.log(self.low), math.log(self.high)))
        return round(value) if self.is_integer else min(max(value, self.low), self.high)

    @property
    def midpoint(self) -> float:
        """The middle of the range, of its logarithm where `log` is set."""
        value = math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2
        return round(value) if self.is_integer else value


Values = tuple[Any, ...] | Range


@check_arguments
@dataclass(frozen=True)
class Choice:
    """One dimension of a search space.

    Attributes:
        name: The address or the option that takes the value.
        values: A tuple of values, or a Range.
        conditions: Names of other choices and those of their values with which this choice is active; all must hold.
    """

    name: str
    values: Values
    conditions: tuple[Condition, ...] = ()

    @property
    def first(self) -> Any:
        """The first value; of a Range the midpoint."""
        return self.values.midpoint if isinstance(self.values, Range) else self.values[0]

    def sample(self, random: Random) -> Any:
        """Return a random value."""
        return self.values.sample(random) if isinstance(self.values, Range) else random.choice(self.values)

    def __contains__(self, value: Any) -> bool:
        if isinstance(self.values, Range):
            return value in self.values
        return any(type(value) is type(known) and value == known for known in self.values)


@dataclass(frozen=True)
class ChoiceRequest:
    """Values as a user gives them, before layers are looked up.

    Attributes:
        values: A tuple of values, or a Range.
        per_layer: Whether each layer that the address matches has a choice of its own.
        conditions: Names of other choices and those of their values with which this choice is active; all must hold.
    """

    values: Values
    per_layer: bool = False
    conditions: tuple[Condition, ...] = ()


@check_arguments
def per_layer(*values: Any) -> ChoiceRequest:
    """Return a choice for each layer that an address matches.

    Args:
        *values: The values, or one Range: {"conv*.kernel": per_layer(3, 5)}.

    Returns:
        The request, as a value of the choices of a Space.

    Raises:
        ValueError: There is no value, or one is given twice.
    """
    return replace(
        parse_values(values[0] if len(values) == 1 and isinstance(values[0], Range) else values), per_layer=True
    )


@check_arguments
def conditional(name: str, when: Any, values: Any) -> ChoiceRequest:
    """Return a choice that is active only where another choice has one of some values.

    Args:
        name: The name of the other choice.
        when: Its value, or a tuple of values.
        values: A tuple of values, a Range, or `per_layer(...)`.

    Returns:
        The request, as a value of the choices of a Space.

    Raises:
        ValueError: There is no value, or one is given twice.
    """
    when = to_builtin(when) if isinstance(when, tuple | list) else (to_builtin(when),)
    request = parse_values(values)
    return replace(request, conditions=(*request.conditions, (name, when)))


def parse_values(values: Any, name: str = "a choice") -> ChoiceRequest:
    """Check the values of a choice.

    Args:
        values: A tuple, a Range, `per_layer(...)` or `conditional(...)`.
        name: The name of the choice, for messages.

    Returns:
        The request.

    Raises:
        ValueError: There is no value, one is given twice, or they are something else.
    """
    if isinstance(values, ChoiceRequest):
        return values
    if isinstance(values, Range):
        return ChoiceRequest(values)
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ValueError(f"{name} expects a tuple of values such as (3, 5), or a Range, got {values!r}")
    builtin = to_builtin(list(values))
    if not builtin:
        raise ValueError(f"{name} has no values to choose from")

    def refuse(value: Any) -> None:
        raise ValueError(
            f"{name} cannot have the value {value!r}; choose from numbers, texts, True, False, None, tuples"
        )

    if len({json.dumps([type(value).__name__, value], default=refuse) for value in builtin}) < len(builtin):
        raise ValueError(f"{name} has a duplicate value: {builtin!r}")
    return ChoiceRequest(builtin)


def sort_choices(choices: Mapping[str, Choice]) -> tuple[Choice, ...]:
    """Return choices in an order in which each follows the one that it depends on.

    Args:
        choices: Choices by name.

    Raises:
        UnknownNameError: A choice depends on one that does not exist.
        ValueError: Choices depend on each other in a cycle, or on a value that a choice does not have.
    """
    ordered: dict[str, Choice] = {}

    def add(choice: Choice, path: tuple[str, ...]) -> None:
        if choice.name in path:
            raise ValueError(f"choices depend on each other in a cycle: {' -> '.join((*path, choice.name))}")
        for name, when in choice.conditions:
            if name not in choices:
                raise unknown("choice", name, choices, f"condition of {choice.name}")
            if not isinstance(choices[name].values, Range):
                missing = [value for value in when if value not in choices[name]]
                if missing:
                    raise ValueError(f"{choice.name} depends on {name} {missing[0]!r}, which is not among its values")
            add(choices[name], (*path, choice.name))
        ordered.setdefault(choice.name, choice)

    for choice in choices.values():
        add(choice, ())
    return tuple(ordered.values())


def join_conditions(requested: Sequence[Condition], inferred: Sequence[Condition]) -> tuple[Condition, ...]:
    """Return conditions of a user and those that layers have, without those of layers that a user's imply."""
    return (
        *requested,
        *(one for one in inferred if not any(one[0] == name and {*when} <= {*one[1]} for name, when in requested)),
    )


def choice_to_json(choice: Choice) -> dict[str, Any]:
    """Return a choice as JSON values, without its name."""
    values = choice.values
    if isinstance(values, Range):
        record: dict[str, Any] = {"low": values.low, "high": values.high, "log": values.log}
    else:
        record = {"values": list(values)}
    conditions = [[name, list(when)] for name, when in choice.conditions]
    if len(conditions) > 1:
        return {**record, "conditions": conditions}
    return {**record, "condition": conditions[0]} if conditions else record  # as all searches before had it


def choice_from_json(record: Mapping[str, Any]) -> ChoiceRequest:
    """Return the choice that `choice_to_json` wrote."""
    if "low" in record:
        values: Any = Range(record["low"], record["high"], record["log"])
    else:
        values = tuple(map(to_builtin, record["values"]))
    conditions = record.get("conditions") or ([record["condition"]] if record.get("condition") else [])
    return ChoiceRequest(values, conditions=tuple((name, tuple(map(to_builtin, when))) for name, when in conditions))
