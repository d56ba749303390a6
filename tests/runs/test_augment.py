"""Augmented batches: they follow from the seed alone, in arrays as in tf.data, for images of any size."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config as tf_config

from kcnn import augment
from kcnn.augment import Augmentation, previews
from kcnn.plots import figures
from tests.runs.augmentations import EVERYTHING, SIZE, applied, batch


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_augment_with_everything_off_returns_the_same_pixels_rounded(dtype):
    images, labels = batch(dtype=dtype)
    pixels, same = applied(Augmentation(), images, labels)
    assert pixels.dtype == np.float32
    assert (pixels == np.rint(images)).all()
    assert (same == labels).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", EVERYTHING)
def test_augment_gives_floats_of_shape_and_range_that_follow_from_the_seed(kind, channels):
    images, labels = batch(channels=channels)
    one, its = applied(EVERYTHING[kind], images, labels)
    again, _ = applied(EVERYTHING[kind], images, labels)
    other, _ = applied(EVERYTHING[kind], images, labels, seed=(1, 3))
    assert one.dtype == np.float32
    assert one.shape == (6, *SIZE, channels)
    assert 0 <= one.min() <= one.max() <= 255
    assert (one == again).all()
    if (kind, channels) == ("saturation", 1):
        assert (one == images).all()
    else:
        assert not (one == other).all()
    mixes = EVERYTHING[kind].mixup or EVERYTHING[kind].cutmix
    assert its.shape == ((6, 4) if mixes else (6,))
    assert its.dtype == (np.float32 if mixes else np.int64)


@pytest.mark.parametrize("kind", EVERYTHING)
def test_augment_changes_each_image_by_itself_but_for_mixing(kind):
    images, labels = batch()
    if EVERYTHING[kind].mixup or EVERYTHING[kind].cutmix:
        return
    others = images.copy()
    others[1:] = 255 - others[1:]
    assert (applied(EVERYTHING[kind], images, labels)[0][0] == applied(EVERYTHING[kind], others, labels)[0][0]).all()


@pytest.mark.parametrize("kind", ["strong", "crop"])
def test_augment_dataset_takes_batches_of_unknown_size_and_gives_known_shapes(kind):
    images, labels = batch()
    mixed = kind == "strong"
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(4)
    data = data.apply(augment.augment_dataset(EVERYTHING[kind], classes=4, seed=7))
    assert [spec.shape.as_list() for spec in data.element_spec] == [[None, *SIZE, 3], [None, 4] if mixed else [None]]
    assert data.element_spec[1].dtype == (tf.float32 if mixed else tf.int64)
    assert [len(pixels) for pixels, _ in data] == [4, 2]


def test_augment_names_augment_dataset_inside_a_graph():
    images, labels = batch()
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(4)
    with pytest.raises(Exception, match=r"in a pipeline of tf.data, use kcnn.augment.augment_dataset"):
        data.map(lambda x, y: (augment.flip(x, (0, 1)), y))


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (0.0, 300.0), (0.0, float("nan"))])
def test_augment_refuses_values_that_are_not_of_0_to_255(low, high):
    images = np.full((2, 8, 8, 3), low, "float32")
    images[0, 0, 0], images[0, 1, 1] = high, low + 0.3
    with pytest.raises(ValueError, match=r"images must be values of 0 to 255.* got .* to "):
        augment.flip(images, (0, 1))


def test_augment_resizes_a_larger_image():
    images, labels = batch(size=(48, 64))
    pixels, _ = applied(Augmentation(), images, labels)
    assert np.abs(pixels - tf.image.resize(images, SIZE)).max() <= 0.5  # rounded


@pytest.mark.parametrize("kind", ["resized_crop", "margin", "strong"])
def test_augment_resizes_larger_and_smaller_images(kind):
    for size in ((40, 40), (16, 20)):
        images, labels = batch(size=size)
        assert applied(EVERYTHING[kind], images, labels)[0].shape == (6, *SIZE, 3)


@pytest.mark.parametrize("kind", [Augmentation(), Augmentation(flip=True), Augmentation(rotate=1e-3)])
def test_augment_crops_an_image_of_other_proportions_centrally(kind):
    wide, tall = np.zeros((60, 120, 3), "uint8"), np.zeros((90, 40, 3), "uint8")
    wide[:, 20:100], tall[30:60] = 200, 200  # what has the proportions of the result, 24x32
    pixels, _ = applied(kind, [wide, tall], np.zeros(2, "int64"))
    assert (pixels == 200).all()


def test_augment_dataset_takes_images_of_unknown_size():
    images, labels = batch(size=(40, 30))
    signature = (tf.TensorSpec([None, None, None, 3], tf.uint8), tf.TensorSpec([None], tf.int64))
    data = tf.data.Dataset.from_generator(lambda: iter([(images, labels)]), output_signature=signature)
    data = data.apply(augment.augment_dataset(EVERYTHING["margin"], classes=4, seed=0, size=SIZE))
    assert [pixels.shape for pixels, _ in data] == [(6, *SIZE, 3)]


@pytest.mark.parametrize("shape", [(24, 32, 3), (2, 24, 32, 4)])
def test_augment_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"a batch .n, rows, columns, 1 or 3. of numbers, got"):
        applied(Augmentation(flip=True), np.zeros(shape, "uint8"), np.zeros(2, "int64"))


@pytest.mark.parametrize("kind", EVERYTHING)
def test_augment_takes_a_list_of_images_like_an_array(kind):
    images, labels = batch()
    for a, b in zip(
        applied(EVERYTHING[kind], images, labels), applied(EVERYTHING[kind], list(images), labels), strict=True
    ):
        assert (a == b).all()


def test_augment_changes_an_image_alike_beside_images_of_any_size():
    images, labels = batch()
    kind = Augmentation(flip=True, resized_crop=(0.25, 1.0), rand_augment=(2, 0.5), saturation=0.5)
    others = [images[0], *(np.zeros((i, 90, 3), "uint8") for i in range(20, 25))]
    assert (applied(kind, images, labels)[0][0] == applied(kind, others, labels)[0][0]).all()


@pytest.mark.parametrize(
    "shapes", [[(8, 8, 3), (8, 8, 1)], [(8, 8), (9, 9)], [(8, 8, 3), (0, 8, 3)], [(8, 8, 4), (9, 9, 4)]]
)
def test_augment_refuses_a_list_of_what_are_not_images_of_one_kind(shapes):
    images = [np.zeros(shape, "uint8") for shape in shapes]
    with pytest.raises(ValueError, match=r"images must be .*rows, columns, 1 or 3.*got"):
        applied(Augmentation(flip=True), images, np.zeros(2, "int64"))


def batches(epochs, seed=7, **options):
    images, labels = batch(n=10)
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(4)
    data = data.apply(augment.augment_dataset(EVERYTHING["strong"], classes=4, seed=seed, **options))
    return [np.concatenate([pixels.numpy() for pixels, _ in data]) for _ in range(epochs)]


def test_augment_dataset_differs_by_epoch_and_is_the_same_in_each_run():
    first, second = batches(2), batches(2)
    assert first[0].shape == (10, *SIZE, 3)
    assert all((one == other).all() for one, other in zip(first, second, strict=True))
    assert not (first[0] == first[1]).all()
    assert not (first[0] == batches(1, seed=8)[0]).all()


def test_augment_dataset_resizes():
    assert batches(1, size=(20, 20))[0].shape == (10, 20, 20, 3)


def test_augment_dataset_requires_a_size_if_images_have_none():
    signature = (tf.TensorSpec([None, None, None, 3], tf.uint8), tf.TensorSpec([None], tf.int64))
    data = tf.data.Dataset.from_generator(lambda: iter([]), output_signature=signature)
    with pytest.raises(ValueError, match="pass size="):
        data.apply(augment.augment_dataset(Augmentation(), classes=4, seed=0))


@pytest.fixture
def deterministic():
    """TensorFlow's determinism for one test."""
    tf.config.experimental.enable_op_determinism()
    yield
    tf_config.disable_op_determinism()


@pytest.mark.every
def test_augment_is_the_same_in_parallel_maps_under_the_determinism_of_tensorflow(deterministic):
    images = np.random.default_rng(0).integers(0, 256, (40, 24, 24, 3)).astype("uint8")
    strong = Augmentation(flip=True, resized_crop=(0.25, 1.0), rand_augment=(3, 0.8), erase=0.5, mixup=0.2, cutmix=1.0)
    data = tf.data.Dataset.from_tensor_slices((images, np.arange(40) % 4)).batch(4)

    def augmented():
        return [x.numpy() for x, _ in data.apply(augment.augment_dataset(strong, classes=4, seed=3))]

    assert all((a == b).all() for a, b in zip(augmented(), augmented(), strict=True))


def test_plot_samples_and_plot_kinds_are_figures(tmp_path):
    images, _ = batch(n=1)
    figure = previews.plot_samples(EVERYTHING["strong"], images[0], size=SIZE, count=6)
    assert len(figure.axes) == 7
    figures.save_figure(figure, tmp_path / "samples.png")
    figures.save_figure(previews.plot_kinds(images[0]), tmp_path / "kinds.png")
    assert (tmp_path / "kinds.png").stat().st_size > 10_000


def test_augment_names_the_nearest_parameter():
    with pytest.raises(TypeError, match=r"no parameter 'sizes'\. Did you mean 'size'"):
        augment.augment(
            Augmentation(), np.zeros((1, 4, 4, 1)), np.zeros(1, "int64"), sizes=(4, 4), classes=2, seed=(0, 0)
        )
