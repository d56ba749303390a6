"""Replays of recorded traces: what they judge of a point is what its trace says."""

from dataclasses import replace
from functools import wraps
from random import Random

import pytest

import kcnn
from kcnn.blocks import apply, conv, decide_by_shapes
from kcnn.graph.ops import AdaptivePool, Pad, Pool
from kcnn.search.space import Space, default_space
from kcnn.search.space import replay as module
from kcnn.search.space.costs import estimate_costs
from kcnn.search.space.replay import Replay
from tests.catalogue import divide

SAMPLED = ["lenet5", "stack", "googlenet", "squeezenet1_1", "resnet18", "mobilenet_v2", "seresnet18"]


def _create_replay(space: Space) -> Replay:
    return Replay(space.spec, [choice.name for choice in space.network_choices if "." in choice.name])


def _estimate(function) -> tuple:
    """What a function returns, or the class and text of its error."""
    try:
        return function()
    except ValueError as error:
        return type(error), str(error)


def _check_replay(space: Space, points: list) -> Replay:
    """Compare each point with a trace of its own."""
    replay = _create_replay(space)
    for point in points:
        chosen = {c.name: point[c.name] for c in space.network_choices if c.name in point}
        expected = _estimate(lambda: estimate_costs(space.trace(chosen)))  # noqa: B023 - called at once
        assert _estimate(lambda: replay.estimate_costs(chosen)) == expected, chosen  # noqa: B023
    return replay


@pytest.mark.parametrize("networks", divide(SAMPLED))
def test_replay_of_a_default_space_equals_the_trace_of_each_point(networks):
    for network in networks:
        space, random = default_space(network), Random(1)
        replay = _check_replay(space, [space.sample_point(random) for _ in range(30)])
        assert replay.can_replay == (kcnn.get_architecture(network).backbone is not None), network


@pytest.mark.parametrize(
    "network", ["resnet50", "mobilenet_v3_small", pytest.param("inception_v3", marks=pytest.mark.every)]
)
def test_replay_calls_the_backbone_for_few_points(network):
    architecture = kcnn.get_architecture(network)
    calls = []

    @wraps(architecture.backbone)
    def backbone(x, **options):
        calls.append(options)
        return architecture.backbone(x, **options)

    space = default_space(network)
    counted = Space(replace(architecture, backbone=backbone), space.choices, limits=space.limits)
    random = Random(2)
    points = [counted.sample_point(random) for _ in range(200)]
    replay, calls[:] = _create_replay(counted), []
    rejected = 0
    for point in points:
        try:
            replay.estimate_costs(point)
        except ValueError:
            rejected += 1
    assert rejected < len(calls) <= rejected + 40


def _reads_rows(x):
    return conv(x, 8 if x.shape[0] > 4 else 2, 1, name="end")


def _reads_channels(x):
    return conv(x, 8 if x.shape[-1] > 4 else 2, 1, name="end")


def _unpacks(x):
    rows, _, channels = x.shape
    return conv(x, rows + channels, 1, name="end")


def _copies(x):
    return conv(x, sum(tuple(x.shape)), 1, name="end")


def _adds_to_shape(x):
    return conv(x, (1, *((0,) + x.shape))[2], 1, name="end")  # noqa: RUF005 - tuple + shape


def _searches_shape(x):
    return conv(x, 8 if 7 in x.shape else 2, 1, name="end")


def _orders_shapes(x):
    return conv(x, 8 if x.shape < (5, 0, 0) else 2, 1, name="end")


def _compares_with_constant(x):
    return conv(x, 8 if x.shape == (8, 8, 4) else 2, 1, name="end")


def _compares_two(x):
    y = conv(x, 4, 1, stride=2, name="other")
    return conv(x, 8 if x.shape != y.shape else 2, 1, name="end")


def _writes_shape(x):
    return conv(x, 4, 1, name=f"end_{x.shape[0]}_{len(str(x.shape))}")


def _decides(x):
    return conv(x, decide_by_shapes(lambda shape: 2 + shape[0] % 2, x), 1, name="end")


def _puts_shape_into_op(x):
    return apply(AdaptivePool(x.shape[:2]), x, name="end")


def _puts_whole_shape_into_op(x):
    return apply(Pad(0, channels=x.shape), x, name="end") if len(x.shape) == 2 else conv(x, 2, 1, name="end")


def _reads_op(x):
    return conv(x, 8 if x.op.kernel == 3 else 2, 1, name="end")


def _reads_input(x):
    (source,) = x.inputs
    return conv(x, 8 if source.shape[0] > x.shape[0] else 2, 1, name="end")


def _catches_error(x):
    try:
        return apply(Pool(5, 1), x, name="last_pool")
    except ValueError:
        return conv(x, 4, 1, name="end")


def _rewords_error(x):
    try:
        return apply(Pool(5, 1), x, name="last_pool")
    except ValueError as error:
        raise ValueError("my pool does not fit") from error


def _fails(x):
    return conv(x, [8, 4][8 // x.shape[0]], 1, name="end")


BODIES = [
    *(_reads_rows, _reads_channels, _unpacks, _copies, _adds_to_shape, _searches_shape, _orders_shapes),
    *(_compares_with_constant, _compares_two, _writes_shape, _decides, _puts_shape_into_op, _puts_whole_shape_into_op),
    *(_reads_op, _reads_input, _catches_error, _rewords_error, _fails),
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_replay_sees_whatever_a_backbone_decides_by(body):
    def backbone(x):
        return body(conv(x, 4, 3, activation=None, name="stem"))

    network = kcnn.Architecture(backbone=backbone, reference="", input_shape=(8, 8, 3), classes=3)
    choices = {
        "stem.kernel": (3, 5, 2, 11),
        "stem.stride": (1, 2),
        "stem.padding": ("same", "valid"),
        "stem.filters": (4, 6),
    }
    space = Space(network, choices)
    points = list(space.points())
    Random(0).shuffle(points)
    assert _check_replay(space, points * 2).can_replay == (body is not _reads_op)


def test_replay_keeps_no_more_layers_than_its_limit(monkeypatch):
    monkeypatch.setattr(module, "MAX_LAYERS", 200)
    space, random = default_space("stack"), Random(3)
    points = [space.sample_point(random) for _ in range(100)]
    replay = _check_replay(space, points)
    layers = len(kcnn.summary("stack"))
    assert replay.kept_layers <= 200 + 4 * layers


def test_check_forgets_the_oldest_points(monkeypatch):
    monkeypatch.setattr("kcnn.search.space.search_space.MAX_CACHED", 10)
    space, random = default_space("lenet5"), Random(4)
    points = [space.sample_point(random) for _ in range(60)]
    first = [space.check(point) for point in points]
    assert [space.check(point) for point in points] == first
    assert len(space._cache) <= 10
