"""Requests are values that pass through JSON unchanged: models, recipes, phases, trainings, protocols, searches."""

import json

import numpy as np
import pytest

from kcnn import ModelSpec, UnknownNameError
from kcnn.augment import Augmentation
from kcnn.graph import ops
from kcnn.search.config import SearchConfig
from kcnn.search.space.choices import parse_values
from kcnn.training.config import TrainConfig
from kcnn.training.phases import TrainingPhase
from kcnn.training.recipes import RECIPES, Recipe

CROPS = Augmentation(flip=True, resized_crop=(0.25, 1.0), rand_augment=(2, 0.5), mixup=0.2)
CONFIGS = (
    TrainConfig(),
    TrainConfig(recipe="strong", epochs=3, batch_size=8, learning_rate=1e-4, seed=7, multi_label=True),
    TrainConfig(recipe_overrides={"augmentation": CROPS}),
    TrainConfig(recipe_overrides={"augmentation": CROPS, "flip": False, "milestones": [0.25, 0.5]}),
    TrainConfig(recipe="paper", recipe_overrides={"crop": 0, "resized_crop": [0.5, 1], "class_weights": "balanced"}),
    TrainConfig(recipe=Recipe(milestones=(0.1, 0.9), augmentation=CROPS), recipe_overrides={"rand_augment": None}),
    TrainConfig(recipe=Recipe(learning_rate=np.float32(0.25), epochs=np.int64(4), nesterov=np.bool_(False))),
    TrainConfig(seed=np.int64(3), epochs=np.int32(2), learning_rate=np.float32(0.5), tensorboard=np.bool_(True)),
    TrainConfig(precision="mixed_float16", strategy="mirrored", auto_batch_size=True, load_head=False),
    TrainConfig(folds=np.int64(5), strategy="mirrored"),
    TrainConfig(phase=TrainingPhase(3, ["stage4_*", "head"], lr_multipliers={"stage4_*": np.float32(0.5)})),
    TrainConfig(
        phase=TrainingPhase(2, 1, 1e-4, batch_norm="adapt"),
        cache_features=False,
        recipe_overrides={"augmentation": Augmentation(crop=2)},
    ),
)
SEARCHES = (
    SearchConfig(),
    SearchConfig(tuner="hyperband", trials=np.int64(5), reduction_factor=np.int64(2), workers=2),
    SearchConfig(time_budget=np.float32(90.5), total_epochs=8, keep_checkpoints=0, final_seeds=0, port=4000),
    SearchConfig(train=TrainConfig(recipe_overrides={"augmentation": CROPS}, seed=1), process_per_trial=True),
    SearchConfig(train=TrainConfig(folds=3)),
)
SPECS = (
    ModelSpec(network="vgg16"),
    ModelSpec(network="googlenet.bn", classes=np.int64(7), input_shape=[None, 224, 3], weights="imagenet"),
    ModelSpec(network="resnet50", top=False, outputs=["stage3", "stage4"], prefix="a_"),
    ModelSpec(network="vgg16", overrides={"block1_conv1.kernel": [3, 5], "block1_conv2.padding": [[0, 1], [1, 0]]}),
    ModelSpec(network="mobilenet_v2", options={"width": np.float32(0.5), "norm": ops.BatchNorm(epsilon=1e-5)}),
    ModelSpec(network="inception_v2", options={"stem": {"a": ops.Conv(8, (1, 3)), "b": [1, [2, 3]]}}),
    ModelSpec(network="mlp", options={"layers": [ops.Conv(8), [ops.Pool(3), None]]}),
)


def through_json(values):
    return json.loads(json.dumps(values, allow_nan=False))


@pytest.mark.parametrize("config", CONFIGS)
def test_train_config_passes_through_json_unchanged(config):
    again = TrainConfig.from_json(through_json(config.to_json()))
    assert again == config
    assert again.resolved_recipe == config.resolved_recipe
    assert again.to_json() == config.to_json()


@pytest.mark.parametrize("config", CONFIGS)
def test_train_config_described_in_full_is_the_same_training(config):
    again = TrainConfig.from_json(through_json(config.describe()))
    assert again.describe() == config.describe()


@pytest.mark.parametrize("config", SEARCHES)
def test_search_config_passes_through_json_unchanged(config):
    assert SearchConfig.from_json(through_json(config.to_json())) == config
    assert SearchConfig.from_json(through_json(config.describe())).describe() == config.describe()


@pytest.mark.parametrize("spec", SPECS)
def test_model_spec_passes_through_json_unchanged(spec):
    again = ModelSpec.from_json(through_json(spec.to_json()))
    assert again == spec
    assert repr(again) == repr(spec)  # tuples are tuples again, and numbers Python's


@pytest.mark.parametrize("recipe", [*RECIPES.values(), *(config.resolved_recipe for config in CONFIGS)])
def test_recipe_passes_through_json_unchanged(recipe):
    assert Recipe.from_json(through_json(recipe.to_json())) == recipe


def test_model_spec_with_numpy_numbers_in_an_op_passes_through_json():
    spec = ModelSpec(network="mlp", options={"stem": ops.Conv(np.int64(8))})
    assert ModelSpec.from_json(through_json(spec.to_json())) == spec


def test_parse_values_refuses_values_that_json_cannot_hold():
    with pytest.raises(ValueError, match=r"^norm cannot have the value BatchNorm\(.*; choose from numbers"):
        parse_values((ops.BatchNorm(), None), "norm")


def test_model_spec_refuses_an_op_that_is_none():
    with pytest.raises(UnknownNameError, match=r"unknown op 'dataclass'"):
        ModelSpec.from_json({"network": "mlp", "options": {"norm": {"op": "dataclass"}}})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("epochs", 2.5, "epochs must be of type int, got 2.5"),
        ("nesterov", 1, "nesterov must be of type bool, got 1"),
        ("milestones", "0.5", "milestones must be a list of fractions"),
        ("augmentation", {"flip": True}, "augmentation must be a kcnn.augment.Augmentation"),
        ("clip_global_norm", float("inf"), "clip_global_norm must be at least 0, and finite, got inf"),
    ],
)
def test_recipe_refuses_what_its_json_could_not_hold_however_it_is_given(field, value, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**{field: value})
    with pytest.raises(ValueError, match=message):
        TrainConfig(recipe_overrides={field: value})


def test_train_config_names_an_unknown_field_of_an_augmentation_in_json():
    with pytest.raises(UnknownNameError, match=r"'flipp'.*flip"):
        TrainConfig.from_json({"recipe_overrides": {"augmentation": {"flipp": True}}})


def test_training_phase_refuses_a_factor_that_is_not_a_number():
    with pytest.raises(ValueError, match="lr_multipliers of a training phase must be"):
        TrainingPhase(1, lr_multipliers={"stage1_*": "half"})


def test_search_config_refuses_a_budget_that_is_not_a_number():
    with pytest.raises(ValueError, match="time_budget must be a number or None, got nan"):
        SearchConfig(time_budget=float("nan"))


@pytest.mark.parametrize(
    ("record", "values", "message"),
    [
        (ModelSpec, {"network": "resnet18", "clases": 3}, "unknown model spec key 'clases'. Did you mean 'classes'?"),
        (TrainConfig, {"epoch": 3}, "unknown train config key 'epoch'. Did you mean 'epochs'?"),
        (SearchConfig, {"trial": 3}, "unknown search config key 'trial'. Did you mean 'trials'?"),
    ],
)
def test_from_json_refuses_an_unknown_key_with_the_closest(record, values, message):
    with pytest.raises(UnknownNameError) as error:
        record.from_json(values)
    assert str(error.value) == message


def test_train_config_has_folds_in_its_description_only_where_there_are_some():
    """A run without folds keeps the hash that it had before there were folds."""
    assert "folds" not in TrainConfig().describe()
    assert TrainConfig(folds=3).describe() == {**TrainConfig().describe(), "folds": 3}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"folds": 1}, "folds must be an integer of at least 2, got 1"),
        ({"folds": 0}, "folds must be an integer of at least 2, got 0"),
        ({"folds": 3, "recipe_overrides": {"patience": 4}}, "folds cannot be combined with early stopping"),
        ({"folds": 3, "recipe": Recipe(patience=4)}, "folds cannot be combined with early stopping"),
        ({"folds": 3, "auto_batch_size": True}, "folds cannot be combined with auto_batch_size"),
        ({"folds": 3, "strategy": "multiworker"}, 'folds cannot be combined with strategy "multiworker"'),
    ],
)
def test_train_config_refuses_folds_that_cannot_work(fields, says):
    with pytest.raises(ValueError, match=says):
        TrainConfig(**fields)
