"""The points of some choices: which of them matter beside each other, all of them, and how many there are."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

from kcnn.search.space.choices import Choice, Range


def is_active(choice: Choice, values: Mapping[str, Any]) -> bool:
    """Whether a choice matters where those before it have come to `values`."""
    if choice.condition is None:
        return True
    name, when = choice.condition
    return name in values and values[name] in when


def iterate_points(rest: Sequence[Choice], found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every point of choices in their order, behind what is `found`; ranges stand at their middle."""
    if not any(choice.condition for choice in rest):
        values = [(c.values.middle,) if isinstance(c.values, Range) else c.values for c in rest]
        for point in product(*values):
            yield {**found, **{choice.name: value for choice, value in zip(rest, point, strict=True)}}
        return
    choice = rest[0]
    if not is_active(choice, found):
        yield from iterate_points(rest[1:], found)
        return
    for value in (choice.values.middle,) if isinstance(choice.values, Range) else choice.values:
        yield from iterate_points(rest[1:], {**found, choice.name: value})


def count_points(rest: Sequence[Choice], found: dict[str, Any]) -> int:
    """How many those are, without going through them where no condition asks for it."""
    if not any(choice.condition for choice in rest):
        return prod(1 if isinstance(c.values, Range) else len(c.values) for c in rest)
    choice = rest[0]
    if not is_active(choice, found):
        return count_points(rest[1:], found)
    if isinstance(choice.values, Range):
        return count_points(rest[1:], {**found, choice.name: choice.values.middle})
    depended = any(other.condition and other.condition[0] == choice.name for other in rest)
    if not depended:
        return len(choice.values) * count_points(rest[1:], {**found, choice.name: choice.values[0]})
    return sum(count_points(rest[1:], {**found, choice.name: value}) for value in choice.values)
