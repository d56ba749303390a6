"""Batches as training gets them: order, slices and augmentation, with TensorFlow and without."""

import itertools
import json
import subprocess
import sys
import threading

import numpy as np
import pytest

from kcnn import data
from kcnn.augment import Augmentation
from kcnn.data import dataset
from kcnn.parallel import count_cores
from tests import hidden

STRONG = Augmentation(flip=True, crop=2, erase=0.5, mixup=0.2)


@pytest.fixture(scope="module")
def numbered():
    """100 images, each of a value of its own, of which 70 are trained on, in batches of 16."""
    x = np.arange(100, dtype="uint8").repeat(36).reshape(100, 6, 6, 1)
    return data.load((x, np.arange(100) % 2), input_shape=(6, 6, 1), batch_size=16, seed=5)


def values(batches):
    """The first pixel of every image, by batch."""
    return [np.asarray(x)[:, 0, 0, 0].astype(int).tolist() for x, _ in batches]


def flat(batches):
    return list(itertools.chain.from_iterable(batches))


def test_epochs_have_only_complete_batches_and_no_image_twice(numbered):
    assert numbered.steps == 4
    epoch = values(numbered.epochs(3, 4))
    assert [len(batch) for batch in epoch] == [16] * 4
    assert len(set(flat(epoch))) == 64
    assert len(set(flat(values(numbered.epochs(0, 10))))) == 70  # what one epoch leaves out, another has


def test_make_dataset_disables_autotuning_so_that_its_end_waits_for_no_thread(numbered):
    for served in (numbered.train, numbered.epochs(0, 2), numbered.epochs(0, 2, STRONG), numbered.test):
        assert served.options().autotune.enabled is False


def test_epochs_of_a_split_smaller_than_a_batch_have_one_batch():
    found = data.load((np.zeros((20, 4, 4), "uint8"), np.arange(20) % 2), input_shape=(4, 4, 1), batch_size=64)
    assert found.steps == 1
    assert [len(y) for _, y in found.epochs(0, 2)] == [14, 14]


@pytest.mark.parametrize("shards", [2, 4])
def test_epochs_shards_partition_every_batch(shards, numbered):
    whole = values(numbered.epochs(0, 2))
    slices = [values(numbered.epochs(0, 2, shard=(i, shards))) for i in range(shards)]
    assert [flat(parts) for parts in zip(*slices, strict=True)] == whole


def test_epochs_shard_decodes_no_image_of_the_others(numbered, monkeypatch):
    read = []
    monkeypatch.setattr(
        dataset.Split, "read_batch", lambda self, positions: read.append(len(positions)) or decodable(self, positions)
    )
    decodable = dataset.Split.read_decodable
    list(numbered.epochs(0, 1, shard=(1, 4)))
    assert read == [4] * 4


@pytest.mark.parametrize("shard", [(0, 3), (2, 2), (-1, 2)])
def test_epochs_refuses_shards_that_are_not_equal_or_out_of_range(shard, numbered):
    with pytest.raises(ValueError, match=f"slice {shard[0]} of {shard[1]} of a batch of 16"):
        numbered.epochs(0, 1, shard=shard)


def pairs(batches):
    return [(x.numpy(), y.numpy()) for x, y in batches]


def equal(a, b):
    return len(a) == len(b) and all((x == u).all() and (y == v).all() for (x, y), (u, v) in zip(a, b, strict=True))


def test_epochs_augmentation_follows_from_seed_and_epoch(numbered):
    whole, late = pairs(numbered.epochs(0, 3, STRONG)), pairs(numbered.epochs(2, 3, STRONG))
    assert whole[0][0].shape == (16, 6, 6, 1)
    assert whole[0][1].shape == (16, 2)
    assert equal(whole[8:], late)
    other = data.load("digits", input_shape=(8, 8, 1), seed=1), data.load("digits", input_shape=(8, 8, 1), seed=2)
    assert not equal(*(pairs(one.epochs(0, 1, STRONG).take(2)) for one in other))


def test_augmentation_seed_differs_by_epoch_batch_and_shard(numbered):
    def seeds(shard):
        batches = dataset.TrainingBatches(numbered.splits["train"], 5, (0, 3), 4, 16, shard)
        return [tuple(batches.augmentation_seed(n).tolist()) for n in range(len(batches))]

    drawn = seeds((0, 2)) + seeds((1, 2))
    assert len(set(drawn)) == 24
    later = dataset.TrainingBatches(numbered.splits["train"], 5, (2, 3), 4, 16, (1, 2))
    assert [tuple(later.augmentation_seed(n).tolist()) for n in range(4)] == drawn[20:]


def test_epochs_augment_an_image_differently_in_each_epoch():
    x = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 1), "uint8").repeat(40, 0)
    found = data.load((x, np.arange(40) % 2), input_shape=(8, 8, 1), batch_size=14)
    first, second = (pairs(found.epochs(e, e + 1, Augmentation(crop=3))) for e in (0, 1))
    assert not equal(first, second)


def test_epochs_with_an_empty_augmentation_change_nothing(numbered):
    assert equal(pairs(numbered.epochs(0, 1, Augmentation())), pairs(numbered.epochs(0, 1)))


def test_epochs_crop_from_larger_images():
    x = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), "uint8")
    found = data.load((x, np.arange(40) % 2), input_shape=(8, 8, 3), resize_factor=2.0, batch_size=4)
    assert found.splits["train"].cache.kept == 40  # as they came: nothing is copied
    pixels, _ = next(iter(found.epochs(0, 1, Augmentation(resized_crop=(0.25, 0.25)))))
    assert pixels.shape == (4, 8, 8, 3)


DETERMINISM = """
import threading
import tensorflow as tf
tf.random.set_seed(0)
tf.config.experimental.enable_op_determinism()
import numpy as np
from kcnn import data
from kcnn.augment import Augmentation
from kcnn.data.splits import Split

both, read_batch = threading.Barrier(2, timeout=60), Split.read_batch
calls = iter(range(1000))


def meet(self, positions):  # the first two calls wait for each other: one after the other, they would wait in vain
    if next(calls) < 2:
        both.wait()
    return read_batch(self, positions)


Split.read_batch = meet
x = np.zeros((64, 4, 4), "uint8")
found = data.load((x, np.arange(64) % 2), input_shape=(4, 4, 1), batch_size=4)
assert len(list(found.epochs(0, 1, Augmentation(flip=True)))) == found.steps
"""


@pytest.mark.skipif(count_cores() < 2, reason="a machine with one core does not read in parallel")
def test_make_dataset_reads_in_parallel_under_tensorflows_determinism(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", DETERMINISM], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]


WITHOUT = """
import json, sys
import numpy as np
from kcnn import data
from kcnn.augment import Augmentation

x = np.arange(100, dtype="uint8").repeat(36).reshape(100, 6, 6, 1)
found = data.load((x, np.arange(100) % 2), input_shape=(6, 6, 1), batch_size=16, seed=5)
assert "keras" not in sys.modules
order = [np.asarray(p)[:, 0, 0, 0].astype(int).tolist() for p, _ in found.epochs(1, 3, Augmentation())]
order += [np.asarray(p)[:, 0, 0, 0].astype(int).tolist() for p, _ in found.validation]
strong = Augmentation(flip=True, crop=2, erase=0.5, mixup=0.2)
augmented = [np.asarray(one).ravel().tolist() for pair in found.epochs(1, 2, strong) for one in pair]
folder = data.load(sys.argv[1], input_shape=(8, 8, 3), batch_size=4)
assert [(p.shape, p.dtype.name, len(y)) for p, y in folder.test] == [((4, 8, 8, 3), "float32", 4)]

import keras
assert keras.backend.backend() == "jax"
digits = data.load("digits", input_shape=(8, 8, 1))
layers = keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(10)
model = keras.Sequential(layers)
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
seen = []
get = type(digits.train).__getitem__
type(digits.train).__getitem__ = lambda self, n: seen.append((len(self), n)) or get(self, n)
history = model.fit(
    digits.epochs(1, 4), steps_per_epoch=digits.steps, initial_epoch=1, epochs=4, shuffle=False, verbose=0,
    validation_data=digits.validation, validation_steps=-(-len(digits.splits["validation"]) // 32),
).history
trained = [n for length, n in seen if length == 3 * digits.steps]
assert trained == [0, *range(3 * digits.steps)], seen  # Keras looks at the first for its shape
assert len(history["val_accuracy"]) == 3
assert history["loss"][2] < history["loss"][0]
assert model.predict(digits.test, verbose=0).shape == (359, 10)
assert "tensorflow" not in sys.modules
print(json.dumps([order, augmented]))
"""


def test_prefetch_gives_keras_the_same_batches_without_tensorflow(numbered, tmp_path):
    from PIL import Image

    for word in ("a", "b"):
        (tmp_path / "photos" / word).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (9, 9), (i, 0, 0)).save(tmp_path / "photos" / word / f"{i}.png")
    order, augmented = json.loads(hidden.run(WITHOUT, str(tmp_path / "photos"), backend="jax", cwd=tmp_path))
    assert order == values(numbered.epochs(1, 3)) + values(numbered.validation)
    assert augmented == [np.ravel(one).tolist() for pair in pairs(numbered.epochs(1, 2, STRONG)) for one in pair]


def test_load_imports_neither_tensorflow_nor_keras():
    code = (
        "import sys; from kcnn import data; data.load('digits', input_shape=(8, 8, 1));"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_prefetch_reads_batches_ahead():
    from kcnn.data.python_pipeline import AHEAD, Prefetch

    read, enough = [], threading.Event()

    class Slow:
        def __len__(self):
            return 5

        def __getitem__(self, number):
            read.append(number)
            if number == AHEAD:
                enough.set()
            return np.zeros((1, 2, 2, 1), "uint8"), np.zeros(1, "int64")

    batches = Prefetch(Slow())
    batches[0]
    assert enough.wait(60)
    assert [len(y) for _, y in batches] == [1] * 5
    assert sorted(set(read)) == [0, 1, 2, 3, 4]
    with pytest.raises(IndexError, match="batch 5 of 5"):
        batches[5]


def test_prefetch_reads_each_batch_about_once_in_another_order():
    """Keras' fit shuffles batches by default: what was read ahead was dropped, and each was read three times."""
    from kcnn.data.python_pipeline import Prefetch

    read = []

    class Batches:
        def __len__(self):
            return 20

        def __getitem__(self, number):
            read.append(number)
            return np.full((1, 2, 2, 1), number, "uint8"), np.zeros(1, "int64")

    batches = Prefetch(Batches())
    order = [*range(19, 0, -2), *range(18, -1, -2)]
    assert [int(batches[number][0].max()) for number in order] == order
    batches._threads.shutdown()
    assert sorted(read) == sorted([*range(20), 1, 2])  # after batch 0 the next two are read ahead
