"""kcnn.distribute: several devices train as one, each sample counts once, and mistakes are refused at once."""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kcnn
from kcnn import distribute
from kcnn.distribute import datasets as batches
from kcnn.distribute.processes import _make_environments
from kcnn.training import SGD, LossScaleOptimizer, sgd
from tests.runs.small import (
    BATCH,
    COUNT,
    RNG,
    SMALL,
    STEPS,
    X,
    Y,
    clipping_adamw,
    compiled,
    crossentropy,
    evaluated,
    evaluation,
    fitted,
    same,
    training,
    untouched,
)

# --- which strategy ---


def test_make_strategy_refuses_an_unknown_name_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown strategy 'horovod'; choose from auto, single, mirrored, multiworker"):
        distribute.make_strategy("horovod")


def test_make_strategy_single_and_auto_on_one_device_are_the_default(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for kind in ("single", "auto"):
        found = distribute.make_strategy(kind)
        assert found.num_replicas_in_sync == 1
        assert distribute.worker_position(found) == (0, 1)
        with found.scope():
            pass


def test_make_strategy_mirrored_is_one_per_process_and_needs_two_devices(mirrored):
    assert distribute.make_strategy("mirrored", ["CPU:0", "CPU:1"]) is mirrored
    assert mirrored.num_replicas_in_sync == 2
    assert distribute.is_chief(mirrored)
    with pytest.raises(ValueError, match="at least two devices, found only CPU:0"):
        distribute.make_strategy("mirrored", ["CPU:0"])
    with pytest.raises(ValueError, match="each device once"):
        distribute.make_strategy("mirrored", ["CPU:0", "CPU:0"])
    with pytest.raises(ValueError, match="other devices"):
        distribute.make_strategy("mirrored", ["CPU:1", "CPU:0"])
    with pytest.raises(ValueError, match="devices can be set"):
        distribute.make_strategy("auto", ["CPU:0", "CPU:1"])


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there are GPUs here")
def test_make_strategy_mirrored_refuses_a_machine_without_gpus():
    with pytest.raises(ValueError, match="found no GPU"):
        distribute.make_strategy("mirrored")


def test_make_strategy_multiworker_without_a_cluster_explains_how_to_start_one(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match="kcnn launch --workers 2"):
        distribute.make_strategy("multiworker")


def test_make_strategy_too_late_explains_when_to_call_it(monkeypatch):
    tf.zeros(1)  # TensorFlow is at work
    config = _make_environments(2)[0]["TF_CONFIG"]
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(RuntimeError, match="before anything makes a tensor"):
        distribute.make_strategy("auto")


def test_make_strategy_refuses_another_backend(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match="needs TensorFlow, and the backend of Keras is jax"):
        distribute.make_strategy("single")


# --- what several replicas compute ---


def test_distribute_dataset_trains_two_replicas_like_one_device(two):
    """Loss, accuracy, validation with the averaged weights, over nine steps."""
    _, wanted = fitted(distribute.make_strategy("single"))
    same(two[1], wanted, 1e-3)


def test_prefetch_copies_batches_to_a_gpu_and_trains_alike(monkeypatch):
    monkeypatch.setattr(batches, "list_gpus", lambda: ("CPU:1",))  # stands for a GPU
    images, labels = next(iter(distribute.prefetch(training((0, 1)))))
    assert images.device.endswith("CPU:1")
    assert labels.device.endswith("CPU:1")
    found = [
        compiled(distribute.make_strategy("single"))
        .fit(rows, steps_per_epoch=STEPS, epochs=3, shuffle=False, verbose=0)
        .history
        for rows in (training((0, 1)), distribute.prefetch(training((0, 1))))
    ]
    assert found[0] == found[1]


def test_predict_dataset_predicts_each_row_once_in_order(two, mirrored):
    wanted = distribute.copy_to_single_device(two[0]).predict(evaluation(), verbose=0)
    assert len(wanted) == COUNT
    found = distribute.predict_dataset(mirrored, two[0], evaluation(), COUNT, BATCH)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    with pytest.raises(ValueError, match="expected 36 samples, but the dataset has more"):
        distribute.predict_dataset(mirrored, two[0], evaluation(), COUNT - 1, BATCH)
    with pytest.raises(ValueError, match="expected 38 samples, got 37"):
        distribute.predict_dataset(mirrored, two[0], evaluation(), COUNT + 1, BATCH)


def test_pad_batches_evaluates_each_sample_once(two, mirrored):
    found = two[0].evaluate(distribute.distribute_dataset(mirrored, evaluated, BATCH), return_dict=True, verbose=0)
    logits = distribute.copy_to_single_device(two[0]).predict(evaluation(), verbose=0)
    assert found["accuracy"] == pytest.approx(np.mean(logits.argmax(-1) == Y[:COUNT]))
    assert found["loss"] == pytest.approx(float(crossentropy()(Y[:COUNT], logits)), rel=1e-5)


def test_distribute_validation_drops_broken_images_like_one_device(two, mirrored, tmp_path, monkeypatch):
    from kcnn import data
    from kcnn.training import devices

    for i in range(80):
        path = tmp_path / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (12, 12), "uint8")).save(path)
    monkeypatch.setattr(sys.modules["kcnn.data.loading"], "AHEAD", 0)
    request = {"input_shape": (12, 12, 1), "batch_size": 4, "validation_split": 0.4}
    for name in data.load(tmp_path, **request).splits["validation"].names[:9]:
        Path(name).write_text("broken")
    found = data.load(tmp_path, **request)
    alone = distribute.copy_to_single_device(two[0])
    alone.compile(loss=crossentropy())
    shared = devices.distribute_validation(mirrored, found)
    assert shared["validation_steps"] == 6  # 23 of 32 pictures
    told = two[0].evaluate(shared["validation_data"], steps=6, return_dict=True, verbose=0)
    wanted = alone.evaluate(found.validation, return_dict=True, verbose=0)
    assert told["loss"] == pytest.approx(wanted["loss"], rel=1e-5)


def test_make_strategy_changes_neither_keras_nor_the_mirrored_strategy(two, mirrored):
    assert untouched()
    assert type(mirrored) is tf.distribute.MirroredStrategy
    assert type(mirrored).reduce is tf.distribute.Strategy.reduce


def test_pad_batches_weighs_padding_0_and_the_rest_1_on_average():
    batches = list(evaluated((0, 1)).as_numpy_iterator())
    assert [len(w) for *_, w in batches] == [BATCH] * 3
    weights = np.concatenate([w for *_, w in batches])
    assert weights.mean() == pytest.approx(1)
    assert (weights[COUNT:] == 0).all()
    np.testing.assert_array_equal(np.concatenate([x for x, *_ in batches])[:COUNT], X[:COUNT])
    slices = [np.concatenate([w for *_, w in evaluated((i, 4)).as_numpy_iterator()]) for i in range(4)]
    assert sum(s.sum() for s in slices) == pytest.approx(weights.sum())
    with pytest.raises(ValueError, match=f"count must be at most the 48 samples of 3 batches, got {2 * COUNT}"):
        distribute.pad_batches(evaluation(), 2 * COUNT, BATCH)
    uncounted = evaluation().filter(lambda *_: True)
    with pytest.raises(tf.errors.FailedPreconditionError):
        list(distribute.pad_batches(uncounted, 2 * COUNT, BATCH))


def test_distribute_dataset_refuses_a_batch_size_that_replicas_do_not_divide(mirrored):
    with pytest.raises(ValueError, match=r"batch of 15 cannot be split evenly among 2 replicas; use 16"):
        distribute.distribute_dataset(mirrored, training, 15)


def test_copy_to_single_device_keeps_the_statistics_of_an_adapted_normalization():
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Normalization()])
    x = RNG.uniform(0, 255, (9, 4, 4, 3))
    model.layers[0].adapt(x)
    np.testing.assert_array_equal(distribute.copy_to_single_device(model)(x), model(x))


def test_copy_to_single_device_has_the_same_weights_and_is_not_synchronized(two, mirrored, tmp_path):
    copy = distribute.copy_to_single_device(two[0])
    copy.save(tmp_path / "model.keras")
    loaded = kcnn.load_model(tmp_path / "model.keras")
    assert not any(layer.get_config().get("synchronized") for layer in loaded.layers)
    for a, b in zip(two[0].get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with mirrored.scope(), pytest.raises(RuntimeError, match="leave the scope"):
        distribute.copy_to_single_device(two[0])


@pytest.mark.every
def test_distribute_dataset_in_mixed_precision_trains_like_one_device(mirrored):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        distribute.check_replicas(mirrored, compiled(mirrored), training, BATCH)
        (_, found), (_, wanted) = fitted(mirrored, epochs=1), fitted(distribute.make_strategy("single"), epochs=1)
    finally:
        keras.config.set_dtype_policy(before)
    assert found["loss"] == pytest.approx(wanted["loss"], rel=0.03)
    assert found["val_loss"] == pytest.approx(wanted["val_loss"], rel=0.1)


@pytest.mark.every
def test_distribute_dataset_trains_auxiliary_classifiers_like_one_device(mirrored):
    images = tf.image.resize(X, (65, 65)).numpy()
    labels = Y % 3
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(BATCH)
    part = tf.data.Dataset.from_tensor_slices((images[:COUNT], labels[:COUNT])).batch(BATCH)

    def trained(strategy):
        model = compiled(strategy, "googlenet.bn", classes=3, input_shape=(65, 65, 1), aux=True, dropout=0.0)
        checked = distribute.distribute_dataset(
            strategy, lambda shard: distribute.pad_batches(part, COUNT, BATCH, shard), BATCH
        )
        found = model.fit(batches.take(1), epochs=1, validation_data=checked, shuffle=False, verbose=0).history
        return model, found

    (model, found), (_, wanted) = trained(mirrored), trained(distribute.make_strategy("single"))
    assert "aux2_loss" in found
    same(found, wanted, 1e-3)
    logits = distribute.predict_dataset(mirrored, model, part, COUNT, BATCH)
    assert found["val_accuracy"][0] == pytest.approx(np.mean(logits.argmax(-1) == labels[:COUNT]))


def test_synchronize_batch_norm_gives_each_replica_its_own_dropout_mask(mirrored):
    def masks(strategy):
        with strategy.scope():
            model = keras.Sequential([keras.layers.Input((64,)), keras.layers.Dropout(0.5, seed=3)])
            distribute.synchronize_batch_norm(strategy, model)
        step = tf.function(lambda: strategy.run(lambda: model(tf.ones((1, 64)), training=True)))
        return [[one.numpy().tolist() for one in strategy.experimental_local_results(step())] for _ in range(2)]

    steps, alone = masks(mirrored), masks(distribute.make_strategy("single"))
    assert all(first != second for first, second in steps)
    assert steps[0][0] != steps[1][0]
    assert [first for first, _ in steps] == [first for (first,) in alone]


@pytest.mark.every
def test_distribute_dataset_trains_dropout_and_stochastic_depth(mirrored):
    _, found = fitted(mirrored, network="resnet20", classes=5, input_shape=(12, 12, 1), dropout=0.5, drop_path=0.2)
    assert np.isfinite(found["loss"]).all()


def clipping_sgd():
    return sgd(0.05, clip_global_norm=0.1, weight_decay=1e-3, ema_momentum=0.5, lr_multipliers={"stem": 0.1})


def take_steps(strategy, optimizer, gradients, steps=1):
    """The two weights, 1 before, after steps with gradients of each replica; their sum on one device."""
    with strategy.scope():
        weights = [keras.Variable(1.0), keras.Variable(1.0)]
        optimizer = optimizer()
        optimizer.build(weights)
    table = tf.constant(gradients if strategy.num_replicas_in_sync > 1 else [np.sum(gradients, 0)], "float32")

    @tf.function
    def step():
        def apply():
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            optimizer.apply(list(tf.unstack(table[number])), weights)

        strategy.run(apply)

    for _ in range(steps):
        step()
    return [weight.numpy() for weight in weights], optimizer


@pytest.mark.parametrize(
    ("clip", "step"),
    [
        ({"global_clipnorm": 1.0}, (3 / 5, 4 / 5)),
        ({"clipnorm": 0.5}, (0.5, 0.5)),
        ({"clipvalue": 3.5}, (3.0, 3.5)),
        ({"clipvalue": 3.5, "loss_scale_factor": 2.0}, (1.5, 2.0)),
        ({}, (3.0, 4.0)),
    ],
)
def test_sgd_clips_the_sum_of_all_replicas(mirrored, clip, step):
    found, _ = take_steps(mirrored, lambda: SGD(1.0, **clip), [(5.0, 0.0), (-2.0, 4.0)])
    np.testing.assert_allclose(found, np.subtract(1, step), atol=1e-6)


@pytest.mark.parametrize("optimizer", [clipping_sgd, clipping_adamw])
def test_optimizers_with_decay_averages_and_clips_take_the_steps_of_one_device(mirrored, optimizer):
    pairs = [
        take_steps(one, optimizer, [(5.0, 0.0), (-2.0, 4.0)], 3)
        for one in (mirrored, distribute.make_strategy("single"))
    ]
    (many, its), (one, theirs) = pairs
    np.testing.assert_allclose(many, one, rtol=1e-6)
    for a, b in zip(its.variables, theirs.variables, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6, err_msg=a.path)


@pytest.mark.every
@pytest.mark.parametrize("optimizer", [clipping_sgd, clipping_adamw])
def test_distribute_dataset_trains_clipped_like_one_device(mirrored, optimizer):
    def train(strategy):
        model = compiled(strategy, optimizer=optimizer)
        batches = distribute.distribute_dataset(strategy, training, BATCH)
        return model, model.fit(batches, steps_per_epoch=STEPS, epochs=2, shuffle=False, verbose=0).history["loss"]

    (one, expected), (many, got) = train(distribute.make_strategy("single")), train(mirrored)
    assert got == pytest.approx(expected, rel=1e-5)
    for a, b in zip(many.get_weights(), one.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_loss_scale_optimizer_skips_a_step_in_which_the_last_replica_overflows(mirrored):
    def scaling():
        return LossScaleOptimizer(SGD(1.0), initial_scale=4.0)

    found, optimizer = take_steps(mirrored, scaling, [(1.0, 1.0), (np.inf, 1.0)])
    assert found == [1, 1]
    assert optimizer.dynamic_scale.numpy() == 2
    found, optimizer = take_steps(mirrored, scaling, [(1.0, 0.0), (3.0, 2.0)])
    assert found == [1 - (1 + 3) / 4, 1 - (0 + 2) / 4]
    assert optimizer.dynamic_scale.numpy() == 4


# --- rounding ---


@pytest.mark.parametrize(
    ("network", "size"), [(SMALL, 12), pytest.param("googlenet.bn", 64, marks=pytest.mark.every)], ids=["small", "deep"]
)
def test_synchronized_batch_norm_differs_from_one_device_by_rounding_alone(mirrored, network, size):
    """In float64 nothing is left of what is 5% after three steps of GoogLeNet in float32."""
    rng = np.random.default_rng(0)
    images, labels = rng.uniform(0, 255, (STEPS, BATCH, size, size, 1)), rng.integers(0, 5, (STEPS, BATCH))

    def train(strategy):
        with strategy.scope():
            model = kcnn.build(network, seed=1, input_shape=(size, size, 1), top=False)
            outputs = keras.layers.GlobalAveragePooling2D()(model.output)
            outputs = keras.layers.Dense(5, kernel_initializer=keras.initializers.GlorotUniform(1))(outputs)
            model = keras.Model(model.input, outputs)  # kcnn's own logits are float32
            distribute.synchronize_batch_norm(strategy, model)
            optimizer = sgd(0.1)
            optimizer.build(model.trainable_variables)

        def step(x, y):
            with tf.GradientTape() as tape:
                targets = tf.one_hot(y, 5, dtype="float64")
                loss = -tf.reduce_sum(targets * tf.nn.log_softmax(model(x, training=True))) / BATCH
            optimizer.apply(
                tape.gradient(loss, [v.value for v in model.trainable_variables]), model.trainable_variables
            )
            return loss

        run = tf.function(lambda x, y: strategy.reduce("SUM", strategy.run(step, (x, y)), axis=None))
        batches = tf.data.Dataset.from_tensor_slices((images, labels))
        return [float(run(x, y)) for x, y in strategy.experimental_distribute_dataset(batches.unbatch().batch(BATCH))]

    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        assert train(mirrored) == pytest.approx(train(distribute.make_strategy("single")), rel=1e-10)
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])
