"""A space of networks: what is in it, what is feasible, and what is said of the rest. Arithmetic alone."""

import json
from math import prod
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kcnn
from kcnn.search.journal import Journal
from kcnn.search.space import (
    NoFeasiblePointError,
    Range,
    Space,
    analyze_feasibility,
    conditional,
    default_space,
    per_layer,
    stack_space,
)
from kcnn.search.successive_halving import SuccessiveHalving

TINY = Space(
    "googlenet",
    {
        "stem.kernel": (3, 5, 7),
        "stem.stride": (1, 2),
        "conv2.padding": ("same", "valid"),
        "inception_*_5x5.kernel": (3, 5, (3, 5)),
    },
    10,
    (64, 64, 1),
    max_macs=600e6,
)


def test_a_point_comes_to_the_network_that_the_same_changes_draw():
    values = {"stem.kernel": 3, "stem.stride": 2, "conv2.padding": "valid", "inception_*_5x5.kernel": (3, 5)}
    found = TINY.candidate(values)
    assert found.values == values
    changes = {address: value for address, value in values.items() if address != "stem.stride"}
    drawn = kcnn.trace("googlenet", classes=10, input_shape=(64, 64, 1), overrides=changes)
    assert kcnn.summary(found.graph).params == kcnn.summary(drawn).params
    assert kcnn.summary(found.graph).macs == kcnn.summary(drawn).macs
    assert "stem.stride" not in found.graph.spec.overrides, "it is 2 already"


def test_all_layers_of_an_address_take_one_value_and_each_gives_every_layer_its_own():
    together = Space("vgg11", {"pool*.padding": ("same", "valid")})
    assert [choice.name for choice in together.all_choices] == ["pool*.padding"]
    apart = Space("vgg11", {"pool*.padding": per_layer("same", "valid")})
    assert [choice.name for choice in apart.all_choices] == [f"pool{n}.padding" for n in range(1, 6)]
    assert (together.combinations, apart.combinations) == (2, 32)


def test_conditions_rule_out_points_and_their_number_is_exact():
    space = Space("vgg11", {"pool1.mode": ("max", "average"), "pool1.kernel": conditional("pool1.mode", "max", (2, 3))})
    assert space.combinations == 3
    assert len(list(space.points())) == 3
    assert all(("pool1.kernel" in point) == (point["pool1.mode"] == "max") for point in space.points())


def test_a_layer_that_an_option_draws_is_chosen_for_only_where_it_is_there():
    conditions = {choice.name: choice.condition for choice in stack_space(depth=(2, 3)).all_choices}
    assert conditions["conv3.kernel"] == ("depth", (3,))
    assert conditions["conv2.kernel"] is None


def test_a_network_that_does_not_fit_as_it_is_is_searched_for_one_that_does():
    space = stack_space(depth=(2, 4), filters=(16, 32), input_shape=(8, 8, 1))  # four pools of 2 leave nothing of 8
    assert {choice.name: choice.condition for choice in space.all_choices}["conv4.kernel"] == ("depth", (4,))
    assert space.combinations == 2 * ((3 * 2 * 2 * 2 * 2) ** 2 + (3 * 2 * 2 * 2 * 2) ** 4)
    deep = space.judge({"depth": 4, "pool2.stride": 1, "pool3.stride": 1, "pool4.stride": 1})
    assert deep.identity is not None, "8 -> 4 -> 3 -> 2 -> 1"
    assert space.judge({"depth": 4}).identity is None
    small = default_space("alexnet", classes=10, input_shape=(64, 64, 3))
    assert not small.has_default
    assert kcnn.summary(small.sample(0).graph).layers[0].shape == (64, 64, 3)


def test_ranges_are_picked_within_their_ends_and_evenly_by_ratio():
    random = Random(0)
    found = [Range(1e-4, 1e-2, log=True).pick(random) for _ in range(2000)]
    assert min(found) >= 1e-4
    assert max(found) <= 1e-2
    assert sum(value < 1e-3 for value in found) == pytest.approx(1000, abs=100)
    assert {Range(1, 3).pick(random) for _ in range(50)} == {1, 2, 3}


def test_points_that_patch_to_one_network_are_one_candidate():
    kernel_one = Space("convnet", {"conv1.kernel": (1, 3), "conv1.padding": ("same", "valid", "half")})
    found = {(p["conv1.kernel"], p["conv1.padding"]): kernel_one.identity(p) for p in kernel_one.points()}
    assert found[1, "same"] == found[1, "valid"] == found[1, "half"]
    assert found[3, "same"] == found[3, "half"] != found[3, "valid"]
    assert analyze_feasibility(kernel_one).distinct == 3


def test_padding_that_differs_at_this_size_is_another_network():
    space = Space("resnet18", {"stem.padding": ("same", "half")})  # 2 and 3 pixels on the left at 224 and stride 2
    assert len({space.identity(point) for point in space.points()}) == 2


def test_a_refusal_names_the_choices_that_do_it_and_the_input_that_would_do():
    space = Space("vgg11", {"conv1_1.stride": (1, 2), "pool1.padding": ("same", "valid")}, 10, (48, 48, 3))
    found = analyze_feasibility(space)
    assert (found.combinations, found.sampled, found.exact) == (4, 4, True)
    (refusal,) = found.rejections
    # 48 -> 24 -> 12 -> 6 -> 3 -> 1, and a pool of 2 on 1 pixel; 63 -> 32 -> 16 -> 8 -> 4 -> 2 -> 1
    assert refusal.example == {"conv1_1.stride": 2}
    assert refusal.min_input_size == 63
    assert "pool5" in str(refusal)


def test_limits_refuse_by_the_number_that_is_over():
    paper = kcnn.summary("lenet5")
    usual = {"c1.kernel": (5,)}
    assert analyze_feasibility(Space("lenet5", usual, max_params=paper.params, max_macs=paper.macs)).feasible == 1
    for limit in ({"max_params": paper.params - 1}, {"max_macs": paper.macs - 1}, {"min_receptive_field": 1000}):
        with pytest.raises(NoFeasiblePointError, match=next(iter(limit))):
            analyze_feasibility(Space("lenet5", usual, **limit))
    outputs = 4 * sum(prod(row.shape) for row in paper if row.op is not None)
    assert analyze_feasibility(Space("lenet5", usual, max_activation_bytes=outputs)).feasible == 1
    with pytest.raises(NoFeasiblePointError, match="max_activation_bytes"):
        analyze_feasibility(Space("lenet5", usual, max_activation_bytes=outputs - 1))


def test_a_space_whose_feasible_points_chance_does_not_meet_is_walked_into():
    asked = {"classes": 10, "input_shape": (32, 32, 3)}
    least = kcnn.summary(kcnn.trace("vgg11", overrides={"conv*.kernel": 1}, **asked)).params
    space = Space("vgg11", {"conv*.kernel": per_layer(1, 3)}, **asked, max_params=least)  # 1 of 256 points
    walked = space.walk(space.pick(Random(0)), Random(0))
    assert set(walked.values()) == {1}


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_every_sample_keeps_the_limits_and_is_fixed_by_its_seed(seed):
    found = TINY.sample(seed)
    assert kcnn.summary(found.graph).macs <= 600e6
    assert TINY.sample(seed).values == found.values
    assert TINY.identity(found.values) is not None


def test_a_space_is_the_same_after_it_was_written_down():
    space = Space(
        "convnet",
        {"conv1.kernel": (3, (3, 5)), "conv2.kernel": conditional("conv1.kernel", ((3, 5),), (1, 3))},
        training={"learning_rate": Range(1e-4, 1e-2, log=True), "optimizer": ("sgd", "adamw")},
        max_params=1e6,
    )
    again = Space.from_json(json.loads(json.dumps(space.to_json())))
    assert again.all_choices == space.all_choices
    assert again.sample(3).values == space.sample(3).values


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"stam.kernel": (3, 5)}, "no layer answers to 'stam'"),
        ({"stem.kernal": (3, 5)}, "not 'kernal'"),
        ({"depht": (1, 2)}, "unknown option 'depht'"),
        ({"stem.kernel": 3}, "takes a tuple of values"),
        ({"stem.kernel": (3, 3)}, "names one value twice"),
        ({"stem.kernel": ()}, "no value to choose from"),
        ({}, "at least one choice"),
        ({"stem.kernel": conditional("stem.strid", 1, (3, 5))}, "depends on a choice 'stem.strid'"),
        ({"stem.stride": (1, 2), "stem.kernel": conditional("stem.stride", 3, (3, 5))}, "never comes to"),
    ],
)
def test_a_space_that_cannot_be_is_refused_with_what_is_wrong(choices, words):
    with pytest.raises(ValueError, match=words):
        Space("googlenet", choices)


def test_values_outside_the_space_are_no_candidate():
    with pytest.raises(ValueError, match="not in the space"):
        TINY.candidate({**TINY.default, "stem.kernel": 9})
    with pytest.raises(ValueError, match=r"needs a value of stem\.kernel"):
        TINY.candidate({})


def test_a_default_space_has_kernels_strides_and_paddings_of_the_networks_own_layers():
    space = default_space("lenet5")
    assert {choice.name.rpartition(".")[2] for choice in space.all_choices} == {"kernel", "stride", "padding"}
    assert {choice.name.partition(".")[0] for choice in space.all_choices} <= {
        row.name for row in kcnn.summary("lenet5")
    }
    assert analyze_feasibility(space).feasible_fraction >= 0.2


def test_a_network_without_windows_is_searched_in_its_training():
    space = default_space("mlp")
    assert [choice.name for choice in space.all_choices] == ["learning_rate"]


def test_halving_stops_a_trial_that_is_not_in_the_best_third_so_far():
    rule = SuccessiveHalving(3, 10)
    assert rule.rungs == (1, 3, 9)
    assert rule.should_continue(0, 1, 0.5)
    assert rule.should_continue(1, 1, 0.1), "two are no evidence"
    assert not rule.should_continue(2, 1, 0.4), "the second of three"
    assert rule.should_continue(3, 1, 0.6)
    assert rule.should_continue(2, 2, 0.0), "epoch 2 is no rung"
    assert SuccessiveHalving(0, 10).rungs == ()


def test_a_journal_cuts_off_a_torn_line_and_refuses_a_damaged_one(tmp_path):
    journal = Journal(tmp_path)
    journal.add(event="start", trial=0, worker="w", values={})
    with journal.path.open("ab") as file:
        file.write(b'{"event": "sta')
    assert len(Journal(tmp_path, writes=False).events) == 1
    assert Journal(tmp_path).events == journal.events
    assert journal.path.read_bytes().endswith(b"}\n")
    journal.path.write_text("no journal\n")
    with pytest.raises(ValueError, match="is damaged"):
        Journal(tmp_path)
