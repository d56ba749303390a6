"""Several devices and several processes train as one: the same losses, each sample counted once, and a clear end.

Run as a program this file is one worker of a cluster: its arguments are a job below and a folder.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import kcnn
from kcnn import distribute
from kcnn.distribute import launch
from kcnn.distribute.processes import _environments

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


SMALL = kcnn.Architecture(body=body, reference="a small residual network", input_shape=(12, 12, 1), classes=5)


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
    return distribute.padded(evaluation(), COUNT, BATCH, shard)


def compiled(strategy, network=SMALL, loss=None, **options):
    with strategy.scope():
        model = kcnn.build(network, seed=1, **options)
        distribute.synchronize(strategy, model)
        optimizer = keras.optimizers.SGD(0.02, momentum=0.9, use_ema=True, ema_momentum=0.5, weight_decay=1e-3)
        model.compile(optimizer, loss or crossentropy(), weighted_metrics=["accuracy"], jit_compile=False)
    return model


def fitted(strategy, epochs=3, callbacks=(), **options):
    """A model trained with a moving average of its weights, and its history."""
    model = compiled(strategy, **options)
    found = model.fit(
        distribute.spread(strategy, training, BATCH),
        steps_per_epoch=STEPS,
        epochs=epochs,
        validation_data=distribute.spread(strategy, evaluated, BATCH),
        callbacks=[keras.callbacks.SwapEMAWeights(), *callbacks],
        shuffle=False,
        verbose=0,
    )
    return model, found.history


def same(found, wanted, rel):
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert found[name] == pytest.approx(wanted[name], rel=rel), name


# --- one worker of a cluster ---


def job_fit(folder):
    strategy = distribute.strategy("auto")
    me, workers = distribute.place(strategy)
    distribute.preflight(strategy, compiled(strategy), training, BATCH)
    model, history = fitted(strategy)
    outputs = distribute.predict(strategy, model, evaluation(), COUNT, BATCH)
    alone = distribute.plain(model).predict(evaluation(), verbose=0)
    if distribute.is_chief(strategy):
        distribute.plain(model).save(folder / "model.keras")
    found = {
        "history": history,
        "workers": workers,
        "chief": distribute.is_chief(strategy),
        "untouched": untouched(),
        "again": distribute.strategy("multiworker") is strategy,
        "predicted": outputs.tolist(),
        "apart": float(abs(outputs - alone).max()),
        "unmended": unmended(strategy),
    }
    (folder / f"{me}.json").write_text(json.dumps(found))


def unmended(strategy):
    """What Keras says without the mend, and with either half of it."""
    found = []
    whole = type(strategy).reduce

    def batches_alone(self, reduce_op, value, axis):
        base = tf.distribute.Strategy.reduce
        return whole(self, reduce_op, value, axis) if isinstance(value, tuple) else base(self, reduce_op, value, axis)

    for reduce in (tf.distribute.Strategy.reduce, batches_alone):
        type(strategy).reduce = reduce
        try:
            fitted(strategy, epochs=1)
            found.append("trains")
        except (ValueError, TypeError) as error:
            found.append(f"{type(error).__name__}: {error}"[:300])
    type(strategy).reduce = whole
    return found


def job_killed(folder):
    strategy = distribute.strategy("auto")
    me, _ = distribute.place(strategy)

    class Kill(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if me == 1 and batch == 1 and self.epoch == 2 and not (folder / "killed").exists():
                (folder / "killed").write_text(str(time.time()))
                os.kill(os.getpid(), signal.SIGKILL)

        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch
            with (folder / f"epochs{me}").open("a") as file:
                file.write(f"{epoch}\n")

    backup = keras.callbacks.BackupAndRestore(folder / f"backup{me}")
    with distribute.together(strategy):
        model, _ = fitted(strategy, epochs=4, callbacks=[backup, Kill()])
    np.savez(folder / f"{me}.npz", *model.get_weights())


def command(job, folder):
    return [sys.executable, __file__, job, str(folder)]


def quiet(monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


# --- which strategy ---


@pytest.fixture(scope="module")
def mirrored():
    return distribute.strategy("mirrored", ["CPU:0", "CPU:1"])


def test_a_word_that_is_no_strategy_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match="auto, single, mirrored, multiworker, not 'horovod'"):
        distribute.strategy("horovod")


def test_single_and_auto_on_one_device_are_tf_distributes_default(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for kind in ("single", "auto"):
        found = distribute.strategy(kind)
        assert found.num_replicas_in_sync == 1
        assert distribute.place(found) == (0, 1)
        with found.scope():
            pass


def test_mirrored_is_one_strategy_in_a_process_and_wants_two_devices(mirrored):
    assert distribute.strategy("mirrored", ["CPU:0", "CPU:1"]) is mirrored
    assert mirrored.num_replicas_in_sync == 2
    assert distribute.is_chief(mirrored)
    with pytest.raises(ValueError, match="two devices or more, and here is only CPU:0"):
        distribute.strategy("mirrored", ["CPU:0"])
    with pytest.raises(ValueError, match="each device once"):
        distribute.strategy("mirrored", ["CPU:0", "CPU:0"])
    with pytest.raises(ValueError, match="other devices"):
        distribute.strategy("mirrored", ["CPU:1", "CPU:0"])
    with pytest.raises(ValueError, match="devices are chosen"):
        distribute.strategy("auto", ["CPU:0", "CPU:1"])


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there are GPUs here")
def test_mirrored_without_gpus_says_so():
    with pytest.raises(ValueError, match="here is no GPU"):
        distribute.strategy("mirrored")


def test_multiworker_without_a_cluster_says_how_to_get_one(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match="kcnn launch --workers 2"):
        distribute.strategy("multiworker")


def test_a_cluster_joined_too_late_says_when_to_ask(monkeypatch):
    tf.zeros(1)  # TensorFlow is at work
    config = _environments(2)[0]["TF_CONFIG"]
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(RuntimeError, match="before anything makes a tensor"):
        distribute.strategy("auto")


def test_another_backend_is_told_that_tf_distribute_is_tensorflows(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match=r"TensorFlow's alone, and Keras runs on jax"):
        distribute.strategy("single")


# --- what several replicas compute ---


@pytest.fixture(scope="module")
def two(mirrored):
    return fitted(mirrored)


def test_two_replicas_train_as_one_device_with_batch_norm_averages_and_a_partial_last_batch(two):
    """Loss, accuracy, validation with the averaged weights, over nine steps."""
    _, wanted = fitted(distribute.strategy("single"))
    same(two[1], wanted, 1e-3)


def test_every_row_is_predicted_once_in_its_order(two, mirrored):
    wanted = distribute.plain(two[0]).predict(evaluation(), verbose=0)
    assert len(wanted) == COUNT
    found = distribute.predict(mirrored, two[0], evaluation(), COUNT, BATCH)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    with pytest.raises(ValueError, match="more than the 36 samples"):
        distribute.predict(mirrored, two[0], evaluation(), COUNT - 1, BATCH)
    with pytest.raises(ValueError, match="37 of 38 samples came"):
        distribute.predict(mirrored, two[0], evaluation(), COUNT + 1, BATCH)


def test_evaluation_counts_every_sample_once(two, mirrored):
    found = two[0].evaluate(distribute.spread(mirrored, evaluated, BATCH), return_dict=True, verbose=0)
    logits = distribute.plain(two[0]).predict(evaluation(), verbose=0)
    assert found["accuracy"] == pytest.approx(np.mean(logits.argmax(-1) == Y[:COUNT]))
    assert found["loss"] == pytest.approx(float(crossentropy()(Y[:COUNT], logits)), rel=1e-5)


def untouched():
    """Whether Keras' two functions, and tf.distribute's, are those of their own files."""
    import keras.src.backend.tensorflow.trainer as trainer

    own = (trainer.reduce_per_replica, trainer.TensorFlowTrainer._maybe_symbolic_build)
    return all(one.__code__.co_filename == trainer.__file__ for one in own)


def test_keras_is_left_as_it_was_and_so_is_the_mirrored_strategy(two, mirrored):
    assert untouched()
    assert type(mirrored) is tf.distribute.MirroredStrategy
    assert type(mirrored).reduce is tf.distribute.Strategy.reduce


def test_padding_weighs_nothing_and_the_rest_one_on_average():
    batches = list(evaluated((0, 1)).as_numpy_iterator())
    assert [len(w) for *_, w in batches] == [BATCH] * 3
    weights = np.concatenate([w for *_, w in batches])
    assert weights.mean() == pytest.approx(1)
    assert (weights[COUNT:] == 0).all()
    np.testing.assert_array_equal(np.concatenate([x for x, *_ in batches])[:COUNT], X[:COUNT])
    slices = [np.concatenate([w for *_, w in evaluated((i, 4)).as_numpy_iterator()]) for i in range(4)]
    assert sum(s.sum() for s in slices) == pytest.approx(weights.sum())
    with pytest.raises(tf.errors.FailedPreconditionError):
        list(distribute.padded(evaluation(), 2 * COUNT, BATCH))


def test_a_batch_that_the_replicas_do_not_divide_is_refused_with_one_they_do(mirrored):
    with pytest.raises(ValueError, match=r"batch of 15 cannot be split evenly among 2 replicas; take 16"):
        distribute.spread(mirrored, training, 15)


def test_a_plain_copy_computes_the_same_and_is_not_synchronised(two, mirrored, tmp_path):
    copy = distribute.plain(two[0])
    copy.save(tmp_path / "model.keras")
    loaded = kcnn.load(tmp_path / "model.keras")
    assert not any(layer.get_config().get("synchronized") for layer in loaded.layers)
    for a, b in zip(two[0].get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with mirrored.scope(), pytest.raises(RuntimeError, match="leave the scope"):
        distribute.plain(two[0])


def test_mixed_precision_trains_as_one_device(mirrored):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        distribute.preflight(mirrored, compiled(mirrored), training, BATCH)
        (_, found), (_, wanted) = fitted(mirrored, epochs=1), fitted(distribute.strategy("single"), epochs=1)
    finally:
        keras.config.set_dtype_policy(before)
    assert found["loss"] == pytest.approx(wanted["loss"], rel=0.03)
    assert found["val_loss"] == pytest.approx(wanted["val_loss"], rel=0.1)


@pytest.mark.every
def test_auxiliary_classifiers_train_as_on_one_device_and_are_left_out_of_evaluation(mirrored):
    images = tf.image.resize(X, (65, 65)).numpy()
    labels = Y % 3
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(BATCH)
    part = tf.data.Dataset.from_tensor_slices((images[:COUNT], labels[:COUNT])).batch(BATCH)

    def trained(strategy):
        model = compiled(strategy, "googlenet.bn", classes=3, input_shape=(65, 65, 1), aux=True, dropout=0.0)
        checked = distribute.spread(strategy, lambda shard: distribute.padded(part, COUNT, BATCH, shard), BATCH)
        found = model.fit(batches.take(1), epochs=1, validation_data=checked, shuffle=False, verbose=0).history
        return model, found

    (model, found), (_, wanted) = trained(mirrored), trained(distribute.strategy("single"))
    assert "aux2_loss" in found
    same(found, wanted, 1e-3)
    logits = distribute.predict(mirrored, model, part, COUNT, BATCH)
    assert found["val_accuracy"][0] == pytest.approx(np.mean(logits.argmax(-1) == labels[:COUNT]))


@pytest.mark.every
def test_dropout_and_stochastic_depth_run_on_two_replicas(mirrored):
    _, found = fitted(mirrored, network="resnet20", classes=5, input_shape=(12, 12, 1), dropout=0.5, drop_path=0.2)
    assert np.isfinite(found["loss"]).all()


# --- the check before the start ---


def test_the_check_passes_what_is_right(mirrored):
    distribute.preflight(mirrored, compiled(mirrored), training, BATCH)
    distribute.preflight(distribute.strategy("single"), None, None, BATCH)


@keras.saving.register_keras_serializable("test")
class NotAveraged(keras.losses.Loss):
    """A mean over the replica's own samples, which nobody divides by the number of replicas."""

    def __call__(self, y_true, y_pred, sample_weight=None):
        return tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True))


def test_the_check_refuses_a_loss_that_is_summed_over_replicas_with_both_numbers(mirrored):
    with pytest.raises(RuntimeError, match="do not agree") as caught:
        distribute.preflight(mirrored, compiled(mirrored, loss=NotAveraged()), training, BATCH)
    one, many = map(float, re.search(r"its loss is (\S+), theirs (\S+);", str(caught.value)).groups())
    assert many == pytest.approx(2 * one, rel=1e-3)


def test_the_check_refuses_replicas_whose_weights_differ(mirrored):
    model = compiled(mirrored)
    kernel = model.trainable_variables[0].value
    mirrored.experimental_local_results(kernel)[1].assign(tf.zeros_like(kernel))
    with pytest.raises(RuntimeError, match="do not agree"):
        distribute.preflight(mirrored, model, training, BATCH)


def test_the_check_refuses_batch_norms_that_are_not_synchronised(mirrored):
    model = compiled(mirrored)
    model.get_layer("stem_bn").synchronized = False
    with pytest.raises(RuntimeError, match="1 batch normalisations, such as stem_bn"):
        distribute.preflight(mirrored, model, training, BATCH)


# --- several processes ---


@pytest.fixture(scope="module")
def cluster_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    with pytest.MonkeyPatch.context() as patch:
        quiet(patch)
        assert launch(2, command("job_fit", folder)) == 0
    return folder, [json.loads((folder / f"{n}.json").read_text()) for n in range(2)]


@pytest.mark.every
def test_two_processes_train_as_two_replicas_of_one(cluster_run, two, mirrored):
    folder, found = cluster_run
    for one in found:
        assert one["workers"] == 2
        assert one["again"]
        assert one["untouched"]
        same(one["history"], two[1], 1e-4)
        assert one["apart"] < 1e-5
    assert [one["chief"] for one in found] == [True, False]
    assert found[0]["predicted"] == found[1]["predicted"]
    np.testing.assert_allclose(
        found[0]["predicted"], distribute.predict(mirrored, two[0], evaluation(), COUNT, BATCH), atol=1e-3
    )
    assert kcnn.load(folder / "model.keras").count_params() == two[0].count_params()  # written by the chief alone


@pytest.mark.every
def test_keras_still_needs_the_mend(cluster_run):
    """Where this fails, Keras trains on several workers by itself: delete kcnn/distribute/multiworker.py."""
    for one in cluster_run[1]:
        batch, scalar = one["unmended"]
        assert "PerReplica" in batch
        assert "Invalid reduction dimension 0 for input with 0 dimensions" in scalar


@pytest.mark.every
def test_where_a_worker_is_killed_the_other_stops_and_the_same_command_goes_on(tmp_path, mirrored, monkeypatch):
    quiet(monkeypatch)
    crew = [
        subprocess.Popen(command("job_killed", tmp_path), env=environment, stderr=subprocess.PIPE, text=True)
        for environment in _environments(2)
    ]
    try:
        _, said = crew[0].communicate(timeout=180)
        waited = time.time() - float((tmp_path / "killed").read_text())
        assert crew[1].wait(10) == -signal.SIGKILL
    finally:
        for process in crew:
            process.kill()
            process.wait()
    assert crew[0].returncode == 1
    assert waited < 60
    assert "RuntimeError: worker 0 of 2 stops: worker 1 is gone" in said
    assert launch(2, command("job_killed", tmp_path)) == 0
    for n in range(2):
        assert (tmp_path / f"epochs{n}").read_text().split() == ["0", "1", "2", "2", "3"]
    model, _ = fitted(mirrored, epochs=4)
    for n in range(2):
        found = np.load(tmp_path / f"{n}.npz")
        for wanted, name in zip(model.get_weights(), found.files, strict=True):
            np.testing.assert_allclose(found[name], wanted, rtol=1e-3, atol=1e-3)


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
