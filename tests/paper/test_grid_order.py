"""The order in which a grid is visited."""

import pytest

import kcnn
from kcnn.search.grid_order import Grid, describe_budget
from kcnn.search.space import Range, Space, conditional

STACK = kcnn.ModelSpec(network="stack", classes=10, input_shape=(16, 16, 1))
CONDITIONAL = {
    "pool1.mode": ("max", "average"),
    "pool1.kernel": conditional("pool1.mode", "max", (2, 3)),
    "depth": (2, 3),
    "conv3.kernel": (1, 3, 5),
}
LARGE = {f"conv{n}.{name}": values for n in (1, 2) for name, values in (("kernel", (1, 3, 5, 7)), ("filters", (8, 16)))}


def to_keys(points):
    return [tuple(sorted(map(str, point.items()))) for point in points]


@pytest.mark.parametrize(
    ("choices", "training", "count"),
    [
        (CONDITIONAL, {}, 3 * (1 + 3)),
        (LARGE, {"learning_rate": Range(1e-4, 1e-1, log=True)}, 640),
        ({"conv1.kernel": (3,)}, {"batch_size": Range(16, 18)}, 3),
        ({"conv1.kernel": (3, 5)}, {}, 2),
        ({"conv1.kernel": (3,)}, {}, 1),
    ],
)
def test_grid_visits_every_point_once_in_the_same_order(choices, training, count):
    space = Space(STACK, choices, training=training)
    keys = to_keys(Grid(space))
    assert len(keys) == Grid(space).count == len(set(keys)) == count
    assert keys == to_keys(Grid(space))
    if not training:
        assert set(keys) == set(to_keys(space.points()))


@pytest.mark.parametrize("choices", [LARGE, CONDITIONAL])
def test_grid_has_every_value_among_its_first_points(choices):
    space = Space(STACK, choices, training={"learning_rate": (1e-3, 1e-2, 1e-1), "weight_decay": (0.0, 1e-4)})
    first = [point for _, point in zip(range(12), Grid(space), strict=False)]
    for choice in space.all_choices:
        assert {point[choice.name] for point in first if choice.name in point} == set(choice.values), choice.name


def test_grid_of_more_points_than_a_number_of_64_bits_begins_at_once():
    convs = {f"conv{n}.{name}": tuple(range(1, 10)) for n in range(1, 12) for name in ("filters", "kernel")}
    space = Space(kcnn.ModelSpec(network="stack", classes=10, options={"depth": 11}, input_shape=(16, 16, 1)), convs)
    assert Grid(space).count == 9**22
    first = [point for _, point in zip(range(18), Grid(space), strict=False)]
    for choice in space.all_choices:
        assert len({point[choice.name] for point in first}) >= 6, choice.name


def test_describe_budget_says_how_much_of_the_grid_is_visited():
    space = Space(STACK, LARGE, training={"learning_rate": Range(1e-4, 1e-1, log=True)})
    assert describe_budget(space, 640) is describe_budget(space, None) is None
    assert describe_budget(space, 20).startswith(
        "the grid has 640 points, and the budget is 20 trials: they are spread"
    )
