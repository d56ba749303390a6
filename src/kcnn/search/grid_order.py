"""The points of a grid in an order that covers the space: the first ones are not all in one corner. No Keras here."""

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from random import Random
from typing import Any

from kcnn.search.space import Choice, Range, Space
from kcnn.search.space.points import count_points, is_active

RANGE_VALUES = 10  # of a Range, in equal steps
MAX_SHUFFLED = 100_000  # numbers in a list; of more the order is drawn one by one, and its end is never reached
UPCOMING = 32  # points among which the next one is chosen


@dataclasses.dataclass(frozen=True)
class Grid:
    """The grid of a space: every point of its choices, a Range in ten steps, feasible or not.

    Args:
        space: The space.
    """

    space: Space

    @cached_property
    def choices(self) -> list[Choice]:
        """The choices, each with its values on the grid."""
        return [dataclasses.replace(choice, values=_list_values(choice)) for choice in self.space.all_choices]

    @property
    def count(self) -> int:
        """The number of points."""
        return count_points(self.choices, {})

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield every point once, in the same order each time: first those whose values came up least so far.

        The points are numbered, and drawn in a random order that is always the same; of the next few the one with the
        rarest values is visited.
        """
        drawn = (self.locate(number) for number in _shuffle_numbers(self.count))
        visits: Counter[tuple[str, str]] = Counter()
        upcoming = list(itertools.islice(drawn, UPCOMING))
        while upcoming:
            visited = min(upcoming, key=lambda point: sum(visits[key] for key in _list_keys(point)))
            upcoming.remove(visited)
            upcoming += itertools.islice(drawn, 1)
            visits.update(_list_keys(visited))
            yield visited

    def locate(self, number: int) -> dict[str, Any]:
        """Return a point by its number, in lexicographic order of the values.

        Args:
            number: From 0.
        """
        values: dict[str, Any] = {}
        for position, choice in enumerate(self.choices):
            if is_active(choice, values):
                rest = self.choices[position + 1 :]
                for value in choice.values if isinstance(choice.values, tuple) else ():
                    values[choice.name] = value
                    if number < (points := count_points(rest, values)):
                        break
                    number -= points
        return values


def describe_budget(space: Space, trials: int | None) -> str | None:
    """Return how much of a grid a budget of trials visits; None where it visits all of it.

    Args:
        space: The space.
        trials: The budget; None for no limit.
    """
    points = Grid(space).count
    if trials is None or trials >= points:
        return None
    return (
        f"the grid has {points:,} points, and the budget is {trials:,} trials: they are spread over the grid; "
        f"--trials {points} visits all, and --tuner random or bayesian needs no grid"
    )


def _list_values(choice: Choice) -> tuple[Any, ...]:
    values = choice.values
    if not isinstance(values, Range):
        return values
    scale, inverse = (math.log, math.exp) if values.log else (float, float)
    low, high = scale(values.low), scale(values.high)
    steps = [inverse(low + (high - low) * n / (RANGE_VALUES - 1)) for n in range(RANGE_VALUES)]
    if values.is_integer:
        return tuple(sorted({round(step) for step in steps}))
    return tuple(min(max(step, values.low), values.high) for step in steps)


def _shuffle_numbers(count: int) -> Iterator[int]:
    """Yield the numbers below a count, each once, in an order that is always the same."""
    random = Random(count)
    if count <= MAX_SHUFFLED:
        yield from random.sample(range(count), count)
        return
    seen: set[int] = set()
    while len(seen) < count:
        number = random.randrange(count)
        if number not in seen:
            seen.add(number)
            yield number


def _list_keys(point: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, repr(value)) for name, value in point.items()]
