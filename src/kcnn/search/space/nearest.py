"""The feasible point nearest to a point that cannot be built or exceeds a limit, by arithmetic."""

from collections.abc import Iterator, Mapping
from typing import Any

from kcnn.graph.argument_kinds import check_arguments
from kcnn.search.space.choices import Choice, Range
from kcnn.search.space.points import is_active
from kcnn.search.space.search_space import Space

STEPS = 8  # from one value of a Range to another


@check_arguments
def find_nearest(space: Space, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the feasible point nearest to a point: itself, one choice away, or with what can be kept of it.

    Where no change of one choice is enough, the unchanged network, or a random one where that is infeasible, takes one
    value of the point after another, or the nearest to it that fits. Equal points have equal results.

    Args:
        space: The space.
        values: Values of choices, by name. Those of inactive choices are left out; those of active choices that are
            missing are the default's.

    Returns:
        Values of all active choices, which are feasible.

    Raises:
        NoFeasiblePointError: None was found.
    """
    point = _complete(space, values)
    if _is_feasible(space, point):
        return point
    neighbors = [
        (distance, _complete(space, {**point, choice.name: value}))
        for choice in space.network_choices
        if choice.name in point
        for distance, value in enumerate(
            _list_nearest(choice, point[choice.name], space.default.get(choice.name, choice.first))
        )
        if distance
    ]
    for _, neighbor in sorted(neighbors, key=lambda one: one[0]):
        if _is_feasible(space, neighbor):
            return neighbor
    start = space.default if space.has_default else space.sample("nearest").values
    return _approach(space, point, {**start, **{name: point[name] for name in space.training if name in point}})


def _approach(space: Space, point: Mapping[str, Any], start: Mapping[str, Any]) -> dict[str, Any]:
    """The feasible point that takes one value of another after another, as long as it stays feasible."""
    nearest = _complete(space, {**point, **start})
    is_moving = True
    while is_moving:
        is_moving = False
        for choice in space.network_choices:
            if choice.name not in point or choice.name not in nearest:
                continue
            for value in _list_nearest(choice, point[choice.name], nearest[choice.name]):
                if value == nearest[choice.name]:
                    break
                candidate = _complete(space, {**point, **nearest, choice.name: value})
                if _is_feasible(space, candidate):
                    nearest, is_moving = candidate, True
                    break
    return nearest


def _list_nearest(choice: Choice, value: Any, end: Any) -> Iterator[Any]:
    """A value and the others, nearest first: by their places in a tuple, or the steps from it to the end of a range."""
    values = choice.values
    if isinstance(values, Range):
        steps = (value + (end - value) * step / STEPS for step in range(STEPS + 1))
        yield from dict.fromkeys(round(one) if values.is_integer else one for one in steps)
    else:
        place = values.index(value)
        yield from sorted(values, key=lambda one: abs(values.index(one) - place))


def _complete(space: Space, values: Mapping[str, Any]) -> dict[str, Any]:
    complete: dict[str, Any] = {}
    for choice in space.all_choices:
        if is_active(choice, complete):
            complete[choice.name] = values.get(choice.name, space.default.get(choice.name, choice.first))
    return complete


def _is_feasible(space: Space, values: Mapping[str, Any]) -> bool:
    return space.check(values).identity is not None
