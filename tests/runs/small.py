"""A small residual network and its data, trained under any strategy: what tests of several devices share."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf

import kcnn
from kcnn import distribute
from kcnn.training import adamw

CPU = tf.config.list_physical_devices("CPU")[0]
if "TF_CONFIG" not in os.environ and not tf.config.get_logical_device_configuration(CPU):
    tf.config.set_logical_device_configuration(CPU, [tf.config.LogicalDeviceConfiguration()] * 2)

BATCH, STEPS, COUNT = 16, 3, 37  # 37 samples to evaluate: the last batch has 5, all in the first replica
RNG = np.random.default_rng(0)
X = RNG.uniform(0, 255, (BATCH * STEPS, 12, 12, 1)).astype("float32")
Y = RNG.integers(0, 5, len(X))


def body(x):
    x = kcnn.blocks.conv(x, 6, 3, stride=2, norm=True, name="stem")
    return kcnn.blocks.residual(x, 8, stride=2, name="unit1")


SMALL = kcnn.Architecture(backbone=body, reference="a small residual network", input_shape=(12, 12, 1), classes=5)


def crossentropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def training(shard):
    index, parts = shard
    rows = slice(index * BATCH // parts, (index + 1) * BATCH // parts)
    batches = tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH).repeat()
    return batches.map(lambda x, y: (x[rows], y[rows]))


def evaluation():
    return tf.data.Dataset.from_tensor_slices((X[:COUNT], Y[:COUNT])).batch(BATCH)


def evaluated(shard):
    return distribute.pad_batches(evaluation(), COUNT, BATCH, shard)


def default_optimizer():
    return keras.optimizers.SGD(0.02, momentum=0.9, use_ema=True, ema_momentum=0.5, weight_decay=1e-3)


def clipping_adamw():
    return adamw(0.01, clip_global_norm=0.1, weight_decay=1e-2)


def compiled(strategy, network=SMALL, loss=None, optimizer=default_optimizer, **options):
    """A compiled model; `optimizer` makes its optimizer, in the scope of the strategy."""
    with strategy.scope():
        model = kcnn.build(network, seed=1, **options)
        distribute.synchronize_batch_norm(strategy, model)
        model.compile(optimizer(), loss or crossentropy(), weighted_metrics=["accuracy"], jit_compile=False)
    return model


def fitted(strategy, epochs=3, callbacks=(), **options):
    """A model trained with a moving average of its weights, and its history."""
    model = compiled(strategy, **options)
    found = model.fit(
        distribute.distribute_dataset(strategy, training, BATCH),
        steps_per_epoch=STEPS,
        epochs=epochs,
        validation_data=distribute.distribute_dataset(strategy, evaluated, BATCH),
        callbacks=[keras.callbacks.SwapEMAWeights(), *callbacks],
        shuffle=False,
        verbose=0,
    )
    return model, found.history


def same(found, wanted, rel):
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert found[name] == pytest.approx(wanted[name], rel=rel), name


def untouched():
    """Whether Keras' two functions, and tf.distribute's, are those of their own files."""
    import keras.src.backend.tensorflow.trainer as trainer

    own = (trainer.reduce_per_replica, trainer.TensorFlowTrainer._maybe_symbolic_build)
    return all(one.__code__.co_filename == trainer.__file__ for one in own)
