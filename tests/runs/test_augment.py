"""Random changes of batches: they follow from the seed, labels keep their sum, bad values are refused."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_sample_images
from tensorflow.python.framework import config as tf_config

from kcnn import augment
from kcnn.augment import Augmentation, color, geometry, previews, random_changes, transforms
from kcnn.augment.seeds import make_generator
from kcnn.plots import figures

SIZE = (24, 32)
EVERYTHING = {
    "flip": Augmentation(flip=True),
    "flip_vertical": Augmentation(flip_vertical=True),
    "crop": Augmentation(crop=4),
    "resized_crop": Augmentation(resized_crop=(0.08, 1.0)),
    "affine": Augmentation(shift=0.1, rotate=15, zoom=0.2),
    "brightness": Augmentation(brightness=0.4),
    "contrast": Augmentation(contrast=0.4),
    "saturation": Augmentation(saturation=0.4),
    "rand_augment": Augmentation(rand_augment=(2, 0.5)),
    "erase": Augmentation(erase=0.7),
    "mixup": Augmentation(mixup=0.3),
    "cutmix": Augmentation(cutmix=1.0),
    "margin": Augmentation(flip=True, crop=3, rotate=10),
    "strong": Augmentation(
        flip=True, resized_crop=(0.25, 1.0), rand_augment=(3, 0.8), erase=0.25, mixup=0.2, cutmix=1.0
    ),
}


def batch(n=6, channels=3, size=SIZE, dtype="uint8"):
    photos = [np.asarray(tf.image.resize(p, size)) for p in load_sample_images().images]
    random = np.random.default_rng(0)
    images = np.stack([np.clip(photos[i % 2] + random.normal(0, 9, (*size, 3)), 0, 255) for i in range(n)])
    return images[..., :channels].astype(dtype), np.arange(n, dtype="int64") % 4


def applied(augmentation, images, labels, seed=(1, 2), size=SIZE):
    return augment.augment(augmentation, images, labels, size=size, classes=4, seed=seed)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_augment_with_everything_off_returns_the_same_pixels_rounded(dtype):
    images, labels = batch(dtype=dtype)
    pixels, same = applied(Augmentation(), images, labels)
    assert pixels.dtype == np.float32
    assert (pixels == np.rint(images)).all()
    assert (same == labels).all()


@pytest.mark.parametrize("kind", ["brightness", "contrast", "saturation", "sharpness", "posterize", "solarize"])
def test_color_of_strength_zero_changes_no_bit(kind):
    images, _ = batch()
    neutral = {"posterize": 8, "solarize": 256}.get(kind, 0)
    assert all((getattr(color, kind)(image, neutral) == image).all() for image in images)


def test_rand_augment_of_strength_zero_changes_no_bit():
    images, labels = batch()
    pixels, _ = applied(Augmentation(rand_augment=(2, 0)), images, labels)
    assert (pixels == images).all()


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


def test_padded_crop_is_a_window_of_the_image_with_a_black_margin():
    images, _ = batch(n=100)
    padded = np.pad(images, [(0, 0), (3, 3), (3, 3), (0, 0)])
    places = set()
    for image, out in zip(padded, augment.padded_crop(images, (0, 5), margin=3), strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(image, SIZE, axis=(0, 1))
        found = np.argwhere((np.moveaxis(windows, 2, -1) == out).all(axis=(2, 3, 4)))
        assert len(found) == 1
        places.add(tuple(found[0]))
    assert {row for row, _ in places} == {column for _, column in places} == set(range(7))


@pytest.mark.parametrize("shape", [(16, 16), (12, 40)])
def test_augment_refuses_a_crop_that_may_lie_wholly_in_the_padding(shape):
    images = np.full((64, *shape, 1), 200, "uint8")
    least = min(shape)
    with pytest.raises(ValueError, match=f"crop={least} .*must be less than {least}"):
        augment.padded_crop(images, (0, 5), margin=least)
    assert (augment.padded_crop(images, (0, 5), margin=least - 1).max(axis=(1, 2, 3)) == 200).all()


def test_augment_crop_with_zoom_keeps_the_black_margin():
    images = np.full((8, *SIZE, 1), 200, "uint8")
    pixels, _ = applied(Augmentation(crop=6, zoom=0.01), images, np.zeros(8, "int64"))
    assert min(pixels[:, 0].min(), pixels[:, -1].min()) == 0
    assert (pixels[:, 12, 16] == 200).all()


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


def test_flip_mirrors_half_of_the_images():
    images, _ = batch(n=200)
    out = augment.flip(images, (0, 1))
    mirrored = (out == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (mirrored ^ (out == images).all(axis=(1, 2, 3))).all()
    assert 70 < mirrored.sum() < 130


def test_draw_boxes_has_area_and_ratio_in_range_and_lies_inside():
    sources = np.array([[100, 150], [200, 120]]).repeat(1000, axis=0)
    top, left, rows, columns = geometry.draw_boxes(make_generator((0, 1), 0), sources, (0.2, 0.8)).T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + rows <= sources[:, 0]).all()
    assert (left + columns <= sources[:, 1]).all()
    share, ratio = rows * columns / sources.prod(axis=1), columns / rows
    assert 0.19 < share.min() < 0.22
    assert 0.76 < share.max() < 0.81
    assert 0.73 < ratio.min() < 0.77
    assert 1.30 < ratio.max() < 1.36


def test_resized_crop_is_the_resized_box_of_each_photo_of_its_own_size():
    photos = load_sample_images().images
    images = [photos[0], photos[1][:300, :200], photos[0][100:124, 100:132]]
    crops = augment.resized_crop(images, (3, 4), area=(0.3, 0.9), size=SIZE)
    sources = np.array([image.shape[:2] for image in images])
    boxes = geometry.draw_boxes(make_generator((3, 4), transforms.CROP), sources, (0.3, 0.9))
    for image, crop, (top, left, rows, columns) in zip(images, crops, boxes, strict=True):
        resized = tf.image.resize(image[top : top + rows, left : left + columns], SIZE, antialias=True)
        assert np.abs(crop - resized).mean() < 3  # the filters differ; neighboring rows differ by 3 to 21


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


def test_draw_boxes_takes_the_largest_in_the_center_if_none_fits():
    top, left, rows, columns = geometry.draw_boxes(make_generator((0, 1), 0), np.array([[300, 30]] * 5), (0.9, 1.0)).T
    assert (rows == 40).all()
    assert (columns == 30).all()
    assert (top == 130).all()
    assert (left == 0).all()


def test_draw_changes_draws_every_kind_about_as_often():
    drawn = random_changes.draw_changes(make_generator((0, 1), 0), 3000, SIZE, 1, 0.5)
    shares = [np.mean([[kind for kind, _ in changes] == [name] for changes in drawn.tables]) for name in color.KINDS]
    shares += [(drawn.saturation != 0).mean(), (drawn.sharpness != 0).mean(), drawn.moves.mean() / 3]
    assert max(abs(share - 1 / 11) for share in shares) < 0.02
    assert np.allclose(np.unique(np.abs(drawn.saturation)), [0, 0.45])


@pytest.mark.parametrize("probability", [0.3, 1.0])
def test_erase_puts_one_rectangle_of_noise_into_a_fraction_of_images(probability):
    values = [np.full((200, *SIZE, 1), value, "uint8") for value in (7, 200)]  # the noise takes one of both at most
    erased = [augment.erase(images, (3, 4), probability=probability) for images in values]
    changed = np.logical_or(*(one != images for one, images in zip(erased, values, strict=True)))[..., 0]
    hit = changed.any(axis=(1, 2))
    assert abs(hit.mean() - probability) < 0.1
    for one in changed[hit]:
        rows, columns = one.any(axis=1).sum(), one.any(axis=0).sum()
        assert one.sum() == rows * columns
        assert 0.01 < one.mean() < 0.45


@settings(max_examples=40)
@given(
    seed=st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1)),
    alpha=st.sampled_from([0.01, 0.2, 1.0, 5.0]),
    n=st.integers(1, 5),
    kinds=st.sampled_from([("mixup",), ("cutmix",), ("mixup", "cutmix")]),
)
def test_mixup_and_cutmix_keep_the_sum_of_labels_and_pixels_in_range(seed, alpha, n, kinds):
    images, labels = batch(n=n, size=(8, 8))
    pixels, targets = applied(Augmentation(**dict.fromkeys(kinds, alpha)), images, labels, seed=seed, size=(8, 8))
    assert np.allclose(targets.sum(axis=1), 1, atol=1e-5)
    assert targets.min() >= -1e-6
    assert -1e-3 <= pixels.min() <= pixels.max() <= 255 + 1e-3


def test_mixup_weights_labels_as_pixels():
    images = np.stack([np.full((*SIZE, 1), 10.0 * i, "float32") for i in range(4)])
    pixels, targets = augment.mixup(images, np.arange(4), (1, 2), alpha=1.0, classes=4)
    assert np.allclose(pixels[:, 0, 0, 0], targets @ [0, 10, 20, 30], atol=1e-3)
    assert (pixels == pixels[:, :1, :1]).all()
    assert np.ptp(targets.max(axis=1)) > 0


def test_cutmix_weights_labels_by_the_pasted_pixels():
    images = np.stack([np.full((*SIZE, 1), i, "float32") for i in range(8)])
    pixels, targets = augment.cutmix(images, np.arange(8), (4, 2), alpha=1.0, classes=8)
    for i in range(8):
        pasted = (pixels[i] == (i - 1) % 8).mean()
        assert (pixels[i] == i).mean() == pytest.approx(1 - pasted)
        assert targets[i, i - 1] == pytest.approx(pasted, abs=1e-6)
    assert np.ptp(targets.max(axis=1)) > 0


def test_augment_with_both_takes_one_of_mixup_and_cutmix_per_batch():
    images = np.stack([np.full((*SIZE, 1), 100.0 * i, "float32") for i in range(2)])
    taken = set()
    for seed in range(12):
        pixels, _ = applied(Augmentation(mixup=5.0, cutmix=1.0), images, np.arange(2), seed=(0, seed))
        taken.add("cutmix" if set(np.unique(pixels)) <= {0, 100} else "mixup")
    assert taken == {"mixup", "cutmix"}


@pytest.mark.parametrize("kind", EVERYTHING)
def test_augmentation_round_trips_through_json(kind):
    text = json.dumps(dataclasses.asdict(EVERYTHING[kind]))
    assert Augmentation(**json.loads(text)) == EVERYTHING[kind]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("flip", 1),
        ("crop", -1),
        ("crop", 2.5),
        ("resized_crop", (0.0, 1.0)),
        ("resized_crop", (0.9, 0.2)),
        ("resized_crop", 0.5),
        ("rotate", 181),
        ("zoom", 1),
        ("contrast", float("nan")),
        ("brightness", "0.4"),
        ("rand_augment", (2, 1.5)),
        ("rand_augment", (0, 0.5)),
        ("rand_augment", 2),
        ("erase", True),
        ("mixup", -0.1),
    ],
)
def test_augmentation_refuses_an_invalid_value_by_name(field, value):
    with pytest.raises(ValueError, match=f"^Augmentation: {field} is .* got "):
        Augmentation(**{field: value})


def test_augmentation_names_all_invalid_values_at_once():
    with pytest.raises(ValueError, match=r"crop .*; erase .*; crop and resized_crop exclude each other"):
        Augmentation(crop=0.5, erase=2, resized_crop=(0.5, 1.0))


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
