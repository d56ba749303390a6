"""Convolutions of one pixel: in training as Keras computes them, and elsewhere by Keras itself."""

from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf

from kcnn.keras_bridge.model import Network
from kcnn.keras_bridge.pointwise import is_training
from kcnn.keras_bridge.registered_gradients import release_functions


def make_network(size, channels, filters):
    image = keras.Input((*size, channels))
    return Network(image, keras.layers.Conv2D(filters, 1, use_bias=True)(image))


def learn(model, x, target):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = model(x, training=True)
        loss = tf.reduce_sum(tf.square(y - target))
    return y, *tape.gradient(loss, [x, *(variable.value for variable in model.trainable_variables)])


@pytest.mark.parametrize(
    ("size", "channels", "filters"), [((4, 4), 6, 10), ((4, 4), 10, 6), ((12, 10), 6, 10), ((12, 10), 10, 6)]
)
def test_use_matmul_computes_gradients_of_keras(size, channels, filters):
    model, random = make_network(size, channels, filters), np.random.default_rng(0)
    x, target = (tf.constant(random.normal(size=(3, *size, n)), tf.float32) for n in (channels, filters))
    plain = keras.layers.Conv2D.from_config(model.layers[1].get_config())
    other_model = keras.Model(model.inputs, plain(model.inputs[0]))
    other_model.set_weights(model.get_weights())
    expected = learn(other_model, x, target)
    for value, other in zip(learn(model, x, target), expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-5, atol=1e-4)
    operations = {
        one.type for one in tf.function(lambda: learn(model, x, target)).get_concrete_function().graph.get_operations()
    }
    assert "MatMul" in operations
    assert "Conv2DBackpropFilter" not in operations


def test_use_matmul_leaves_inference_to_keras():
    model = make_network((4, 4), 6, 10)
    graph = tf.function(lambda x: model(x, training=False)).get_concrete_function(tf.zeros((1, 4, 4, 6))).graph
    assert "Conv2D" in {one.type for one in graph.get_operations()}
    assert not is_training()


def test_use_matmul_saves_a_layer_of_keras(tmp_path):
    model, x = make_network((4, 4), 6, 10), np.ones((1, 4, 4, 6), "float32")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[1]) is keras.layers.Conv2D
    np.testing.assert_array_equal(loaded(x), model(x))


def list_registered():
    from tensorflow.python.framework.ops import gradient_registry

    return {name for name in gradient_registry._registry if name.startswith("CustomGradient-")}


def test_fit_releases_what_tensorflow_registered_for_it():
    """Each network that was trained stayed in memory until the process ended."""
    before, model = list_registered(), make_network((12, 10), 6, 10)
    model.compile("sgd", "mse")
    x, y = np.zeros((2, 12, 10, 6), "float32"), np.zeros((2, 12, 10, 10), "float32")
    model.fit(x, y, verbose=0)
    model.train_on_batch(x, y)
    assert list_registered() == before
    model.fit(x, y, verbose=0)
    model.fit(x[:1], y[:1], verbose=0)  # another trace of the same function
    assert list_registered() == before


def test_release_functions_waits_for_other_threads():
    @tf.custom_gradient
    def double(x):
        return 2 * x, lambda dy: 2 * dy

    before = list_registered()
    trace = tf.function(lambda x: double(x)).get_concrete_function
    with ThreadPoolExecutor(1) as thread:
        with release_functions():
            inner = release_functions()
            thread.submit(inner.__enter__).result()
            trace(tf.TensorSpec((), tf.float32))
            assert len(list_registered() - before) == 1
        assert len(list_registered() - before) == 1  # the other thread may need it
        thread.submit(inner.__exit__, None, None, None).result()
    assert list_registered() == before
