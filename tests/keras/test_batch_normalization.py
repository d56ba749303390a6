"""Batch normalization of kcnn computes what that of Keras does, faster."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kcnn.keras_bridge import layers
from tests import hidden

SHAPE = (6, 9, 7, 5)


def pair_of_layers(**options):
    built = []
    for layer_class in (keras.layers.BatchNormalization, layers.BatchNormalization):
        layer = layer_class(momentum=0.9, **options)
        layer.build(SHAPE)
        if layer.scale:
            layer.gamma.assign(np.linspace(0.5, 2, SHAPE[-1]))
        if layer.center:
            layer.beta.assign(np.linspace(-1, 1, SHAPE[-1]))
        built.append(layer)
    return built


def results(layer, x, weight, training):
    """Output, gradients by input and variables, moving statistics; as float32 arrays."""
    x = tf.constant(x)
    variables = [v.value for v in layer.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch([x, *variables])
        y = layer(x, training=training)
        loss = tf.reduce_sum(tf.cast(y, "float32") * weight)
    arrays = [y, *tape.gradient(loss, [x, *variables]), layer.moving_mean.value, layer.moving_variance.value]
    return [np.asarray(one, "float32") for one in arrays]


@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}, {"epsilon": 1e-5}])
@pytest.mark.parametrize("training", [True, False])
def test_batch_normalization_equals_keras_in_output_gradients_and_statistics(options, training):
    rng = np.random.default_rng(0)
    x, weight = (rng.normal(1, 3, SHAPE).astype("float32") for _ in range(2))
    theirs, ours = pair_of_layers(**options)
    for _ in range(3):
        for a, b in zip(results(theirs, x, weight, training), results(ours, x, weight, training), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5 * max(1, np.abs(a).max()))


@pytest.mark.parametrize(("policy", "rounding"), [("mixed_bfloat16", 2**-8), ("mixed_float16", 2**-10)])
@pytest.mark.parametrize("training", [True, False])
def test_batch_normalization_equals_keras_under_mixed_precision_up_to_rounding(policy, rounding, training):
    rng = np.random.default_rng(0)
    x, weight = (rng.normal(1, 3, SHAPE).astype("float32") for _ in range(2))
    theirs, ours = pair_of_layers(dtype=policy)
    pairs = list(zip(results(theirs, x, weight, training), results(ours, x, weight, training), strict=True))
    for a, b in pairs[:2]:  # output and its gradient by the input are of 16 bits: one rounding apart at most
        np.testing.assert_allclose(b, a, rtol=rounding, atol=rounding)
    for a, b in pairs[2:]:
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5 * max(1, np.abs(a).max()))


def test_batch_normalization_when_frozen_ignores_the_batch():
    theirs, ours = pair_of_layers()
    x = np.random.default_rng(0).normal(4, 2, SHAPE).astype("float32")
    theirs.trainable = ours.trainable = False
    a, b = theirs(x, training=True), ours(x, training=True)
    np.testing.assert_allclose(b, a, atol=1e-5)
    assert (np.asarray(ours.moving_mean) == 0).all()


def test_batch_normalization_uses_the_fused_kernel():
    _, ours = pair_of_layers()
    graph = tf.function(lambda x: ours(x, training=True)).get_concrete_function(tf.TensorSpec(SHAPE)).graph
    assert any(op.type == "FusedBatchNormV3" for op in graph.get_operations())


def test_batch_normalization_of_other_ranks_is_that_of_keras():
    _, ours = layers.BatchNormalization(), layers.BatchNormalization()
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    expected = keras.layers.BatchNormalization()(x, training=True)
    np.testing.assert_allclose(ours(x, training=True), expected, atol=1e-6)


def test_batch_normalization_has_the_variables_and_config_of_keras():
    theirs, ours = pair_of_layers()
    assert [v.name for v in ours.variables] == [v.name for v in theirs.variables]
    again = layers.BatchNormalization.from_config(ours.get_config())
    assert again.momentum == 0.9


@pytest.mark.parametrize("synchronized", [False, True])
def test_batch_normalization_equals_keras_in_a_mirrored_strategy(synchronized, strategy):
    rng = np.random.default_rng(0)
    x, y = rng.normal(2, 3, (8, 6, 6, 3)).astype("float32"), rng.integers(0, 4, 8)

    def train(layer_class):
        keras.utils.set_random_seed(1)
        with strategy.scope():
            image = keras.Input((6, 6, 3))
            h = keras.layers.Conv2D(4, 3)(image)
            h = layer_class(momentum=0.9, synchronized=synchronized, name="bn")(h)
            model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(h))
            model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0)
        return model.get_weights()

    for a, b in zip(train(keras.layers.BatchNormalization), train(layers.BatchNormalization), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-5)


def test_batch_normalization_synchronizes_the_variance_of_a_large_mean(strategy):
    """E[x^2] - E[x]^2 of these float32 values is off by a quarter, or negative."""
    x = np.random.default_rng(0).normal(3000, 1, (8, 6, 6, 3)).astype("float32")
    with strategy.scope():
        layer = layers.BatchNormalization(momentum=0.0, synchronized=True)
        layer.build((None, 6, 6, 3))
    rows = tf.data.Dataset.from_tensors(x).unbatch().batch(8)
    for batch in strategy.experimental_distribute_dataset(rows):
        tf.function(lambda batch: strategy.run(lambda part: layer(part, training=True), (batch,)))(batch)
    np.testing.assert_allclose(layer.moving_variance, x.astype("float64").var((0, 1, 2)), rtol=1e-3)
    np.testing.assert_allclose(layer.moving_mean, x.astype("float64").mean((0, 1, 2)), rtol=1e-6)


ON_JAX = """
import jax, keras, numpy as np
from kcnn.keras_bridge import layers

shape, random = (6, 9, 7, 5), np.random.default_rng(0)
x, weight = (random.normal(1, 3, shape).astype("float32") for _ in range(2))

def results(layer_class, policy, options):
    layer = layer_class(momentum=0.9, dtype=policy, **options)
    layer.build(shape)
    for variable in layer.trainable_variables:
        variable.assign(np.linspace(0.5, 2, shape[-1]))

    def loss(variables, x):
        moving = [v.value for v in layer.non_trainable_variables]
        y, statistics = layer.stateless_call(variables, moving, x, training=True)
        return (y.astype("float32") * weight).sum(), (y, statistics)

    variables = [v.value for v in layer.trainable_variables]
    (by_variables, by_x), (y, statistics) = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(variables, x)
    return [np.asarray(one, "float32") for one in (y, by_x, *by_variables, *statistics)]

for policy, rounding, options in (
    ("float32", 1e-5, {"epsilon": 1e-5}),
    ("float32", 1e-5, {"scale": False, "center": False}),
    ("mixed_bfloat16", 2**-8, {}),
):
    pairs = zip(*(results(c.BatchNormalization, policy, options) for c in (keras.layers, layers)), strict=True)
    for number, (a, b) in enumerate(pairs):
        tolerance = rounding if number < 2 else 1e-5  # the output and its gradient by the input are of 16 bits
        np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance * max(1, np.abs(a).max()))

large = random.normal(3000, 1, (8, 6, 6, 3)).astype("float32")
layer = layers.BatchNormalization(momentum=0.0)
layer(large, training=True)
np.testing.assert_allclose(layer.moving_variance, large.astype("float64").var((0, 1, 2)), rtol=1e-5)
frozen = layers.BatchNormalization()
frozen.trainable = False
frozen(large, training=True)
assert (np.asarray(frozen.moving_mean) == 0).all()
"""


def test_batch_normalization_on_jax_equals_keras_in_output_gradients_and_statistics(tmp_path):
    pytest.importorskip("jax")
    hidden.run(ON_JAX, backend="jax", cwd=tmp_path)
