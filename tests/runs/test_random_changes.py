"""Each random change by itself: where a crop lies, what is erased, and that mixed labels keep their sum."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_sample_images

from kcnn import augment
from kcnn.augment import Augmentation, color, geometry, random_changes, transforms
from kcnn.augment.seeds import make_generator
from tests.runs.augmentations import SIZE, applied, batch


@pytest.mark.parametrize("kind", ["brightness", "contrast", "saturation", "sharpness", "posterize", "solarize"])
def test_color_of_strength_zero_changes_no_bit(kind):
    images, _ = batch()
    neutral = {"posterize": 8, "solarize": 256}.get(kind, 0)
    assert all((getattr(color, kind)(image, neutral) == image).all() for image in images)


def test_rand_augment_of_strength_zero_changes_no_bit():
    images, labels = batch()
    pixels, _ = applied(Augmentation(rand_augment=(2, 0)), images, labels)
    assert (pixels == images).all()


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
