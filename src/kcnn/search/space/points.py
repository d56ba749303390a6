"""Points of a search space: which choices are active, all points, and their number."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

from kcnn.search.space.choices import Choice, Range


def is_active(choice: Choice, values: Mapping[str, Any]) -> bool:
    """Return whether the conditions of a choice are met.

    Args:
        choice: The choice.
        values: Values of the choices before it, by name.
    """
    return all(name in values and values[name] in when for name, when in choice.conditions)


def iterate_points(choices: Sequence[Choice], values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every point of some choices; a range has its midpoint only.

    Args:
        choices: Choices in an order in which each follows the one that it depends on.
        values: Values of the choices before them, which every point has too.
    """
    if not any(choice.conditions for choice in choices):
        columns = [_list_values(choice) for choice in choices]
        for point in product(*columns):
            yield {**values, **{choice.name: value for choice, value in zip(choices, point, strict=True)}}
        return
    choice = choices[0]
    if not is_active(choice, values):
        yield from iterate_points(choices[1:], values)
        return
    for value in _list_values(choice):
        yield from iterate_points(choices[1:], {**values, choice.name: value})


def count_points(choices: Sequence[Choice], values: dict[str, Any]) -> int:
    """Return the number of those points, without iterating over them where no condition needs it.

    Args:
        choices: Choices in an order in which each follows the one that it depends on.
        values: Values of the choices before them.
    """
    if not any(choice.conditions for choice in choices):
        return prod(len(_list_values(choice)) for choice in choices)
    choice, *rest = choices
    if not is_active(choice, values):
        return count_points(rest, values)
    options = _list_values(choice)
    has_dependents = any(choice.name == name for other in rest for name, _ in other.conditions)
    if not has_dependents:
        return len(options) * count_points(rest, {**values, choice.name: options[0]})
    return sum(count_points(rest, {**values, choice.name: value}) for value in options)


def _list_values(choice: Choice) -> tuple[Any, ...]:
    return (choice.values.midpoint,) if isinstance(choice.values, Range) else choice.values
