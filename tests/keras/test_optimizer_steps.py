"""A training step of TensorFlow: traced once, and SGD's update by one kernel, with Keras' results."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kcnn
from kcnn.keras_bridge.model import Network
from kcnn.training import optimizers

SIZE = (32, 32, 1)


def train(model, optimizer, **options):
    random = np.random.default_rng(0)
    x, y = random.uniform(0, 255, (16, *SIZE)).astype("float32"), random.integers(0, 10, 16)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=False, **options)
    model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    return [np.asarray(variable) for variable in (*model.weights, *optimizer.variables)]


def build():
    keras.utils.set_random_seed(0)
    return kcnn.build("lenet5", classes=10, input_shape=SIZE)


@pytest.mark.parametrize(
    "options", [{"momentum": 0.9}, {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-3, "use_ema": True}]
)
def test_fit_trains_as_keras_to_the_last_digit(options):
    model, other = build(), build()
    optimizer, plain = (keras.optimizers.SGD(0.01, name="sgd", **options) for _ in range(2))
    expected = train(keras.Model(other.inputs, other.outputs), plain)
    for variable, value in zip(train(model, optimizer), expected, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert [one.path for one in optimizer.variables] == [one.path for one in plain.variables]


@pytest.mark.parametrize("nesterov", [False, True])
def test_update_by_momentum_is_that_of_keras(nesterov):
    random = np.random.default_rng(0)
    value, gradients = random.normal(size=1001), random.normal(size=(5, 1001)).astype("float32")
    ours = optimizers.sgd(0.1, nesterov=nesterov)
    plain = keras.optimizers.SGD(0.1, momentum=0.9, nesterov=nesterov)
    variables = [keras.Variable(value, dtype="float32") for _ in range(2)]
    for optimizer, variable in zip((ours, plain), variables, strict=True):
        for gradient in gradients:
            optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
    np.testing.assert_array_equal(np.asarray(variables[0]), np.asarray(variables[1]))
    np.testing.assert_array_equal(np.asarray(ours.momentums[0]), np.asarray(plain.momentums[0]))


def step_plain_variable(optimizer, name="weight"):
    variable = tf.Variable([1.0, 2.0], name=name)
    for _ in range(3):
        optimizer.apply_gradients([(tf.constant([1.0, 0.5]), variable)])
    return variable.numpy()


def test_optimizers_update_variables_of_tensorflow_as_those_of_keras_do():
    nesterov = {"momentum": 0.9, "nesterov": True}
    expected = step_plain_variable(keras.optimizers.SGD(0.1, **nesterov))
    np.testing.assert_array_equal(step_plain_variable(optimizers.sgd(0.1)), expected)
    factors = {"lr_multipliers": {"stem": 0.5}}
    np.testing.assert_array_equal(step_plain_variable(optimizers.sgd(0.1, **factors)), expected)
    np.testing.assert_array_equal(step_plain_variable(optimizers.sgd(0.2, **factors), "stem/kernel"), expected)
    expected = step_plain_variable(keras.optimizers.Adam(0.1))
    np.testing.assert_array_equal(step_plain_variable(optimizers.adamw(0.1)), expected)


@pytest.mark.parametrize("make", [optimizers.sgd, optimizers.adamw])
def test_optimizers_decay_and_average_variables_of_tensorflow(make):
    options = {"weight_decay": 0.1, "clip_global_norm": 0.5, "ema_momentum": 0.9}
    expected = keras.Variable([1.0, 2.0])
    optimizer = make(0.1, **options)
    for _ in range(3):
        optimizer.apply([tf.constant([1.0, 0.5])], [expected])
    np.testing.assert_array_equal(step_plain_variable(make(0.1, **options)), expected.numpy())
    assert (step_plain_variable(make(0.1, **options), "bias") != expected.numpy()).all()


@pytest.mark.parametrize("options", [{}, {"metrics": ["accuracy"], "weighted_metrics": ["accuracy"]}])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_fit_traces_the_training_step_once(monkeypatch, optimizer, options):
    traces, step = [], Network.train_step
    monkeypatch.setattr(Network, "train_step", lambda self, *args: traces.append(1) or step(self, *args))
    train(build(), keras.optimizers.get(optimizer), **options)
    assert len(traces) == 1


def test_fit_computes_the_metrics_of_keras():
    results = []
    for model in (build(), build()):
        other = model if not results else keras.Model(model.inputs, model.outputs)
        train(other, keras.optimizers.SGD(0.01), metrics=["accuracy", "sparse_categorical_crossentropy"])
        x, y = np.full((4, *SIZE), 9.0), np.arange(4)
        names = [variable.path for one in other.metrics for variable in one.variables]
        results.append((other.evaluate(x, y, verbose=0, return_dict=True), names))
    assert results[0] == results[1]
