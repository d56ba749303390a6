"""The feasible point nearest to another: what can be kept of a proposal."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcnn import ModelSpec
from kcnn.search.space import Limits, NoFeasiblePointError, Range, Space, find_nearest
from kcnn.search.space.points import is_active

NARROW = Space(  # three convolutions of 8x8 pixels, most of whose strides and kernels do not fit without padding
    ModelSpec(network="stack", input_shape=(8, 8, 1), classes=10),
    {
        "conv1.kernel": (3, 5, 7),
        "conv1.stride": (1, 2, 3),
        "conv1.padding": ("same", "valid"),
        "conv2.kernel": (3, 5, 7),
        "conv2.padding": ("same", "valid"),
        "depth": (2, 3),
        "conv3.kernel": (1, 3, 5),  # where the depth is 3
    },
    training={"learning_rate": Range(1e-4, 1e-2, log=True)},
    limits=Limits(max_macs=3e5),
)


def is_feasible(values):
    return NARROW.check(values).identity is not None


def list_neighbors(point):
    """Every complete point that differs in one choice, and in those that depend on it."""
    for choice in NARROW.network_choices:
        for value in choice.values if choice.name in point else ():
            neighbor = {**point, choice.name: value}
            for other in NARROW.all_choices:
                if is_active(other, neighbor):
                    neighbor.setdefault(other.name, NARROW.default.get(other.name, other.first))
                else:
                    neighbor.pop(other.name, None)
            yield choice.name, value, neighbor


@given(st.integers(0, 10**6))
@settings(max_examples=30)
def test_find_nearest_changes_nothing_or_one_choice_where_that_is_enough(seed):
    point = NARROW.sample_point(Random(seed))
    nearest = find_nearest(NARROW, point)
    assert is_feasible(nearest)
    assert nearest == find_nearest(NARROW, nearest) == find_nearest(NARROW, point)
    assert nearest["learning_rate"] == point["learning_rate"]
    if is_feasible(point):
        assert nearest == point
        return
    feasible = [neighbor for _, _, neighbor in list_neighbors(point) if is_feasible(neighbor)]
    assert not feasible or nearest in feasible


def test_find_nearest_takes_the_closest_value_that_fits():
    choices = {"conv1.kernel": (1, 3, 5, 7, 9)}
    free = Space(NARROW.spec, choices)
    of_five = free.check({"conv1.kernel": 5}).costs.params
    space = Space(NARROW.spec, choices, limits=Limits(max_params=of_five))
    assert find_nearest(space, {"conv1.kernel": 9}) == {"conv1.kernel": 5}
    assert find_nearest(free, {"conv1.kernel": 9}) == {"conv1.kernel": 9}


@given(st.integers(0, 10**6))
@settings(max_examples=30)
def test_find_nearest_keeps_what_can_be_kept(seed):
    point = NARROW.sample_point(Random(seed))
    nearest = find_nearest(NARROW, point)
    for name, value, neighbor in list_neighbors(nearest):
        if value == point.get(name) != nearest[name]:
            others = {other: nearest.get(other, point.get(other, neighbor[other])) for other in neighbor}
            assert not is_feasible({**others, name: value})


def test_find_nearest_of_a_space_without_a_feasible_point_says_so():
    space = Space(NARROW.spec, {"conv1.kernel": (3, 5)}, limits=Limits(max_macs=1))
    with pytest.raises(NoFeasiblePointError):
        find_nearest(space, {"conv1.kernel": 5})


def test_with_values_changes_the_values_and_keeps_the_conditions():
    other = NARROW.with_values({"conv3.kernel": (1,), "learning_rate": Range(1e-3, 1e-2, log=True)})
    by_name = {choice.name: choice for choice in other.all_choices}
    assert by_name["conv3.kernel"].values == (1,)
    assert by_name["conv3.kernel"].conditions == (("depth", (3,)),)
    assert by_name["conv1.kernel"].values == (3, 5, 7)
    assert {*other.training} == {"learning_rate"}
