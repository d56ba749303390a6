"""Freezing: frozen weights stay bit-identical, named layers train, and learning-rate multipliers are saved."""

import keras
import numpy as np
import pytest

import kcnn
from kcnn.fine_tuning import replace_head
from kcnn.training import (
    FrozenWeightChangedError,
    TrainingPhase,
    adamw,
    audit_weights,
    feature_cache,
    freeze,
    group_by_stage,
    resolve_lr_multipliers,
    sgd,
    unfreeze,
)
from kcnn.training.layer_selection import find_stages

L = keras.layers


def small(**options):
    return kcnn.build("resnet20", units=1, classes=3, input_shape=(16, 16, 3), seed=1, **options)


def batch(model, count):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, *model.input_shape[1:])).astype("float32")
    return pixels, rng.integers(0, model.output_shape[-1], count)


def fitted(model, optimizer=None, count=48):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or sgd(0.1), loss, jit_compile=False)
    model.fit(*batch(model, count), batch_size=16, verbose=0)
    return model


def moves(model):
    return {layer.name for layer in model.layers if layer.trainable_weights}


def check(name):
    size = max(kcnn.min_input_size(name), 32)
    model = kcnn.build(name, input_shape=(size, size, kcnn.trace(name).input.shape[2]), classes=3)
    stages = group_by_stage(model)
    traced = find_stages(kcnn.trace(name, input_shape=(size, size, model.input_shape[3]), classes=3))
    assert {layer: traced[layer] for layer in stages} == stages, "known before the network is built"
    assert set(stages) == {layer.name for layer in model.layers if layer.weights}
    head = {layer for layer, stage in stages.items() if stage is None}
    assert head
    assert moves(freeze(model)) == head
    tail = feature_cache.build_head(model, feature_cache.find_frozen_output(model)) if head != set(stages) else model
    assert {layer.name for layer in tail.layers if layer.weights} == head
    last = max((stage for stage in stages.values() if stage is not None), default=None)
    if last is not None:
        backbone = {layer for layer, stage in stages.items() if stage == last}
        frozen = {layer for layer in backbone if isinstance(model.get_layer(layer), L.BatchNormalization)}
        assert moves(unfreeze(model, 1)) == head | (backbone - frozen)
        assert moves(freeze(model, 1, batch_norm="adapt")) == head | backbone
    assert moves(freeze(model, "all", batch_norm="adapt")) == set(stages)


@pytest.mark.parametrize("name", ["lenet5", "resnet20", "mobilenet_v2"])
def test_freeze_trains_the_head_stages_or_all(name):
    check(name)


def test_group_by_stage_groups_layers_by_output_stride():
    stages = group_by_stage(kcnn.build("mobilenet_v2", input_shape=(64, 64, 3), width=0.35))
    assert (stages["stem"], stages["stage2_unit1_depthwise"], stages["stage7_unit1_project"]) == (1, 2, 5)
    assert stages["logits"] is None


def test_freeze_takes_globs_and_stages_and_suggests_names():
    model = small()
    assert moves(freeze(model, ["stage3_*", "head"])) == {"stage3_unit1_a", "stage3_unit1_b", "logits"}
    assert moves(freeze(model, "stage2")) == {"stage3_unit1_a", "stage3_unit1_b"}
    assert resolve_lr_multipliers(model, {"stage?_*": 0.5, "stage1_unit1_a": 0.1})["stage1_unit1_a"] == 0.1
    with pytest.raises(ValueError, match=r"no layer matches 'stge3_\*'. Did you mean 'stage"):
        freeze(model, "stge3_*")
    with pytest.raises(ValueError, match="cannot train 4 stages: 3 have weights"):
        freeze(model, 4)
    with pytest.raises(ValueError, match="unknown batch_norm mode 'thaw'; choose from frozen, adapt"):
        freeze(model, batch_norm="thaw")


def test_freeze_keeps_frozen_batch_norms_and_lets_adapting_ones_follow():
    for norms, follow in (("frozen", False), ("adapt", True)):
        model = freeze(small(), 1, batch_norm=norms)
        with audit_weights(model) as rows:
            fitted(model)
        moved = {row.tensor for row in rows if row.changed}
        first, last = "stage1_unit1_a_bn", "stage3_unit1_b_bn"
        assert (f"{first}/moving_mean" in moved, f"{last}/moving_variance" in moved) == (follow, follow)
        assert f"{first}/gamma" not in moved
        assert (f"{last}/gamma" in moved) == follow
        assert {"stage3_unit1_b/kernel", "logits/kernel"} <= moved
        assert "stage2_unit1_b/kernel" not in moved
        assert all(row.changed <= row.allowed for row in rows)


def test_audit_weights_names_a_frozen_tensor_of_which_one_bit_changed():
    model = freeze(small())
    kernel = model.get_layer("stem").kernel

    def nudge():
        with audit_weights(model):
            changed = keras.ops.convert_to_numpy(kernel).copy()
            changed.view("int32").flat[0] ^= 1
            kernel.assign(changed)

    with pytest.raises(FrozenWeightChangedError, match="1 frozen weights changed in training: stem/kernel"):
        nudge()


@pytest.mark.parametrize("make", [sgd, adamw])
def test_lr_multipliers_scale_a_layers_step_with_decay_and_are_saved(make, tmp_path):
    def step(multipliers):
        model = small()
        before = {layer.name: layer.get_weights() for layer in model.layers}
        fitted(model, make(0.01, weight_decay=0.1, lr_multipliers=multipliers), count=16)
        return model, {
            name: np.abs(model.get_layer(name).get_weights()[0] - old[0]).max() for name, old in before.items() if old
        }

    _, whole = step(None)
    model, scaled = step(resolve_lr_multipliers(small(), {"stage1_*": 0.0, "stage2_*": 0.1}))
    assert scaled["stage1_unit1_a"] == 0
    assert scaled["stage2_unit1_a"] == pytest.approx(0.1 * whole["stage2_unit1_a"], rel=1e-3)
    assert scaled["logits"] == pytest.approx(whole["logits"], rel=1e-3)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    before = again.get_layer("stage1_unit1_a").get_weights()[0], again.get_layer("logits").get_weights()[0]
    again.train_on_batch(*batch(again, 16))
    assert (again.get_layer("stage1_unit1_a").get_weights()[0] == before[0]).all()
    assert (again.get_layer("logits").get_weights()[0] != before[1]).any()


def test_find_frozen_output_ends_before_trainable_random_and_adapting_layers():
    model = small()
    assert feature_cache.find_frozen_output(freeze(model)) == "pool"
    assert feature_cache.find_frozen_output(freeze(model, 1)) == "stage2_unit1"
    assert feature_cache.find_frozen_output(freeze(model, 1, batch_norm="adapt")) == "stem"
    assert feature_cache.find_frozen_output(freeze(model, "all")) is None
    noisy = freeze(kcnn.build("convnet", classes=3, dropout=0.5, input_shape=(16, 16, 1)))
    assert feature_cache.find_frozen_output(noisy) == "flatten"


def test_replace_head_keeps_the_backbone_and_has_a_new_head(tmp_path):
    old = fitted(small())
    new = replace_head(old, classes=["ant", "bee"], seed=2)
    assert (new.output_shape, new.metadata["classes"]) == ((None, 2), ["ant", "bee"])
    assert moves(new) == {"logits"}
    for layer in old.layers[:-1]:
        for mine, theirs in zip(new.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True):
            assert (mine == theirs).all()
    kcnn.weights.save_weights(old, tmp_path / "old.safetensors")
    spec = kcnn.ModelSpec(network="resnet20", input_shape=(16, 16, 3), options={"units": 1})
    named = replace_head(spec, classes=3, weights=tmp_path / "old.safetensors", freeze=1, seed=2)
    assert (named.get_layer("stem").get_weights()[0] == old.get_layer("stem").get_weights()[0]).all()
    assert (named.get_layer("logits").get_weights()[0] != old.get_layer("logits").get_weights()[0]).any()
    assert "stem" not in moves(named)
    assert "stage2_unit1_a" in moves(named)


@pytest.mark.parametrize("options", [{"classes": 7}, {"include_top": False}, {"include_top": False, "pooling": "avg"}])
def test_replace_head_takes_keras_applications_and_leaves_them_unchanged(options):
    theirs = keras.applications.MobileNet(weights=None, input_shape=(32, 32, 3), alpha=0.25, **options)
    mine = replace_head(theirs, classes=2)
    assert mine.output_shape == (None, 2)
    assert moves(mine) == {"logits"}
    assert all(layer.trainable for layer in theirs.layers)
    assert (mine.layers[2].get_weights()[0] == theirs.layers[2].get_weights()[0]).all()


def test_replace_head_keeps_the_statistics_of_an_adapted_normalization():
    image, normalization = keras.Input((4, 4, 3)), L.Normalization()
    normalization.adapt(np.random.default_rng(0).uniform(0, 255, (9, 4, 4, 3)))
    features = keras.Model(image, normalization(image))
    mine = replace_head(features, classes=2)
    x = np.random.default_rng(1).uniform(0, 255, (1, 4, 4, 3)).astype("float32")
    normalized = keras.Model(mine.inputs, mine.layers[1].output)
    np.testing.assert_array_equal(normalized(x), features(x))


def test_replace_head_of_features_keeps_the_backbone():
    for options in ({}, {"pooling": "avg"}, {"outputs": ["conv2"], "top": True}):
        features = kcnn.build("convnet", **{"top": False, "seed": 1, **options})
        model = replace_head(features, classes=3)
        assert model.output_shape == (None, 3)
        pairs = [(weight, model.get_layer(layer.name)) for layer in features.layers for weight in layer.get_weights()]
        assert pairs
        assert all(any(np.array_equal(weight, one) for one in layer.get_weights()) for weight, layer in pairs)


def test_replace_head_refuses_nested_models_and_weights_for_a_built_model():
    theirs = keras.applications.MobileNet(weights=None, input_shape=(32, 32, 3), alpha=0.25, include_top=False)
    nested = keras.Sequential([keras.Input((32, 32, 3)), theirs, L.GlobalAveragePooling2D(), L.Dense(2)])
    with pytest.raises(ValueError, match=r"'sequential.*' is not flat: it contains the model 'mobilenet_0.25_32'"):
        replace_head(nested, classes=2)
    with pytest.raises(
        ValueError, match="weights= applies to a network by name; the Keras model 'resnet20' has its own"
    ):
        replace_head(small(), classes=2, weights="imagenet")
    with pytest.raises(TypeError, match="expects a network name, a ModelSpec or a Keras model, got 3"):
        replace_head(3, classes=2)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("trainable", ()),
        ("trainable", -1),
        ("learning_rate", 0),
        ("lr_multipliers", {"a": -1}),
        ("batch_norm", "off"),
    ],
)
def test_training_phase_refuses_an_invalid_value_by_name(field, value):
    with pytest.raises(ValueError, match=f"{field} of a training phase must be"):
        TrainingPhase(**{"epochs": 1, field: value})
