"""What may be chosen: values by address or by name, ranges, a choice for each layer, choices that depend on others."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from kcnn.graph.overrides import to_builtin


@dataclass(frozen=True)
class Range:
    """Any number from `low` to `high`, both included; whole ones where both are; with `log` evenly by ratio."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or not all(map(math.isfinite, (self.low, self.high))):
            raise ValueError(f"a range goes from a lower number to a higher one, not from {self.low} to {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log range begins above 0, not at {self.low}")

    @property
    def whole(self) -> bool:
        return type(self.low) is int and type(self.high) is int

    def __contains__(self, value: Any) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high and (not self.whole or value == int(value))

    def pick(self, random: Random) -> float:
        if not self.log:
            return random.randint(int(self.low), int(self.high)) if self.whole else random.uniform(self.low, self.high)
        found = math.exp(random.uniform(math.log(self.low), math.log(self.high)))
        return round(found) if self.whole else min(max(found, self.low), self.high)

    @property
    def middle(self) -> float:
        found = math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2
        return round(found) if self.whole else found


Values = tuple[Any, ...] | Range


@dataclass(frozen=True)
class Choice:
    """One thing to choose: its name, the address or option that takes the value, and when it matters."""

    name: str
    values: Values
    condition: tuple[str, tuple[Any, ...]] | None = None  # the name of another choice, and which of its values

    def pick(self, random: Random) -> Any:
        return self.values.pick(random) if isinstance(self.values, Range) else random.choice(self.values)

    def __contains__(self, value: Any) -> bool:
        if isinstance(self.values, Range):
            return value in self.values
        return any(type(value) is type(one) and value == one for one in self.values)


@dataclass(frozen=True)
class ChoiceRequest:
    """Values as a person gives them, before layers are looked up."""

    values: Values
    each: bool = False
    only_if: tuple[str, tuple[Any, ...]] | None = None


def per_layer(*values: Any) -> ChoiceRequest:
    """A choice of its own for every layer that answers to the address: {"conv*.kernel": each(3, 5)}, or each(Range)."""
    return replace(to_request(values[0] if len(values) == 1 and isinstance(values[0], Range) else values), each=True)


def conditional(name: str, when: Any, values: Any) -> ChoiceRequest:
    """Values to choose from only where the choice `name` has come to `when`, a value or a tuple of them.

    `values` may be a Range, a tuple, or each(...).
    """
    return replace(
        to_request(values), only_if=(name, to_builtin(when) if isinstance(when, tuple | list) else (to_builtin(when),))
    )


def to_request(values: Any, name: str = "a choice") -> ChoiceRequest:
    """What a person gave as the values of a choice, checked."""
    if isinstance(values, ChoiceRequest):
        return values
    if isinstance(values, Range):
        return ChoiceRequest(values)
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ValueError(f"{name} takes a tuple of values such as (3, 5), or a kcnn.search.space.Range, not {values!r}")
    found = to_builtin(list(values))
    if not found:
        raise ValueError(f"{name} has no value to choose from")
    if len({json.dumps([type(one).__name__, one]) for one in found}) < len(found):
        raise ValueError(f"{name} names one value twice: {found!r}")
    return ChoiceRequest(found)


def sort_choices(choices: Mapping[str, Choice]) -> tuple[Choice, ...]:
    """The choices, each behind the one that it depends on. ValueError for one that is not there, or a circle."""
    found: dict[str, Choice] = {}

    def place(choice: Choice, above: tuple[str, ...]) -> None:
        if choice.name in above:
            raise ValueError(f"choices depend on each other in a circle: {' -> '.join((*above, choice.name))}")
        if choice.condition:
            name, when = choice.condition
            if name not in choices:
                raise ValueError(f"{choice.name} depends on a choice {name!r}; there are {', '.join(choices)}")
            if not isinstance(choices[name].values, Range):
                strange = [value for value in when if value not in choices[name]]
                if strange:
                    raise ValueError(f"{choice.name} depends on {name} {strange[0]!r}, which it never comes to")
            place(choices[name], (*above, choice.name))
        found.setdefault(choice.name, choice)

    for choice in choices.values():
        place(choice, ())
    return tuple(found.values())


def format_value(value: Any) -> str:
    """A value as a person reads it: 3x5, 'valid', 0.01."""
    if isinstance(value, tuple | list) and all(type(one) is int for one in value):
        return "x".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else repr(value)


def choice_to_json(choice: Choice) -> dict[str, Any]:
    """A choice as JSON has it, without its name."""
    values = choice.values
    found: dict[str, Any] = (
        {"low": values.low, "high": values.high, "log": values.log}
        if isinstance(values, Range)
        else {"values": list(values)}
    )
    return {**found, "only_if": [choice.condition[0], list(choice.condition[1])]} if choice.condition else found


def choice_from_json(told: Mapping[str, Any]) -> ChoiceRequest:
    """What `written` has written."""
    if "low" in told:
        values: Any = Range(told["low"], told["high"], told["log"])
    else:
        values = tuple(map(to_builtin, told["values"]))
    when = told.get("only_if")
    return ChoiceRequest(values, only_if=(when[0], tuple(map(to_builtin, when[1]))) if when else None)
