"""A search whose trials start from morphed weights: recorded, resumed, run again, and evaluated alike."""

import pytest

import kcnn
from kcnn.search import SearchConfig, rerun_trial, search
from kcnn.search.result import read_record
from kcnn.search.space import Space
from kcnn.training import TrainConfig
from kcnn.training.run_directory import read_history

SPACE = Space(kcnn.ModelSpec(network="convnet", input_shape=(16, 16, 1)), {"conv2.filters": (32, 48, 64)})


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The folder of a run on the digits, whose test split is that of the search."""
    out = tmp_path_factory.mktemp("weights") / "run"
    spec = kcnn.ModelSpec(network="convnet", input_shape=(16, 16, 1))
    kcnn.train(spec, "digits", TrainConfig(recipe="quick", epochs=4), out=out, verbose=0)
    return out


def test_search_config_from_weights_has_a_short_schedule_unless_it_is_set():
    quick = SearchConfig(weights="imagenet").train.resolved_recipe
    assert (quick.epochs, quick.warmup) == (3, 0.0)
    own = SearchConfig(weights="imagenet", train=TrainConfig(epochs=7, recipe_overrides={"warmup": 0.2}))
    assert (own.train.resolved_recipe.epochs, own.train.resolved_recipe.warmup) == (7, 0.2)
    assert SearchConfig.from_json(own.to_json()) == own
    assert SearchConfig().train.resolved_recipe.epochs == 10


def test_search_from_weights_starts_every_training_from_them(weights, tmp_path):
    lines = []
    config = SearchConfig(
        trials=3, final_seeds=1, reduction_factor=0, weights=str(weights), train=TrainConfig(epochs=1)
    )
    result = search(SPACE, "digits", config, out=tmp_path / "search", log=lines.append)
    assert result.counts == {"ok": 3}
    before = max(row["val_accuracy"] for row in read_history(weights))
    assert min(trial.score for trial in result.trials) > before - 0.05  # after an epoch
    assert sum("tensors: " in line for line in lines) == 3
    assert sum("training from morphed weights" in line for line in lines) == len(result.final.contenders)
    record = read_record(tmp_path / "search")
    assert record["weights_path"] == str(weights)
    assert str(weights) not in str(record["request"])
    assert rerun_trial(tmp_path / "search", result.best.number).same
    with pytest.raises(ValueError, match="holds another search"):
        search(SPACE, "digits", SearchConfig(trials=3, train=TrainConfig(epochs=1)), out=tmp_path / "search")


def test_search_refuses_the_weights_of_another_network(tmp_path, weights):
    space = Space(kcnn.ModelSpec(network="stack", input_shape=(16, 16, 1)), {"conv1.kernel": (3, 5)})
    with pytest.raises(ValueError, match="written by convnet, not stack"):
        search(space, "digits", SearchConfig(trials=1, weights=str(weights)), out=tmp_path / "search")


@pytest.mark.every
@pytest.mark.parametrize(
    ("values", "epochs"), [({"workers": 2}, 1), ({"tuner": "hyperband", "trials": 5}, 3)], ids=["workers", "hyperband"]
)
def test_search_from_weights_starts_from_them_in_workers_and_in_hyperband(weights, tmp_path, values, epochs):
    train = TrainConfig(epochs=epochs)
    values = {"trials": 3, "final_seeds": 0, "reduction_factor": 0, "weights": str(weights), "train": train, **values}
    result = search(SPACE, "digits", SearchConfig(**values), out=tmp_path / "search", log=lambda line: None)
    assert set(result.counts) == {"ok"}
    before = max(row["val_accuracy"] for row in read_history(weights))
    assert min(trial.score for trial in result.trials) > before - 0.05


def test_search_in_folds_refuses_weights_that_saw_their_images(weights, tmp_path):
    values = {"trials": 1, "weights": str(weights), "train": TrainConfig(epochs=1, folds=2)}
    with pytest.raises(ValueError, match="images of the folds were in the train or validation split"):
        search(SPACE, "digits", SearchConfig(**values), out=tmp_path / "search", log=lambda line: None)
