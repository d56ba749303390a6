"""Hyperparameters that follow from the data: the recipe "auto"."""

import shlex

import pytest

from kcnn import ModelSpec
from kcnn.augment import Augmentation
from kcnn.training.config import TrainConfig
from kcnn.training.defaults import (
    adapt_recipe,
    advise_transfer,
    choose_regularization,
    choose_schedule,
    describe_coarse_features,
)
from kcnn.training.recipes import RECIPES
from kcnn.weights.published import has_published


def test_choose_schedule_gives_few_images_more_epochs_and_shorter_averages():
    assert choose_schedule(100)["batch_size"] == 16
    assert choose_schedule(10)["batch_size"] == 2  # no batch is a large part of the images
    sizes = (50, 245, 1_000, 10_000, 50_000, 1_200_000)
    chosen = [choose_schedule(images) for images in sizes]
    for values in zip(*((one["epochs"], -one["norm_momentum"], -one["batch_size"]) for one in chosen), strict=True):
        assert list(values) == sorted(values, reverse=True)
    assert [one["epochs"] for one in chosen] == [100, 100, 63, 20, 15, 15]
    for images, one in zip(sizes, chosen, strict=True):
        steps = images // one["batch_size"]
        assert 1 / (1 - one["norm_momentum"]) <= max(10.01, steps / 4.9)  # steps that an average covers


def test_choose_schedule_divides_the_batch_among_replicas_and_stops_late_in_long_trainings():
    assert choose_schedule(1_000, replicas=3)["batch_size"] == 30
    assert choose_schedule(4, replicas=8)["batch_size"] == 8
    assert choose_schedule(1_000, epochs=90)["patience"] == 45
    assert choose_schedule(1_000, epochs=5)["patience"] == 10


@pytest.mark.parametrize(
    ("network", "side", "is_coarse"),
    [
        ("mobilenet_v2", 32, True),  # a stride of 32
        ("mobilenet_v2", 64, False),
        ("vgg16", 32, True),  # whose head is dense layers
        ("resnet20", 32, False),
        ("lenet5", 32, False),  # whose last features are one position at its own size
        ("stack", 8, False),
        ("mlp", 8, False),
    ],
)
def test_describe_coarse_features_names_networks_for_large_images_on_small_ones(network, side, is_coarse):
    note = describe_coarse_features(ModelSpec(network=network, input_shape=(side, side, 3), classes=2).trace())
    assert bool(note) == is_coarse
    if note:
        assert note.startswith(f"{network} reduces images by 32 to one position; from {side}x{side} pixels it learns")


def test_choose_regularization_mirrors_photos_only():
    assert choose_regularization(3)["flip"]
    assert choose_regularization(1) == {}


def test_with_defaults_fills_what_a_config_leaves_open_and_nothing_else():
    defaults = {**choose_regularization(3), **choose_schedule(1_000)}
    config = TrainConfig(epochs=7, recipe_overrides={"flip": False}).with_defaults(defaults)
    recipe = config.resolved_recipe
    assert (recipe.epochs, recipe.augmentation.flip, recipe.batch_size) == (7, False, 32)
    assert recipe.augmentation.resized_crop == (0.5, 1.0)
    assert config.with_defaults(choose_schedule(100_000)) == config  # chosen once
    assert TrainConfig.from_json(config.describe()).resolved_recipe == recipe
    assert config.recipe_name == "auto"
    own = TrainConfig(recipe_overrides={"augmentation": Augmentation(flip_vertical=True)}).with_defaults(defaults)
    assert own.resolved_recipe.augmentation == Augmentation(flip_vertical=True)


def test_choose_schedule_averages_over_the_batches_that_are_given():
    assert choose_schedule(20_000)["norm_momentum"] == 0.99
    assert choose_schedule(20_000, batch_size=256)["norm_momentum"] == pytest.approx(1 - 5 / 78, abs=1e-3)


@pytest.mark.parametrize(("recipe", "images"), [("quick", 3_200), ("paper", 45_000), ("strong", 10_000)])
def test_adapt_recipe_leaves_a_recipe_as_it_is_where_there_are_many_steps(recipe, images):
    assert adapt_recipe(RECIPES[recipe], images, 0.99) == {}


def test_adapt_recipe_makes_batches_and_averages_small_for_few_images():
    assert adapt_recipe(RECIPES["quick"], 720, 0.99) == {"norm_momentum": 0.9}
    paper = adapt_recipe(RECIPES["paper"], 720, 0.99)
    assert paper == {"batch_size": 32, "learning_rate": pytest.approx(0.025), "norm_momentum": 0.9}
    strong = adapt_recipe(RECIPES["strong"], 720, 0.99)
    assert strong.pop("ema_momentum") == pytest.approx(1 - 1 / 220, abs=1e-4)  # a tenth of 100 epochs of 22 steps
    assert strong == {"batch_size": 32, "norm_momentum": 0.9}
    assert adapt_recipe(RECIPES["paper"], 5_000, 0.99)["norm_momentum"] == pytest.approx(1 - 5 / 156, abs=1e-3)
    assert adapt_recipe(RECIPES["paper"], 720, 0.99, replicas=3)["batch_size"] == 30
    for momentum in (0.0, 0.9):  # a network without batch norms, or whose averages are short
        assert adapt_recipe(RECIPES["quick"], 720, momentum) == {}


def test_adapt_recipe_leaves_what_the_request_sets():
    fixed = TrainConfig(recipe="paper", batch_size=128, recipe_overrides={"norm_momentum": 0.95}).own_options
    assert fixed == {"batch_size", "norm_momentum"}
    assert adapt_recipe(RECIPES["paper"], 720, 0.99, fixed=fixed) == {}
    assert adapt_recipe(RECIPES["paper"], 720, 0.99, fixed={"learning_rate"}) == {
        "batch_size": 32,
        "norm_momentum": 0.9,
    }


@pytest.mark.parametrize(
    ("network", "options", "expected"),
    [("mobilenet_v2", {"width": 0.35}, True), ("mobilenet_v2", {"width": 0.31}, False), ("stack", {}, False)],
)
def test_has_published_heeds_the_options_of_a_network_and_not_its_classes(network, options, expected):
    assert has_published(ModelSpec(network=network, classes=3, options=options).trace()) == expected


def test_advise_transfer_gives_the_command_for_the_same_network_images_and_shell():
    spec = ModelSpec(network="mobilenet_v2", input_shape=(96, 96, 3), options={"width": 0.35})
    line = advise_transfer(spec, "my photos", multi_label=True)
    words = shlex.split(line.partition(": ")[2])
    assert words[:4] == ["kcnn", "transfer", "--network", "mobilenet_v2"]
    assert words[4:] == [
        *("--data", "my photos", "--model-option", "width=0.35", "--input-size", "96x96x3", "--multi-label")
    ]
    plain = advise_transfer(ModelSpec(network="resnet50"), "photos", multi_label=False)
    assert plain.endswith(": kcnn transfer --network resnet50 --data photos")
