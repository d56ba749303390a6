"""The command that trains the best network of a search is read by the command line as what was searched."""

import shlex

import pytest
import typer

import kcnn
from kcnn.augment import Augmentation
from kcnn.cli import app
from kcnn.cli.console import parse_assignments
from kcnn.reports.train_command import format_train_command
from kcnn.search import SearchConfig
from kcnn.search.space import Range, Space
from kcnn.training import Recipe, TrainConfig, get_recipe


def make_request(space, train, data="my photos/it's"):
    return {"space": space.to_json(), "config": SearchConfig(train=train).describe(), "data": data}


def parse(command):
    words = shlex.split(command)
    assert words[:2] == ["kcnn", "train"]
    group = typer.main.get_command(app)
    train = group.get_command(group.make_context("kcnn", ["train"]), "train")
    return train.make_context("train", words[2:]).params


@pytest.mark.parametrize(
    "train",
    [
        TrainConfig(recipe="quick", epochs=3, seed=7),
        TrainConfig(recipe="quick", folds=4),
        TrainConfig(recipe="paper", recipe_overrides={"milestones": (0.25, 0.5), "flip": False}, batch_size=16),
        TrainConfig(recipe=Recipe(epochs=2, optimizer="adamw", augmentation=Augmentation(resized_crop=(0.5, 1.0)))),
    ],
)
def test_format_train_command_is_read_as_the_same_network_and_recipe(train):
    choices = {"conv1.kernel": ((3, 5), 7), "pool1.mode": ("max", "average"), "depth": (2, 3)}
    spec = kcnn.ModelSpec(network="stack", input_shape=(32, 48, 1), options={"filters": 8})
    space = Space(spec, choices, training={"learning_rate": Range(1e-4, 1e-1, log=True), "optimizer": ("sgd", "adamw")})
    values = {
        "conv1.kernel": (3, 5),
        "pool1.mode": "average",
        "depth": 3,
        "learning_rate": 0.0123456789,
        "optimizer": "sgd",
    }
    candidate = space.candidate(values)
    read = parse(format_train_command(make_request(space, train), candidate))
    assert read["folds"] == train.folds
    assert (read["name"], read["data"], read["input_size"], read["seed"]) == (
        *("stack", "my photos/it's", "32x48x1"),
        train.seed,
    )
    again = kcnn.ModelSpec(
        network="stack",
        input_shape=(32, 48, 1),
        options=parse_assignments(read["model_option"], "--model-option"),
        overrides=parse_assignments(read["override"], "--override"),
    )
    assert str(kcnn.summary(again)) == str(kcnn.summary(candidate.graph))
    config = TrainConfig(
        recipe=read["recipe"],
        epochs=read["epochs"],
        batch_size=read["batch_size"],
        learning_rate=read["learning_rate"],
        recipe_overrides=parse_assignments(read["recipe_option"], "--recipe-option"),
    )
    assert config.resolved_recipe == get_recipe(train.resolved_recipe, candidate.training)


def test_format_train_command_of_arrays_is_none():
    space = Space(kcnn.ModelSpec(network="stack", input_shape=(32, 32, 1)), {"depth": (2, 3)})
    request = make_request(space, TrainConfig(recipe="quick"), "arrays")
    assert format_train_command(request, space.candidate({"depth": 2})) is None
