"""A space as a keras_tuner.HyperModel, in keras-tuner's own tuners and in those that propose feasible points only."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pytest

import kcnn
from kcnn.search import tuners
from kcnn.search.space import Limits, Range, Space
from tests.runs.searches import STACK

SPEC = kcnn.ModelSpec(network="stack", input_shape=(8, 8, 1), classes=10)
NARROW = Space(  # half of its points do not fit into 8x8 pixels
    SPEC,
    {
        "conv1.kernel": (3, 5, (3, 5)),
        "conv1.stride": (1, 2, 3),
        "depth": (2, 3),
        "conv3.kernel": (1, 3),  # where the depth is 3
        "conv*.padding": ("same", "valid"),
    },
    training={"learning_rate": Range(1e-3, 1e-2, log=True)},
)
NAMES = ["RandomSearch", *(pytest.param(name, marks=pytest.mark.every) for name in ("Hyperband", "GridSearch"))]
NAMES += [pytest.param("BayesianOptimization", marks=pytest.mark.every)]
BUDGET = {
    "RandomSearch": {"max_trials": 5},
    "BayesianOptimization": {"max_trials": 5, "num_initial_points": 3},
    "Hyperband": {"max_epochs": 3},
    "GridSearch": {"max_trials": 5},
}
IMAGES = np.random.default_rng(0).uniform(0, 255, (20, 8, 8, 1)).astype("float32")
LABELS = np.arange(20) % 10


class Untrained(kcnn.HyperModel):
    """A hypermodel whose score is the number of parameters of the network that was built; nothing is trained."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs, log=lambda text: self.messages.append(text))
        self.messages, self.networks = [], []

    def fit(self, hp, model, *args, **kwargs):
        self.networks.append(json.dumps(model.spec.to_json(), sort_keys=True))
        model.save_weights(next(one.filepath for one in kwargs["callbacks"] if hasattr(one, "filepath")))
        return {"val_accuracy": model.count_params()}


def start(tuner_class, hypermodel, folder, **keywords):
    keywords = {**BUDGET[tuner_class.__name__], "seed": 3, "directory": folder, **keywords}
    return tuner_class(hypermodel, objective=keras_tuner.Objective("val_accuracy", "max"), **keywords)


def read_statuses(tuner):
    return {trial.status for trial in tuner.oracle.trials.values()}


@pytest.mark.parametrize("name", NAMES)
def test_hypermodel_in_tuner_of_keras_tuner_builds_the_nearest_network_so_that_no_trial_fails(name, tmp_path):
    hypermodel = Untrained(Space(NARROW.spec, NARROW.choices))
    tuner = start(getattr(keras_tuner, name), hypermodel, tmp_path)
    tuner.search(verbose=0)
    assert read_statuses(tuner) == {"COMPLETED"}
    assert hypermodel.messages, "half of the points are infeasible"
    assert all("the nearest network has" in message for message in hypermodel.messages)
    for trial in tuner.oracle.trials.values():
        repairs = hypermodel.find_repairs(trial.hyperparameters)
        built = hypermodel.candidate(trial.hyperparameters).values
        for name, (proposed, value) in repairs.items():
            assert built.get(name) == value != proposed
    best = tuner.get_best_hyperparameters()[0]
    model = tuner.get_best_models()[0]
    assert model.spec == hypermodel.candidate(best).graph.spec
    assert model.count_params() == max(t.score for t in tuner.oracle.trials.values())


@pytest.mark.parametrize("name", NAMES)
def test_feasible_tuners_propose_feasible_points_only_and_no_network_twice(name, tmp_path):
    hypermodel = Untrained(Space(NARROW.spec, NARROW.choices))
    tuner = start(getattr(tuners, name), hypermodel, tmp_path)
    tuner.search(verbose=0)
    assert read_statuses(tuner) == {"COMPLETED"}
    assert not hypermodel.messages
    assert all(not hypermodel.find_repairs(trial.hyperparameters) for trial in tuner.oracle.trials.values())
    first = [t for t in tuner.oracle.trials.values() if not t.hyperparameters.values.get("tuner/trial_id")]
    networks = [hypermodel.space.identity(hypermodel.candidate(trial.hyperparameters).values) for trial in first]
    assert len({*networks}) == len(networks)
    assert isinstance(tuner, getattr(keras_tuner, name))


@pytest.mark.every
def test_feasible_bayesian_optimization_judges_few_of_its_random_points(tmp_path):
    """To judge 300 for each trial takes seconds for a network such as ResNet-50."""
    hypermodel, judged = Untrained(NARROW), []
    tuner = start(tuners.BayesianOptimization, hypermodel, tmp_path, max_trials=12, num_initial_points=8)
    judge = hypermodel.space.identity
    object.__setattr__(hypermodel.space, "identity", lambda values: judged.append(values) or judge(values))
    tuner.search(verbose=0)
    assert read_statuses(tuner) == {"COMPLETED"}
    assert not hypermodel.messages, "every point was feasible"
    assert 12 <= len(judged) < 600


def test_feasible_grid_search_visits_every_network_once_and_ends(tmp_path):
    space = Space(SPEC, {"conv1.stride": (1, 2, 3), "conv*.padding": ("same", "valid")})
    hypermodel = Untrained(space)
    start(tuners.GridSearch, hypermodel, tmp_path, max_trials=None).search(verbose=0)
    feasible = {identity for point in space.points() if (identity := space.identity(point))}
    assert len(hypermodel.networks) == len({*hypermodel.networks}) == len(feasible) < space.combinations


def test_hypermodel_trains_with_the_arguments_and_callbacks_of_fit(tmp_path):
    hypermodel = kcnn.HyperModel(NARROW, seed=1, log=lambda text: None)
    tuner = start(tuners.RandomSearch, hypermodel, tmp_path / "search", max_trials=2)
    board = keras.callbacks.TensorBoard(str(tmp_path / "board"))
    tuner.search(IMAGES, LABELS, validation_data=(IMAGES, LABELS), epochs=2, batch_size=5, callbacks=[board], verbose=0)
    assert read_statuses(tuner) == {"COMPLETED"}
    assert len({*(path.parts[-3] for path in (tmp_path / "board").rglob("train/events*"))}) == 1
    assert len([*(tmp_path / "board").glob("*/execution0")]) == 2
    rate = tuner.get_best_hyperparameters()[0].get("learning_rate")
    assert tuner.get_best_models()[0].optimizer.learning_rate.numpy() == pytest.approx(rate)


def test_tuner_resumes_without_overwrite(tmp_path):
    hypermodel = Untrained(NARROW)
    start(tuners.RandomSearch, hypermodel, tmp_path, max_trials=3).search(verbose=0)
    tuner = start(tuners.RandomSearch, hypermodel, tmp_path, max_trials=5, overwrite=False)
    assert len(tuner.oracle.trials) == 3
    tuner.search(verbose=0)
    assert len(tuner.oracle.trials) == len(hypermodel.networks) == 5
    assert len({trial.hyperparameters.get("learning_rate") for trial in tuner.oracle.trials.values()}) == 5


def test_tuner_prints_the_space_and_the_results_by_address(tmp_path, capsys):
    tuner = start(tuners.RandomSearch, Untrained(NARROW), tmp_path, max_trials=2)
    tuner.search_space_summary()
    text = capsys.readouterr().out
    assert all(name in text for name in (*NARROW.choices, "learning_rate"))
    tuner.search(verbose=0)
    tuner.results_summary()
    assert "conv1.kernel: " in capsys.readouterr().out


def test_hyperparameters_of_the_caller_override_the_values_of_the_space(tmp_path):
    hp = keras_tuner.HyperParameters()
    hp.Choice("conv1.kernel", ["5", "[3, 5]", "7"])  # as keras-tuner has values of several kinds; 7 is new
    hp.Fixed("conv*.padding", "same")
    hypermodel = Untrained(Space(NARROW.spec, NARROW.choices))
    arguments = {"hyperparameters": hp, "tune_new_entries": False}
    tuner = start(tuners.GridSearch, hypermodel, tmp_path, max_trials=None, **arguments)
    tuner.search(verbose=0)
    built = [hypermodel.candidate(t.hyperparameters).values for t in tuner.oracle.trials.values()]
    assert [values["conv1.kernel"] for values in built] == [5, (3, 5), 7]
    default = {**hypermodel.space.default, "conv*.padding": "same"}
    assert all({**default, "conv1.kernel": 0} == {**values, "conv1.kernel": 0} for values in built)


def test_hypermodel_subclass_adds_hyperparameters_of_its_own(tmp_path):
    class Own(Untrained):
        def build(self, hp):
            model = super().build(hp)
            hp.Choice("batch_size", [8, 16])
            return model

    tuner = start(tuners.RandomSearch, Own(NARROW), tmp_path, max_trials=5)
    tuner.search(verbose=0)
    assert {t.hyperparameters.get("batch_size") for t in tuner.oracle.trials.values()} == {8, 16}


def test_compile_of_the_caller_reads_hyperparameters_by_name():
    rates = []

    def compile_model(hp, model):
        rates.append(hp.get("learning_rate"))
        model.compile(keras.optimizers.SGD(hp.get("learning_rate"), hp.get("momentum")), "mse")

    space = Space(NARROW.spec, {"conv1.kernel": (3, 5)}, training={"learning_rate": (0.1, 0.2), "momentum": (0.5, 0.9)})
    model = kcnn.HyperModel(space, compile=compile_model).build(keras_tuner.HyperParameters())
    assert rates == [0.1]
    assert model.optimizer.momentum == 0.5


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("googlenet",), TypeError, "space must be of type Space"),
        ((Space(STACK, {"depth": (2, 3)}, training={"weight_decay": (0.0, 1e-4)}),), ValueError, "weight_decay is a"),
    ],
)
def test_hypermodel_refuses_what_it_cannot_search(arguments, error, message):
    with pytest.raises(error, match=message):
        kcnn.HyperModel(*arguments)


def test_feasible_tuner_refuses_another_hypermodel(tmp_path):
    with pytest.raises(TypeError, match=r"RandomSearch takes a kcnn.search.HyperModel"):
        tuners.RandomSearch(lambda hp: None, objective="val_accuracy", directory=tmp_path)


def test_feasible_tuner_of_a_space_without_a_feasible_point_says_so(tmp_path):
    space = Space(SPEC, {"conv1.kernel": (3, 5)}, limits=Limits(max_macs=1))
    with pytest.raises(ValueError, match="random points include no feasible one"):
        start(tuners.RandomSearch, Untrained(space), tmp_path)


@pytest.mark.every
def test_tuner_trains_each_trial_under_its_distribution_strategy(mirrored, tmp_path):
    replicas = []

    class Watched(kcnn.HyperModel):
        def fit(self, hp, model, *args, **kwargs):
            replicas.append(model.distribute_strategy.num_replicas_in_sync)
            return super().fit(hp, model, *args, **kwargs)

    hypermodel = Watched(Space(SPEC, {"conv1.kernel": (3, 5)}), log=lambda text: None)
    tuner = start(tuners.RandomSearch, hypermodel, tmp_path, max_trials=2, distribution_strategy=mirrored)
    tuner.search(IMAGES, LABELS, validation_data=(IMAGES, LABELS), epochs=1, batch_size=10, verbose=0)
    assert read_statuses(tuner) == {"COMPLETED"}
    assert replicas == [2, 2]


WORKER = """
import sys
from tests.runs.test_hypermodel import NARROW, Untrained, start, tuners
start(tuners.RandomSearch, Untrained(NARROW), sys.argv[1], max_trials=6).search(verbose=0)
"""


@pytest.mark.every
def test_tuner_distributes_trials_by_the_environment_variables_of_keras_tuner(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    shared = {**os.environ, "KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": port}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path)],
            env={**shared, "KERASTUNER_TUNER_ID": name},
            cwd=Path(__file__).parents[2],
        )
        for name in ("chief", "worker1", "worker2")
    ]
    assert [process.wait(300) for process in processes] == [0, 0, 0]
    trials = [json.loads(path.read_text()) for path in tmp_path.glob("*/trial_*/trial.json")]
    assert [trial["status"] for trial in trials] == ["COMPLETED"] * 6
    hypermodel = Untrained(NARROW)
    for trial in trials:
        assert not hypermodel.find_repairs(keras_tuner.HyperParameters.from_config(trial["hyperparameters"]))
