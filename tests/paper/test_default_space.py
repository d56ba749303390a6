"""Spaces that are derived from a network: which layers they vary, under which addresses, and at what cost."""

from random import Random

import pytest

import kcnn
from kcnn.search.space import Range, analyze_feasibility, default_space, stack_space
from kcnn.search.space.globs import find_globs
from tests.catalogue import NETWORKS

LEAST_CHEAPER = 0.04  # of the feasible points of a default space


def test_stack_space_makes_choices_of_optional_layers_conditional():
    conditions = {choice.name: choice.conditions for choice in stack_space(depth=(2, 3)).all_choices}
    assert conditions["conv3.kernel"] == (("depth", (3,)),)
    assert conditions["conv2.kernel"] == ()


@pytest.mark.parametrize("make", [stack_space, lambda **rate: default_space("lenet5", **rate)])
def test_derived_spaces_have_rates_around_that_of_the_recipe(make):
    assert make().training["learning_rate"] == Range(1e-4, 1e-2, log=True)
    assert make(learning_rate=0.1).training["learning_rate"] == Range(0.01, 1.0, log=True)


def test_stack_space_of_a_network_that_does_not_fit_has_feasible_points():
    space = stack_space(
        kcnn.ModelSpec(network="stack", input_shape=(8, 8, 1)), depth=(2, 4), filters=(16, 32)
    )  # four pools of 2 leave nothing of 8
    assert {choice.name: choice.conditions for choice in space.all_choices}["conv4.kernel"] == (("depth", (4,)),)
    assert space.combinations == 2 * ((3 * 2 * 2 * 2 * 2) ** 2 + (3 * 2 * 2 * 2 * 2) ** 4)
    deep = space.check({"depth": 4, "pool2.stride": 1, "pool3.stride": 1, "pool4.stride": 1})
    assert deep.identity is not None, "8 -> 4 -> 3 -> 2 -> 1"
    assert space.check({"depth": 4}).identity is None
    small = default_space(kcnn.ModelSpec(network="alexnet", classes=10, input_shape=(64, 64, 3)))
    assert not small.has_default
    assert kcnn.summary(small.sample(0).graph).layers[0].shape == (64, 64, 3)


def test_default_space_has_kernels_strides_and_padding_of_the_networks_own_layers():
    space = default_space("lenet5")
    assert {choice.name.rpartition(".")[2] for choice in space.network_choices} == {"kernel", "stride", "padding"}
    assert {choice.name.partition(".")[0] for choice in space.network_choices} <= {
        row.name for row in kcnn.summary("lenet5")
    }
    assert analyze_feasibility(space).feasible_fraction >= 0.2


SAMPLED = ["lenet5", "vgg11", "googlenet", "resnet18", "mobilenet_v2", "inception_v3"]


@pytest.mark.parametrize(
    "network", [pytest.param(name, marks=() if name in SAMPLED else pytest.mark.every) for name in NETWORKS]
)
def test_default_space_has_cheaper_and_dearer_networks_and_no_useless_choice(network):
    space, random = default_space(network), Random(0)
    assert "learning_rate" in space.training
    if not space.choices:
        return
    assert space.has_default
    own = space.check(space.default)
    for choice in space.network_choices:
        assert len(choice.name) <= 50, "an address is read by a person"
        alone = [space.check({**space.default, choice.name: value}).identity for value in choice.values]
        assert len(set(alone)) == len(alone) >= 2, f"{choice.name} has a value that changes nothing"
    checks = [space.check(space.sample_point(random)) for _ in range(60)]
    feasible = [check for check in checks if check.identity is not None]
    macs = sorted(check.costs.macs / own.costs.macs for check in feasible)
    assert len(feasible) >= 0.3 * len(checks)
    assert len({check.identity for check in feasible}) >= min(6, space.combinations // 2)
    assert sum(ratio < 1 for ratio in macs) >= LEAST_CHEAPER * len(macs)
    assert macs[-1] > 1
    assert macs[len(macs) // 2] <= 2.5
    assert max(check.costs.params for check in feasible) <= max(1e6, 3 * own.costs.params)


@pytest.mark.parametrize(
    ("group", "glob"),
    [
        (["stage2_unit1_a", "stage2_unit1_b", "stage2_unit2_a"], "stage2_unit*"),
        (["unit9_depthwise", "unit10_depthwise", "unit11_depthwise"], "unit{9,10,11}_depthwise"),
        (["stage3_unit1_skip_pool", "stage3_unit1_a"], "stage3_unit1_{skip_pool,a}"),
    ],
)
def test_find_globs_tells_a_group_from_all_other_layers(group, glob):
    others = ["stage3_unit1_b", "unit8_depthwise", "unit12_depthwise"]
    assert find_globs(group, [*others, *group]) == {glob: group}


def test_find_globs_splits_a_group_without_a_short_glob():
    group = [f"block{number}_sep{k}_depthwise" for number in range(4, 13) for k in (1, 2)]
    globs = find_globs(group, [*group, "block13_sep1_depthwise"])
    assert [name for members in globs.values() for name in members] == group
    assert max(map(len, globs)) <= 40


def test_default_space_of_a_network_without_windows_is_its_learning_rate():
    space = default_space("mlp")
    assert [choice.name for choice in space.all_choices] == ["learning_rate"]
