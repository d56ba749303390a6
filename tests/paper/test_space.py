"""Search spaces: candidates, feasibility and rejections, without Keras."""

import json
from math import prod
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kcnn
from kcnn.blocks import conv
from kcnn.search.space import (
    Limits,
    NoFeasiblePointError,
    Range,
    Space,
    analyze_feasibility,
    conditional,
    per_layer,
)
from kcnn.search.space.choices import choice_from_json, choice_to_json

TINY = Space(
    kcnn.ModelSpec(network="googlenet", classes=10, input_shape=(64, 64, 1)),
    {
        "stem.kernel": (3, 5, 7),
        "stem.stride": (1, 2),
        "conv2.padding": ("same", "valid"),
        "inception_*_5x5.kernel": (3, 5, (3, 5)),
    },
    limits=Limits(max_macs=600e6),
)


def vgg11(choices, input_shape, **limits):
    """A space of VGG-11 with ten classes."""
    spec = kcnn.ModelSpec(network="vgg11", classes=10, input_shape=input_shape)
    return Space(spec, choices, limits=Limits(**limits))


def test_candidate_is_the_network_that_the_same_overrides_trace():
    values = {"stem.kernel": 3, "stem.stride": 2, "conv2.padding": "valid", "inception_*_5x5.kernel": (3, 5)}
    found = TINY.candidate(values)
    assert found.values == values
    overrides = {address: value for address, value in values.items() if address != "stem.stride"}
    graph = kcnn.trace("googlenet", classes=10, input_shape=(64, 64, 1), overrides=overrides)
    assert kcnn.summary(found.graph).params == kcnn.summary(graph).params
    assert kcnn.summary(found.graph).macs == kcnn.summary(graph).macs
    assert "stem.stride" not in found.graph.spec.overrides, "it is 2 already"


def test_per_layer_gives_each_layer_its_own_choice():
    together = Space("vgg11", {"pool*.padding": ("same", "valid")})
    assert [choice.name for choice in together.all_choices] == ["pool*.padding"]
    apart = Space("vgg11", {"pool*.padding": per_layer("same", "valid")})
    assert [choice.name for choice in apart.all_choices] == [f"pool{n}.padding" for n in range(1, 6)]
    assert (together.combinations, apart.combinations) == (2, 32)


def test_conditional_excludes_points_and_combinations_are_exact():
    space = Space("vgg11", {"pool1.mode": ("max", "average"), "pool1.kernel": conditional("pool1.mode", "max", (2, 3))})
    assert space.combinations == 3
    assert len(list(space.points())) == 3
    assert all(("pool1.kernel" in point) == (point["pool1.mode"] == "max") for point in space.points())


def _optional_backbone(x, *, a=0, b=0, c=0):
    x = conv(x, 4, 3, name="stem")
    for name, exists in (
        *(("both", a and b), ("either", a or b), ("differ", a != b), ("all", a and b and c > 1)),
        *(("many", c > 30), ("unless", not a)),
    ):
        x = conv(x, 4, 3, name=name) if exists else x
    return x


OPTIONAL = kcnn.Architecture(backbone=_optional_backbone, reference="", input_shape=(8, 8, 3), classes=3)
BITS = {"a": (0, 1), "b": (0, 1)}


@pytest.mark.parametrize(
    ("choices", "conditions"),
    [
        ({**BITS, "both.kernel": (1, 3)}, {"both": (("a", (1,)), ("b", (1,)))}),
        ({**BITS, "either.kernel": (1, 3)}, {"either": ()}),  # no pair of an option and its values says when it exists
        ({**BITS, "differ.kernel": (1, 3)}, {"differ": ()}),
        ({**BITS, "unless.kernel": (1, 3)}, {"unless": (("a", (0,)),)}),
        ({**BITS, "[bu]*.kernel": (1, 3)}, {"[bu]*": ()}),
        ({"a": (1,), "b": (1, 0), "both.kernel": (1, 3)}, {"both": (("b", (1,)),)}),
        ({"a": Range(0, 1), "b": (0, 1), "both.kernel": (1, 3)}, {"both": (("a", (1,)), ("b", (1,)))}),
        ({**BITS, "c": (0, 1, 2, 3), "all.kernel": (1, 3)}, {"all": (("a", (1,)), ("b", (1,)), ("c", (2, 3)))}),
        ({"c": Range(0, 40), "many.kernel": (1, 3)}, {"many": ()}),  # too many integers to try each
        (
            {**BITS, "both.kernel": conditional("a", 1, (1, 3))},
            {"both": (("a", (1,)), ("b", (1,)))},
        ),
        (
            {**BITS, "*.kernel": per_layer(1, 3)},
            {"stem": (), "unless": (("a", (0,)),), "either": (), "differ": (), "both": (("a", (1,)), ("b", (1,)))},
        ),
    ],
)
def test_choices_of_layers_that_need_several_options_are_searched(choices, conditions):
    space = Space(OPTIONAL, choices)
    inferred = {c.name.removesuffix(".kernel"): c.conditions for c in space.all_choices if c.name.endswith(".kernel")}
    assert inferred == conditions
    points = list(space.points())
    assert len(points) == space.combinations
    for point in points:
        for layer, needed in inferred.items():
            assert (f"{layer}.kernel" in point) == all(point[name] in values for name, values in needed)
    assert analyze_feasibility(space).feasible == space.combinations
    for choice in space.all_choices:
        again = choice_from_json(json.loads(json.dumps(choice_to_json(choice))))
        assert (again.values, again.conditions) == (choice.values, choice.conditions)


def _many_options_backbone(x, *, a=0, b=0, c=0, d=0, e=0, f=0, g=0, h=0, i=0, j=0):
    x = conv(x, 4, 3, name="stem")
    x = conv(x, 4, 3, name="four") if a and b and c == 2 and d else x
    return conv(x, 4, 3, name="rare") if a and b and c and d and e and f and g and h and i and j else x


def test_space_finds_layers_that_need_several_of_many_options():
    network = kcnn.Architecture(backbone=_many_options_backbone, reference="", input_shape=(8, 8, 3), classes=3)
    options = {**dict.fromkeys("abdefghij", (0, 1)), "c": (0, 1, 2)}
    with pytest.warns(UserWarning, match=r"choices \*\.kernel may lack layers .* of 1,536 combinations were traced"):
        choices = {
            choice.name: choice for choice in Space(network, {**options, "*.kernel": per_layer(1, 3)}).all_choices
        }
    assert choices["four.kernel"].conditions == (("a", (1,)), ("b", (1,)), ("d", (1,)), ("c", (2,)))
    assert choices["stem.kernel"].conditions == ()
    assert "rare.kernel" not in choices, "the warning is needed"


def test_space_without_choices_of_layers_warns_of_none(recwarn):
    network = kcnn.Architecture(backbone=_many_options_backbone, reference="", input_shape=(8, 8, 3), classes=3)
    assert len(Space(network, dict.fromkeys("abcdefghij", (0, 1))).all_choices) == 10
    assert not recwarn


def test_range_samples_are_within_its_bounds_and_log_uniform():
    random = Random(0)
    found = [Range(1e-4, 1e-2, log=True).sample(random) for _ in range(2000)]
    assert min(found) >= 1e-4
    assert max(found) <= 1e-2
    assert sum(value < 1e-3 for value in found) == pytest.approx(1000, abs=100)
    assert {Range(1, 3).sample(random) for _ in range(50)} == {1, 2, 3}


def test_identity_is_equal_for_points_that_compute_the_same():
    kernel_one = Space("convnet", {"conv1.kernel": (1, 3), "conv1.padding": ("same", "valid", "half")})
    found = {(p["conv1.kernel"], p["conv1.padding"]): kernel_one.identity(p) for p in kernel_one.points()}
    assert found[1, "same"] == found[1, "valid"] == found[1, "half"]
    assert found[3, "same"] == found[3, "half"] != found[3, "valid"]
    assert analyze_feasibility(kernel_one).distinct == 3


def test_identity_differs_with_padding_that_differs_at_this_size():
    space = Space("resnet18", {"stem.padding": ("same", "half")})  # 2 and 3 pixels on the left at 224 and stride 2
    assert len({space.identity(point) for point in space.points()}) == 2


def test_analyze_feasibility_names_rejected_choices_and_the_input_size_that_fits():
    space = vgg11({"conv1_1.stride": (1, 2), "pool1.padding": ("same", "valid")}, (48, 48, 3))
    found = analyze_feasibility(space)
    assert (found.combinations, found.sampled, found.exact) == (4, 4, True)
    (rejection,) = found.rejections
    # 48 -> 24 -> 12 -> 6 -> 3 -> 1, and a pool of 2 on 1 pixel; 63 -> 32 -> 16 -> 8 -> 4 -> 2 -> 1
    assert rejection.example == {"conv1_1.stride": 2}
    assert rejection.min_input_size == 63
    assert "pool5" in str(rejection)


def test_limits_reject_networks_that_exceed_them():
    summary = kcnn.summary("lenet5")

    def analyze(**limits):
        return analyze_feasibility(Space("lenet5", {"c1.kernel": (5,)}, limits=Limits(**limits)))

    assert analyze(max_params=summary.params, max_macs=summary.macs).feasible == 1
    for limit in ({"max_params": summary.params - 1}, {"max_macs": summary.macs - 1}, {"min_receptive_field": 1000}):
        with pytest.raises(NoFeasiblePointError, match=next(iter(limit))):
            analyze(**limit)
    outputs = 4 * sum(prod(row.shape) for row in summary if row.op is not None)
    assert analyze(max_activation_bytes=outputs).feasible == 1
    with pytest.raises(NoFeasiblePointError, match="max_activation_bytes"):
        analyze(max_activation_bytes=outputs - 1)
    with pytest.raises(ValueError, match="max_params must be a number of at least 0, got True"):
        Limits(max_params=True)


def test_repair_reaches_feasible_points_that_sampling_misses():
    least = kcnn.summary("vgg11", overrides={"conv*.kernel": 1}, classes=10, input_shape=(32, 32, 3)).params
    space = vgg11({"conv*.kernel": per_layer(1, 3)}, (32, 32, 3), max_params=least)  # 1 of 256 points
    repaired = space.repair(space.sample_point(Random(0)), Random(0))
    assert set(repaired.values()) == {1}


@given(st.integers(0, 10_000))
@settings(max_examples=25)
def test_sample_respects_the_limits_and_is_determined_by_its_seed(seed):
    found = TINY.sample(seed)
    assert kcnn.summary(found.graph).macs <= 600e6
    assert TINY.sample(seed).values == found.values
    assert TINY.identity(found.values) is not None


def test_space_is_equal_after_a_round_trip_through_json():
    space = Space(
        kcnn.ModelSpec(network="convnet", overrides={"conv2.padding": "valid"}, input_shape=(32, 32, 1)),
        {"conv1.kernel": (3, (3, 5)), "conv2.kernel": conditional("conv1.kernel", ((3, 5),), (1, 3))},
        training={"learning_rate": Range(1e-4, 1e-2, log=True), "optimizer": ("sgd", "adamw")},
        limits=Limits(max_params=1e6),
    )
    again = Space.from_json(json.loads(json.dumps(space.to_json())))
    assert again.all_choices == space.all_choices
    assert (again.spec, again.limits) == (space.spec, space.limits)
    assert again.sample(3).values == space.sample(3).values


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"stam.kernel": (3, 5)}, "no layer matches 'stam'"),
        ({"stem.kernal": (3, 5)}, "has no attribute 'kernal'. Did you mean 'kernel'"),
        ({"depht": (1, 2)}, "unknown option 'depht'"),
        ({"stem.kernel": 3}, "expects a tuple of values"),
        ({"stem.kernel": (3, 3)}, "has a duplicate value"),
        ({"stem.kernel": ()}, "has no values to choose from"),
        ({}, "at least one choice"),
        ({"stem.kernel": conditional("stem.strid", 1, (3, 5))}, "unknown choice 'stem.strid'"),
        (
            {"stem.stride": (1, 2), "stem.kernel": conditional("stem.stride", 3, (3, 5))},
            "which is not among its values",
        ),
        ({"stem.padding": ("same", "full")}, 'stem.padding cannot have the value .full.: padding must be "same"'),
        ({"stem.padding": ("same", "ceil")}, "stem.padding cannot have the value 'ceil'"),
        ({"stem.kernel": (3, 0)}, "stem.kernel cannot have the value 0: kernel must be a positive integer"),
        ({"inception_*_5x5.kernel": Range(-1, 5)}, r"inception_\*_5x5.kernel cannot have the value -1"),
        ({"pool1.mode": ("max", "median")}, "pool1.mode cannot have the value 'median'"),
    ],
)
def test_space_rejects_invalid_choices(choices, message):
    with pytest.raises(ValueError, match=message):
        Space("googlenet", choices)


def test_space_accepts_values_that_other_values_or_inputs_rule_out():
    """They are infeasible points: groups that do not divide, a kernel that is too large, padding of a larger one."""
    choices = {"stem.kernel": (3, 999), "stem.groups": (1, 5), "stem.padding": (0, 40), "pool1.padding": ("valid", 2)}
    assert len(Space("googlenet", choices).all_choices) == 4


def test_space_rejects_specs_that_no_search_trains():
    with pytest.raises(ValueError, match="remove aux"):
        Space(kcnn.ModelSpec(network="googlenet", aux=True), {"stem.kernel": (3, 5)})


def test_candidate_rejects_values_outside_the_space():
    with pytest.raises(ValueError, match="not in the space"):
        TINY.candidate({**TINY.default, "stem.kernel": 9})
    with pytest.raises(ValueError, match=r"needs a value of stem\.kernel"):
        TINY.candidate({})
