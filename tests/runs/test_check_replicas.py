"""check_replicas refuses before the start what several replicas would compute differently from one device."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from kcnn import distribute
from kcnn.training import SGD, LossScaleOptimizer
from kcnn.training.optimizers import LinearWarmup
from kcnn.training.precision import apply_policy
from tests.runs.small import BATCH, clipping_adamw, compiled, training


def test_check_replicas_accepts_replicas_that_agree_and_leaves_their_weights(mirrored):
    model = compiled(mirrored, optimizer=clipping_adamw)
    before = model.get_weights()
    distribute.check_replicas(mirrored, model, training, BATCH)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    distribute.check_replicas(distribute.make_strategy("single"), model, training, BATCH)


def test_check_replicas_accepts_variables_of_two_types(mirrored):
    with apply_policy("bfloat16"):
        model = compiled(mirrored)
    assert {str(one.dtype) for one in model.trainable_variables} == {"bfloat16", "float32"}  # logits are float32
    distribute.check_replicas(mirrored, model, training, BATCH)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.SGD(0.05, global_clipnorm=100.0),  # at first no gradient is clipped
        pytest.param(lambda: keras.optimizers.SGD(0.05, momentum=0.9, clipnorm=0.1), marks=pytest.mark.every),
        pytest.param(lambda: keras.optimizers.Adam(0.01, clipvalue=0.01), marks=pytest.mark.every),
        pytest.param(
            lambda: keras.optimizers.Adam(LinearWarmup(0.01, 100), global_clipnorm=0.1), marks=pytest.mark.every
        ),
    ],
)
def test_check_replicas_refuses_an_optimizer_that_clips_the_gradients_of_each_replica(mirrored, optimizer):
    with pytest.raises(RuntimeError, match=r"do not agree with one in a step of \w+: expected a mean change of "):
        distribute.check_replicas(mirrored, compiled(mirrored, optimizer=optimizer), training, BATCH)


def test_check_replicas_refuses_accumulated_gradients_before_keras_fails(mirrored):
    for wrap in (lambda one: one, LossScaleOptimizer):
        model = compiled(mirrored, optimizer=lambda wrap=wrap: wrap(SGD(0.05, gradient_accumulation_steps=2)))
        with pytest.raises(RuntimeError, match=r"^2 replicas cannot accumulate gradients: .* use a larger batch size$"):
            distribute.check_replicas(mirrored, model, training, BATCH)


@pytest.mark.every
def test_check_replicas_refuses_loss_scaling_that_reads_the_first_replica_only(mirrored):
    for kind in (LossScaleOptimizer, keras.optimizers.LossScaleOptimizer):
        model = compiled(mirrored, optimizer=lambda kind=kind: kind(SGD(0.05)))
        if kind is LossScaleOptimizer:
            distribute.check_replicas(mirrored, model, training, BATCH)
        else:
            with pytest.raises(RuntimeError, match="do not agree with one in a step of LossScaleOptimizer"):
                distribute.check_replicas(mirrored, model, training, BATCH)


@keras.saving.register_keras_serializable("test")
class NotAveraged(keras.losses.Loss):
    """A mean over the replica's own samples, which nobody divides by the number of replicas."""

    def __call__(self, y_true, y_pred, sample_weight=None):
        return tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True))


def test_check_replicas_refuses_a_loss_that_is_summed_over_replicas(mirrored):
    with pytest.raises(RuntimeError, match="do not agree") as caught:
        distribute.check_replicas(mirrored, compiled(mirrored, loss=NotAveraged()), training, BATCH)
    one, many = map(float, re.search(r"expected loss (\S+), got (\S+);", str(caught.value)).groups())
    assert many == pytest.approx(2 * one, rel=1e-3)


def test_check_replicas_refuses_replicas_with_other_weights(mirrored):
    model = compiled(mirrored)
    kernel = model.trainable_variables[0].value
    mirrored.experimental_local_results(kernel)[1].assign(tf.zeros_like(kernel))
    with pytest.raises(RuntimeError, match="do not agree"):
        distribute.check_replicas(mirrored, model, training, BATCH)


def test_check_replicas_refuses_batch_norms_that_are_not_synchronized(mirrored):
    model = compiled(mirrored)
    model.get_layer("stem_bn").synchronized = False
    with pytest.raises(RuntimeError, match="1 batch-norm layers, such as stem_bn"):
        distribute.check_replicas(mirrored, model, training, BATCH)
