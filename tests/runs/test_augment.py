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
from kcnn.augment import Augmentation, color, geometry, masking, previews, random_changes, seeds
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
    return augment.augment(augmentation, images, labels, size=size, classes=4, seed=tf.constant(seed))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_augment_with_everything_off_returns_the_same_pixels(dtype):
    images, labels = batch(dtype=dtype)
    pixels, same = applied(Augmentation(), images, labels)
    assert pixels.dtype == tf.float32
    assert (pixels.numpy() == images).all()
    assert (same.numpy() == labels).all()


@pytest.mark.parametrize("kind", ["brightness", "contrast", "saturation", "sharpness", "posterize", "solarize"])
def test_color_of_strength_zero_changes_no_bit(kind):
    images, _ = batch()
    neutral = {"posterize": 8, "solarize": 256}.get(kind, 0)
    assert (getattr(color, kind)(images, neutral).numpy() == images).all()


def test_rand_augment_of_strength_zero_changes_no_bit():
    images, labels = batch()
    pixels, _ = applied(Augmentation(rand_augment=(2, 0)), images, labels)
    assert (pixels.numpy() == images).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", EVERYTHING)
def test_augment_gives_floats_of_shape_and_range_that_follow_from_the_seed(kind, channels):
    images, labels = batch(channels=channels)
    one, its = applied(EVERYTHING[kind], images, labels)
    again, _ = applied(EVERYTHING[kind], images, labels)
    other, _ = applied(EVERYTHING[kind], images, labels, seed=(1, 3))
    assert one.dtype == tf.float32
    assert one.shape == (6, *SIZE, channels)
    assert 0 <= one.numpy().min() <= one.numpy().max() <= 255
    assert (one.numpy() == again.numpy()).all()
    if (kind, channels) == ("saturation", 1):
        assert (one.numpy() == images).all()
    else:
        assert not (one.numpy() == other.numpy()).all()
    mixes = EVERYTHING[kind].mixup or EVERYTHING[kind].cutmix
    assert its.shape == ((6, 4) if mixes else (6,))
    assert its.dtype == (tf.float32 if mixes else tf.int64)


@pytest.mark.parametrize("kind", EVERYTHING)
def test_augment_takes_batches_of_unknown_size_in_one_graph(kind):
    images, labels = batch()
    signature = [tf.TensorSpec([None, *SIZE, 3], tf.uint8), tf.TensorSpec([None], tf.int64)]
    graph = tf.function(lambda x, y: applied(EVERYTHING[kind], x, y), input_signature=signature)
    for n in (6, 1):
        pixels, its = graph(images[:n], labels[:n])
        eager, theirs = applied(EVERYTHING[kind], images[:n], labels[:n])
        assert pixels.shape == (n, *SIZE, 3)
        assert np.abs(pixels - eager).max() < 0.05
        assert np.abs(its - theirs).max() < 1e-6


def test_augment_resizes_a_larger_image():
    images, labels = batch(size=(48, 64))
    pixels, _ = applied(Augmentation(), images, labels)
    assert np.abs(pixels - tf.image.resize(images, SIZE)).max() < 0.1


@pytest.mark.parametrize("kind", ["resized_crop", "margin", "strong"])
def test_augment_resizes_larger_and_smaller_images(kind):
    for size in ((40, 40), (16, 20)):
        images, labels = batch(size=size)
        assert applied(EVERYTHING[kind], images, labels)[0].shape == (6, *SIZE, 3)


def test_padded_crop_is_a_window_of_the_image_with_a_black_margin():
    images, _ = batch(n=40)
    padded = np.pad(images, [(0, 0), (3, 3), (3, 3), (0, 0)])
    places = set()
    for image, out in zip(padded, augment.padded_crop(images, (0, 5), margin=3).numpy(), strict=True):
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
    assert (augment.padded_crop(images, (0, 5), margin=least - 1).numpy().max(axis=(1, 2, 3)) == 200).all()


def test_augment_crop_with_zoom_keeps_the_black_margin():
    images = np.full((8, *SIZE, 1), 200, "uint8")
    pixels, _ = applied(Augmentation(crop=6, zoom=0.01), images, np.zeros(8, "int64"))
    sides = [pixels.numpy()[:, 0].min(), pixels.numpy()[:, -1].min()]
    assert min(sides) == 0
    assert (pixels.numpy()[:, 12, 16] == 200).all()


def test_augment_takes_images_of_unknown_size_in_a_graph():
    images, labels = batch(size=(40, 30))
    signature = [tf.TensorSpec([None, None, None, 3], tf.uint8), tf.TensorSpec([None], tf.int64)]
    for kind in ("resized_crop", "margin"):
        graph = tf.function(lambda x, y, kind=kind: applied(EVERYTHING[kind], x, y), input_signature=signature)
        pixels, _ = graph(images, labels)
        assert np.abs(pixels - applied(EVERYTHING[kind], images, labels)[0]).max() < 0.05


@pytest.mark.parametrize("shape", [(24, 32, 3), (2, 24, 32, 4)])
def test_augment_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"a batch .n, rows, columns, 1 or 3. of numbers, got"):
        applied(Augmentation(flip=True), np.zeros(shape, "uint8"), np.zeros(2, "int64"))


def test_flip_mirrors_half_of_the_images():
    images, _ = batch(n=200)
    out = augment.flip(images, (0, 1)).numpy()
    mirrored = (out == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (mirrored ^ (out == images).all(axis=(1, 2, 3))).all()
    assert 70 < mirrored.sum() < 130


def test_crop_box_has_area_and_ratio_in_range_and_lies_inside():
    top, left, rows, columns = (v.numpy() for v in geometry.crop_box((0, 1), 2000, (100, 150), (0.2, 0.8)))
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + rows <= 100).all()
    assert (left + columns <= 150).all()
    share, ratio = rows * columns / 15000, columns / rows
    assert 0.19 < share.min() < 0.22
    assert 0.76 < share.max() < 0.81
    assert 0.73 < ratio.min() < 0.77
    assert 1.30 < ratio.max() < 1.36


def test_crop_box_is_the_largest_in_the_center_if_none_fits():
    top, left, rows, columns = (v.numpy() for v in geometry.crop_box((0, 1), 5, (300, 30), (0.9, 1.0)))
    assert (rows == 40).all()
    assert (columns == 30).all()
    assert (top == 130).all()
    assert (left == 0).all()


def test_draw_changes_draws_every_kind_about_as_often():
    drawn = random_changes.draw_changes((0, 1), 3000, SIZE, 1, 0.5)
    numbers = drawn.tables[0][0].numpy()
    shares = [(numbers == i).mean() for i in range(6)]
    shares += [
        (drawn.saturation.numpy() != 0).mean(),
        (drawn.sharpness.numpy() != 0).mean(),
        drawn.moves.numpy().mean() / 3,
    ]
    assert max(abs(share - 1 / 11) for share in shares) < 0.02
    assert np.allclose(np.unique(np.abs(drawn.saturation)), [0, 0.45])


def test_apply_where_keeps_the_pixels_of_other_images():
    images, _ = batch()
    chosen = np.array([True, False, False, True, False, False])
    out = masking.apply_where(tf.constant(chosen), lambda x: 255 - x, tf.cast(images, tf.float32)).numpy()
    assert (out[chosen] == 255.0 - images[chosen]).all()
    assert (out[~chosen] == images[~chosen]).all()


@pytest.mark.parametrize("probability", [0.3, 1.0])
def test_erase_puts_one_rectangle_of_noise_into_a_fraction_of_images(probability):
    images = np.full((200, *SIZE, 1), 300.0, "float32")  # a value that the noise never takes
    changed = (augment.erase(images, (3, 4), probability=probability).numpy() != 300)[..., 0]
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
    assert np.allclose(targets.numpy().sum(axis=1), 1, atol=1e-5)
    assert targets.numpy().min() >= -1e-6
    assert -1e-3 <= pixels.numpy().min() <= pixels.numpy().max() <= 255 + 1e-3


def test_mixup_weights_labels_as_pixels():
    images = np.stack([np.full((*SIZE, 1), 10.0 * i, "float32") for i in range(4)])
    pixels, targets = augment.mixup(images, np.arange(4), (1, 2), alpha=1.0, classes=4)
    assert np.allclose(pixels.numpy()[:, 0, 0, 0], targets.numpy() @ [0, 10, 20, 30], atol=1e-3)
    assert (pixels.numpy() == pixels.numpy()[:, :1, :1]).all()


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_beta_has_the_moments_of_its_distribution(alpha):
    weights = seeds.beta(tf.constant((1, 2)), [20000], alpha).numpy()
    assert abs(weights.mean() - 0.5) < 0.01
    assert abs(weights.var() - 1 / (4 * (2 * alpha + 1))) < 0.01


def test_cutmix_weights_labels_by_the_pasted_pixels():
    images = np.stack([np.full((*SIZE, 1), i, "float32") for i in range(8)])
    pixels, targets = augment.cutmix(images, np.arange(8), (4, 2), alpha=1.0, classes=8)
    for i in range(8):
        pasted = (pixels.numpy()[i] == (i - 1) % 8).mean()
        assert (pixels.numpy()[i] == i).mean() == pytest.approx(1 - pasted)
        assert targets.numpy()[i, i - 1] == pytest.approx(pasted, abs=1e-6)
    assert np.ptp(targets.numpy().max(axis=1)) > 0


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

    def change(i, pixels_and_labels):
        return augment.augment(strong, *pixels_and_labels, size=(24, 24), classes=4, seed=tf.stack([i, 5]))

    def mapped():
        return [v.numpy() for pair in data.enumerate().map(change, num_parallel_calls=4) for v in pair]

    def augmented():
        return [x.numpy() for x, _ in data.apply(augment.augment_dataset(strong, classes=4, seed=3))]

    for run in (mapped, augmented):
        assert all((a == b).all() for a, b in zip(run(), run(), strict=True))


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
            Augmentation(), np.zeros((1, 4, 4, 1)), tf.zeros(1, tf.int64), sizes=(4, 4), classes=2, seed=(0, 0)
        )
