"""Image data from names, folders and arrays: splits, decoding, resizing, and messages about what is wrong."""

import sys
import tracemalloc
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kcnn import data
from kcnn.augment import Augmentation
from kcnn.buffer_pool import allocate
from kcnn.data.dataset import EvaluationBatches
from kcnn.data.decoding import ImageDecodeError, decode
from kcnn.data.image_cache import ImageCache
from kcnn.data.splits import Split
from tests.runs.photos import save_image, sizes

LOADING, READERS = sys.modules["kcnn.data.loading"], sys.modules["kcnn.data.readers"]
SHARED = Path(__file__).parents[3] / "shared"


def test_load_splits_digits_by_class_with_pixels_of_0_to_255():
    found = data.load("digits", input_shape=(16, 16, 1))
    assert sizes(found) == {"train": 1258, "validation": 180, "test": 359}
    assert found.classes == tuple("0123456789")
    for split in found.splits.values():
        shares = np.bincount(split.labels) / len(split)
        assert abs(shares - 0.1).max() < 0.01
    pixels, labels = next(iter(found.train))
    assert pixels.shape == (32, 16, 16, 1)
    assert pixels.dtype == "float32"
    assert 200 < pixels.numpy().max() <= 255
    assert labels.dtype == "int64"


def test_load_seed_fixes_split_and_order_and_epochs_differ():
    def order(seed, first):
        found = data.load("digits", input_shape=(8, 8, 1), seed=seed)
        return np.concatenate([y.numpy() for _, y in found.epochs(first, first + 1)])

    assert (order(1, 0) == order(1, 0)).all()
    assert not (order(1, 0) == order(1, 1)).all()
    assert not (order(1, 0) == order(2, 0)).all()


def test_subset_is_stratified_and_keeps_the_other_splits():
    whole = data.load("digits", input_shape=(8, 8, 1))
    some = whole.subset(train=100, validation=10_000)
    assert {word: len(split) for word, split in some.splits.items()} == {
        word: 100 if word == "train" else len(split) for word, split in whole.splits.items()
    }
    shares = np.bincount(whole.splits["train"].labels) / len(whole.splits["train"])
    assert np.abs(np.bincount(some.splits["train"].labels) - 100 * shares).max() <= 1
    with pytest.raises(LookupError, match="digits: unknown split 'validation'; choose from train, test"):
        whole.train_and_validation.subset(validation=5)


def test_epochs_are_the_same_whether_or_not_earlier_ones_were_read():
    found = data.load("digits", input_shape=(8, 8, 1))
    whole = [y.numpy() for _, y in found.epochs(0, 3)]
    late = [y.numpy() for _, y in found.epochs(2, 3)]
    assert all((a == b).all() for a, b in zip(whole[2 * found.steps :], late, strict=True))


def test_load_reads_class_folders_in_every_format(photos):
    found = data.load(photos, input_shape=(12, 16, 3))
    assert found.classes == ("blue", "red")
    assert sizes(found) == {"train": 14, "test": 4, "validation": 2}
    for pixels, labels in found.test:
        assert ((pixels.numpy()[:, 6, 8, 0] > 150) == (labels.numpy() == 1)).all()


def served(batches):
    """Pixels and labels of all batches."""
    pixels, labels = zip(*((x.numpy(), y.numpy()) for x, y in batches), strict=True)
    return np.concatenate(pixels), np.concatenate(labels)


@pytest.mark.parametrize(("share", "keep"), [(0.25, "decoded"), ("files", "encoded"), (0.0, "nothing")])
def test_load_gives_the_same_batches_with_any_memory(share, keep, photos, monkeypatch):
    expected = served(data.load(photos, input_shape=(12, 16, 3), batch_size=7).epochs(0, 2))
    if share == "files":  # room for them, and not for what they decode to
        files = sum(path.stat().st_size for path in photos.rglob("*.*"))
        share = (files + 20 * 120 * 160 * 3) / 2 / psutil.virtual_memory().available
        big = data.load(photos, input_shape=(120, 160, 3), batch_size=7)
        monkeypatch.setattr(LOADING, "MEMORY_SHARE", share)
        found = data.load(photos, input_shape=(120, 160, 3), batch_size=7)
        expected = served(big.epochs(0, 2))
    else:
        monkeypatch.setattr(LOADING, "MEMORY_SHARE", share)
        found = data.load(photos, input_shape=(12, 16, 3), batch_size=7)
    store = found.splits["train"].cache
    assert (store.keep_in_memory, store.kept) == (keep, 20 if keep == "decoded" else 0)
    for _ in range(2):
        for a, b in zip(served(found.epochs(0, 2)), expected, strict=True):
            assert (a == b).all()


@pytest.fixture
def late(photos, monkeypatch):
    """The photos as if they were too many to be decoded ahead, and the files that have been decoded."""
    monkeypatch.setattr(LOADING, "AHEAD", 19)
    decoded = []
    monkeypatch.setattr(READERS, "decode", lambda one, shape: decoded.append(one) or decode(one, shape))
    return photos, decoded


def test_image_cache_decodes_many_images_when_they_are_needed_and_once(late):
    photos, decoded = late
    found = data.load(photos, input_shape=(8, 8, 3), batch_size=2)
    assert not decoded
    first = served(found.epochs(0, 1))
    assert sorted(decoded) == sorted(found.splits["train"].names)
    again = served(found.epochs(0, 1))
    assert len(decoded) == 14
    assert all((a == b).all() for a, b in zip(first, again, strict=True))


def test_read_batch_replaces_a_broken_image_by_the_next(late):
    photos, _ = late
    whole = data.load(photos, input_shape=(8, 8, 3), batch_size=7)
    train = whole.splits["train"]
    Path(train.names[3]).write_text("broken")
    Path(train.names[4]).write_bytes(Path(train.names[4]).read_bytes()[:30])
    found = data.load(photos, input_shape=(8, 8, 3), batch_size=7)
    assert found.skipped == []
    pixels, labels = found.splits["train"].read_batch(np.arange(7))
    assert (labels == train.labels[[0, 1, 2, 5, 5, 5, 6]]).all()
    assert (pixels[3] == pixels[5]).all()
    first = served(found.epochs(0, 3))
    assert first[0].shape == (42, 8, 8, 3)
    assert (first[0].max(axis=(1, 2, 3)) > 150).all()
    resumed = served(data.load(photos, input_shape=(8, 8, 3), batch_size=7).epochs(2, 3))
    assert all((a[28:] == b).all() for a, b in zip(first, resumed, strict=True))
    assert sorted(one.file for one in found.skipped) == sorted(train.names[3:5])


@pytest.mark.parametrize("size", [1, 3, 32])
def test_evaluation_batches_leave_out_a_broken_image_and_its_label(size, late, caplog):
    photos, _ = late
    whole = data.load(photos, input_shape=(8, 8, 3), batch_size=size)
    (pixels, labels), names = served(whole.test), whole.splits["test"].names
    Path(names[1]).write_text("broken")
    found = data.load(photos, input_shape=(8, 8, 3), batch_size=size)
    for _ in range(2):
        got = served(found.test)
        assert (got[0] == pixels[[0, 2, 3]]).all()
        assert (got[1] == labels[[0, 2, 3]]).all()
    assert [one.file for one in found.skipped] == [names[1]]
    assert names[1] in caplog.text


@pytest.mark.filterwarnings("error")
def test_evaluation_batches_with_broken_images_make_keras_warn_of_nothing(late):
    """Keras warns of nothing: the number of batches is known beforehand."""
    import keras

    photos, _ = late
    for path in sorted((photos / "red").iterdir())[:8]:
        path.write_bytes(b"broken")
    found = data.load(photos, input_shape=(8, 8, 3), batch_size=1)
    assert found.test.cardinality() == len([labels for _, labels in found.test]) < len(found.splits["test"])
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert np.isfinite(model.evaluate(found.test, verbose=0))


def test_evaluation_batches_are_counted_in_the_memory_of_a_few_images(tmp_path):
    save_image(tmp_path / "x.png", "red", (8, 8))
    files = [tmp_path / "x.png"] * 1500
    split = Split(ImageCache(files, files, (64, 64, 3), "nothing", []), np.arange(1500), np.zeros(1500, "int64"))
    tracemalloc.start()
    try:
        assert len(EvaluationBatches(split, 1)) == 1500
        assert tracemalloc.get_traced_memory()[1] < 300 * 64 * 64 * 3
    finally:
        tracemalloc.stop()


def test_evaluation_batches_are_counted_once(late, monkeypatch):
    photos, decoded = late
    monkeypatch.setattr(LOADING, "MEMORY_SHARE", 0)
    found = data.load(photos, input_shape=(8, 8, 3), batch_size=2)
    Path(found.splits["test"].names[2]).write_text("broken")
    first = served(found.test)
    found.test.cardinality()
    assert len(decoded) == 3 + 3  # the first of each batch and the one after the broken one; then all but that
    decoded.clear()
    assert all((a == b).all() for a, b in zip(served(found.test), first, strict=True))
    assert len(decoded) == 3


def test_read_batch_fails_if_no_image_can_be_decoded(late):
    photos, _ = late
    for path in photos.rglob("*.*"):
        path.write_text("broken")
    found = data.load(photos, input_shape=(8, 8, 3))
    with pytest.raises(ImageDecodeError, match="cannot decode any of 14 images"):
        found.splits["train"].read_batch(np.arange(2))


def test_load_names_a_class_without_files_in_large_data_too(late):
    photos, _ = late
    (photos / "green").mkdir()
    with pytest.raises(ValueError, match="class 'green' has no images; images by class: blue 10, green 0, red 10"):
        data.load(photos, input_shape=(8, 8, 3))


@pytest.mark.parametrize("ahead", [5000, 0])
def test_load_resize_factor_keeps_training_images_whole_and_epochs_crop_and_resize_them(ahead, photos, monkeypatch):
    monkeypatch.setattr(LOADING, "AHEAD", ahead)
    found = data.load(photos, input_shape=(6, 9, 3), resize_factor=4 / 3)
    plain = data.load(photos, input_shape=(6, 9, 3))
    images, _ = found.splits["train"].read_batch(np.arange(14))
    rows, columns = np.array([image.shape[:2] for image in images]).T
    assert (np.minimum(rows / 8, columns / 12) >= 1).all()  # 4/3 of the input along each side
    assert len(set(zip(rows, columns, strict=True))) > 5  # of 30x20 to 39x20 and upright
    for word in ("validation", "test"):
        assert found.splits[word].names == plain.splits[word].names
        for a, b in zip(served(getattr(found, word)), served(getattr(plain, word)), strict=True):
            assert (a == b).all()
    (a, y), (b, z) = served(found.epochs(0, 1)), served(plain.epochs(0, 1))
    assert (y == z).all()
    assert np.abs(a - b).max() < 3  # of one colour each: what the files of lossy formats leave


@pytest.mark.parametrize(("limit", "form"), [(24_000, "encoded"), (0, "nothing")])
def test_load_serves_the_same_crops_of_whole_photos_whatever_fits_in_memory(limit, form, photos, monkeypatch):
    def crops():
        found = data.load(photos, input_shape=(6, 9, 3), resize_factor=2.0)
        kept = found.splits["train"].cache.keep_in_memory
        return kept, served(found.epochs(0, 2, Augmentation(flip=True, resized_crop=(0.25, 1.0))))

    decoded, expected = crops()
    monkeypatch.setattr(LOADING, "MEMORY_SHARE", limit / psutil.virtual_memory().available)
    kept, got = crops()
    assert (decoded, kept) == ("decoded", form)
    assert all((a == b).all() for a, b in zip(expected, got, strict=True))


def test_load_crops_reach_both_ends_of_a_long_photo(tmp_path):
    photo = np.full((40, 80, 3), 128, "uint8")
    photo[:, :8], photo[:, -8:] = (255, 0, 0), (0, 0, 255)
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for i in range(8):
            Image.fromarray(np.roll(photo, i, axis=2)).save(tmp_path / label / f"{i}.png")
    found = data.load(tmp_path, input_shape=(16, 16, 3), batch_size=8, resize_factor=2.0)
    pixels, _ = served(found.epochs(0, 20, Augmentation(resized_crop=(0.3, 0.5))))
    first, last = (pixels[:, 8, column].max(axis=1) > 200 for column in (0, -1))
    assert first.mean() > 0.05
    assert last.mean() > 0.05


def test_load_whole_photos_are_cropped_centrally_where_the_augmentation_crops_none():
    photo = np.zeros((60, 120, 3), "uint8")
    photo[:, 30:90] = 200
    x, y = np.stack([photo] * 20), np.arange(20) % 2
    found = data.load((x, y), input_shape=(24, 24, 3), batch_size=4, resize_factor=2.0)
    pixels, _ = served(found.epochs(0, 1, Augmentation(flip=True)))
    assert (pixels == 200).all()


def test_load_takes_arrays():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (60, 9, 9, 3), "uint8"), np.arange(60) % 3
    found = data.load((x, y), input_shape=(12, 12, 1), classes=("a", "b", "c"))
    assert (found.classes, sizes(found)) == (("a", "b", "c"), {"train": 42, "validation": 6, "test": 12})
    own = data.load({"train": (x, y), "test": (x[:9], y[:9])}, input_shape=(9, 9, 3))
    assert sizes(own) == {"train": 54, "validation": 6, "test": 9}
    assert len(own.duplicates) == 9


def test_load_takes_a_black_image_among_float_arrays():
    x = np.random.default_rng(0).uniform(0, 255, (60, 9, 9, 1))
    x[7] = 0
    found = data.load((x, np.arange(60) % 3), input_shape=(9, 9, 1))
    assert sum(sizes(found).values()) == 60


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ((np.zeros((4, 8, 8)), np.zeros(3, int)), "one integer per image"),
        ((np.zeros((4, 8, 8)), np.zeros(4)), "one integer per image"),
        ((np.zeros((4, 8, 8)), np.array([0, 1, -1, 0])), "labels count from 0"),
        ((np.full((4, 8, 8), 300.0), np.array([0, 1, 1, 0])), "pixels are 0..255"),
        ((np.full((4, 8, 8), 0.5), np.array([0, 1, 1, 0])), "multiply by 255"),
        ({"training set": (np.zeros((4, 8, 8)), np.zeros(4, int))}, "unknown split 'training set'"),
        ("tfds:no_such_set_of_data", "no dataset"),
    ],
)
def test_load_refuses_invalid_data_with_the_reason(source, says):
    with pytest.raises(ValueError, match=says):
        data.load(source, input_shape=(8, 8, 1))


def test_load_refuses_invalid_arguments(tmp_path):
    with pytest.raises(ValueError, match=r"resize_factor must be at least 1, got 0\.5"):
        data.load("digits", input_shape=(8, 8, 1), resize_factor=0.5)
    with pytest.raises(FileNotFoundError, match="folder not found"):
        data.load(tmp_path / "nowhere", input_shape=(8, 8, 1))
    with pytest.raises(ValueError, match="gray"):
        data.load("digits", input_shape=(8, 8, 7))
    with pytest.raises(ValueError, match="leave some images to train on"):
        data.load("digits", input_shape=(8, 8, 1), test_split=0.6, validation_split=0.5)
    with pytest.raises(TypeError, match="data is"):
        data.load(3, input_shape=(8, 8, 1))


@given(st.lists(st.tuples(st.sampled_from([10, 20]), st.booleans()), min_size=1, max_size=12))
def test_allocate_reuses_memory_only_after_every_view_of_it_is_deleted(asked):
    held = []
    for number, (size, keep) in enumerate(asked):
        batch = allocate((size, 3), "float32")
        batch[...] = number
        if keep:
            held.append((number, batch[1:2, ::2]))
        del batch
    assert all((part == number).all() for number, part in held)


def test_allocate_reuses_the_memory_of_a_deleted_batch():
    first = allocate((50, 7), "uint8").ctypes.data
    assert allocate((50, 7), "uint8").ctypes.data == first
