"""`predict` of networks and of optimized ones: one batch without Keras' loop, and all else as Keras does."""

import copy
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest

import kcnn
from kcnn.training.losses import CrossEntropy

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 12, 12, 1)).astype("float32")


@pytest.fixture(scope="module", params=["built", "optimized"])
def model(request):
    network = kcnn.build("convnet", input_shape=(12, 12, 1), classes=3)
    return network if request.param == "built" else kcnn.optimize_for_inference(network)


@pytest.fixture
def loops(monkeypatch):
    """The calls of Keras' own loop."""
    calls, predict = [], keras.Model.predict

    def count(self, *args, **kwargs):
        calls.append(kwargs)
        return predict(self, *args, **kwargs)

    monkeypatch.setattr(keras.src.models.functional.Functional, "predict", count, raising=False)
    return calls


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8", "int64"])
@pytest.mark.parametrize("count", [1, 32])
def test_predict_of_one_batch_gives_to_the_bit_what_keras_gives(model, loops, dtype, count):
    images = IMAGES[:count].astype(dtype)
    expected = keras.Model.predict(model, images, verbose=0)
    for got in (model.predict(images), model.predict(x=images, verbose=0), model.predict(images, 64, "auto")):
        assert type(got) is np.ndarray
        assert got.dtype == expected.dtype
        assert (got == expected).all()
    assert not loops


def test_predict_leaves_all_else_to_keras(model, loops):
    seen = []
    callback = keras.callbacks.LambdaCallback(on_predict_batch_end=lambda batch, logs: seen.append(batch))
    requests = [
        ((IMAGES,), {}),
        ((IMAGES[:4],), {"batch_size": 2}),
        ((IMAGES[:4],), {"verbose": 1}),
        ((IMAGES[:4],), {"callbacks": [callback]}),
        ((IMAGES[:4],), {"steps": 1}),
        ((keras.ops.convert_to_tensor(IMAGES[:4]),), {}),
    ]
    for args, kwargs in requests:
        assert len(model.predict(*args, **kwargs)) == len(args[0])
    assert len(loops) == len(requests)
    assert seen == [0]


def test_predict_refuses_an_argument_given_twice(model):
    with pytest.raises(TypeError, match="multiple values"):
        model.predict(IMAGES[:2], x=IMAGES[:2])


@pytest.mark.parametrize("shape", [(2, 12, 12, 2), (2, 10, 12, 1), (2, 12, 12), (0, 12, 12, 1), ()])
def test_predict_leaves_other_shapes_to_keras(model, monkeypatch, shape):
    monkeypatch.setattr(keras.src.models.functional.Functional, "predict", lambda *_, **__: "Keras'", raising=False)
    assert model.predict(np.zeros(shape, "float32")) == "Keras'"
    assert isinstance(model.predict(np.zeros((2, 12, 12, 1), "float32")), np.ndarray)


def test_predict_leaves_open_sizes_to_keras(monkeypatch):
    maps = kcnn.build("convnet", input_shape=(None, None, 1), top=False, pooling="avg")
    monkeypatch.setattr(keras.src.models.functional.Functional, "predict", lambda *_, **__: "Keras'", raising=False)
    assert maps.predict(IMAGES[:2]) == "Keras'"


def test_pickle_gives_a_model_that_predicts_the_same(model):
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(again.predict(IMAGES[:4], verbose=0), model.predict(IMAGES[:4]))
        assert type(again) is type(model)
        assert again.metadata == model.metadata


def test_pickle_is_read_by_a_process_that_imports_nothing_of_kcnn(tmp_path):
    network = kcnn.build("convnet", input_shape=(12, 12, 1), classes=3)
    network.update_metadata(classes=["a", "b", "c"])
    network.compile("sgd", CrossEntropy())
    models = [network, kcnn.optimize_for_inference(network)]
    expected = [model.predict(IMAGES[:2]) for model in models]
    (tmp_path / "models.pkl").write_bytes(pickle.dumps((models, IMAGES[:2], expected)))
    code = """if True:
        import pickle, sys
        with open(sys.argv[1], "rb") as file:
            models, images, expected = pickle.load(file)
        for model, scores in zip(models, expected):
            print(*model.metadata["classes"], abs(model.predict(images, verbose=0) - scores).max() < 1e-5)
        print(type(models[0].loss).__module__)
    """
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "models.pkl")], capture_output=True, text=True)
    assert done.stdout.split("\n")[:3] == ["a b c True", "a b c True", "kcnn.training.losses"], done.stderr
