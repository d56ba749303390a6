"""Spaces that networks come with: kernels, strides and depths that can be built, and how many points of a space can."""

from random import Random

import keras_tuner
import pytest

import kcnn
from kcnn.search import hyperparameters
from kcnn.search.space import (
    Limits,
    NoFeasiblePointError,
    Space,
    analyze_feasibility,
    default_space,
    per_layer,
    stack_space,
)
from tests.catalogue import ONE_PER_FAMILY
from tests.paper.test_space import BITS, OPTIONAL
from tests.runs.searches import STACK, run_at_once, search_with


def test_analyze_feasibility_estimates_a_large_space_with_an_interval_that_contains_the_fraction():
    choices = {"conv1_1.stride": (1, 2), "pool1.padding": ("same", "valid"), "pool*.kernel": (2, 3)}
    spec = kcnn.ModelSpec(network="vgg11", classes=10, input_shape=(48, 48, 3))
    exact = analyze_feasibility(Space(spec, choices))
    known = Space(spec, {**choices, "conv*.bias": per_layer(True, False)})  # 256 times as many
    found = analyze_feasibility(known, samples=200)
    assert not found.exact
    assert found.combinations == 256 * exact.combinations
    assert found.low <= exact.feasible_fraction <= found.high


def test_search_of_a_space_without_a_feasible_point_trains_nothing(digits, pretended, tmp_path):
    space = Space(STACK, {"conv1.kernel": (3, 5)}, limits=Limits(max_params=10))
    with pytest.raises(NoFeasiblePointError, match="max_params"):
        search_with(space, digits, tmp_path / "none")
    assert not pretended
    assert not (tmp_path / "none").exists()


def check_default_space(network):
    space = default_space(network)
    assert space.has_default
    random = Random(0)
    points = [space.sample_point(random) for _ in range(200)]
    most = {"kernel": 0, "stride": 0}  # padding is left out where all that fits computes the same
    for choice in space.network_choices:
        feasible = {point[choice.name] for point in points if space.check(point).identity is not None}
        kind = choice.name.rpartition(".")[2]
        most[kind] = max(most.get(kind, 0), len(feasible))
    assert min(most.values()) >= 2, most
    assert analyze_feasibility(space, samples=200).feasible_fraction >= 0.2


WINDOWED = [name for name in ONE_PER_FAMILY if name != "mlp"]  # which has no windows
FAMILIES = ["alexnet", "googlenet", "inception_v3", "mobilenet_v2", "resnet18", "resnet20", "vgg11", "stack"]


@pytest.mark.parametrize("network", FAMILIES)
def test_default_space_has_kernels_and_strides_and_is_feasible_to_a_fifth(network):
    check_default_space(network)


@pytest.mark.every
@pytest.mark.parametrize("network", [name for name in WINDOWED if name not in FAMILIES])
def test_default_space_of_every_family_has_kernels_and_strides_and_is_feasible_to_a_fifth(network):
    check_default_space(network)


def test_stack_space_is_searched_in_its_depth(digits, pretended, tmp_path, monkeypatch):
    monkeypatch.setattr("kcnn.search.trial.run_trial", run_at_once)
    found = search_with(stack_space(STACK, depth=(1, 2)), digits, tmp_path, trials=10)
    assert {t.values["depth"] for t in found.trials} == {1, 2}


def test_hyperparameters_keep_choices_that_need_several_options():
    space = Space(OPTIONAL, {**BITS, "both.kernel": (1, 3)})
    hp = keras_tuner.HyperParameters()
    hyperparameters.register(hp, space, space.default)
    assert {one.name for one in hp.space} >= {"a", "b", "both.kernel"}
    for a, b in ((0, 1), (1, 0), (1, 1)):
        values = {"a": a, "b": b, "both.kernel": 3}
        assert ("both.kernel" in hyperparameters.decode_values(space, values)) == (a == b == 1)
