"""Each kind of change against Keras' layer of it, fed with the same factor; where Keras is odd, against Pillow too."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps
from sklearn.datasets import load_sample_images

from kcnn.augment import color, geometry

layers = keras.layers


def make_images():
    """Two photographs, noise, and a dull image of few levels: uint8 (4, 48, 64, 3)."""
    photos = [np.asarray(Image.fromarray(p).resize((64, 48))) for p in load_sample_images().images]
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (48, 64, 3))
    dull = random.integers(90, 120, (48, 64, 3))
    return np.stack([*photos, noise, dull]).astype("uint8")


IMAGES = make_images()
N, ROWS, COLUMNS, _ = IMAGES.shape


def factors(value):
    return np.full((N, 1, 1, 1), value, "float32")


def close(ours, theirs, levels):
    """Compare images, rounded to 256 levels, with what is not rounded."""
    ours = np.stack(ours)
    assert ours.dtype == np.uint8
    difference = np.abs(ours - keras.ops.convert_to_numpy(theirs).astype("float32"))
    assert difference.max() <= levels + 0.5, f"off by {difference.max():.2f}, in the mean {difference.mean():.3f}"


def each(change, *values):
    return [change(image, *values) for image in IMAGES]


def fed(layer, **transformation):
    return layer.transform_images(tf.cast(IMAGES, tf.float32), transformation=transformation)


@pytest.mark.parametrize("amount", [-0.7, -0.2, 0.0, 0.1, 0.5])
def test_brightness_is_that_of_keras(amount):
    theirs = fed(layers.RandomBrightness(1.0), rgb_delta=factors(255 * amount))
    close(each(color.brightness, amount), theirs, 1e-3)


@pytest.mark.parametrize("amount", [-0.9, -0.3, 0.0, 0.3, 0.9])
def test_contrast_is_that_of_keras(amount):
    theirs = fed(layers.RandomContrast(1.0), contrast_factor=factors(1 + amount))
    close(each(color.contrast, amount), theirs, 1e-2)


@pytest.mark.parametrize("degeneration", [0.0, 0.25, 0.6, 1.0])
def test_saturation_is_the_color_degeneration_of_keras(degeneration):
    theirs = fed(layers.RandomColorDegeneration(1.0), factor=factors(degeneration))
    close(each(color.saturation, -degeneration), theirs, 0.25)  # OpenCV's weights have 10 bits


@pytest.mark.parametrize("amount", [-0.9, -0.45, 0.45, 0.9])
def test_saturation_increases_and_decreases_as_in_pillow(amount):
    """Keras' RandomSaturation wants values of 0 to 1 for its HSV, so the reference is what AutoAugment used."""
    theirs = [np.asarray(ImageEnhance.Color(Image.fromarray(p)).enhance(1 + amount)) for p in IMAGES]
    close(each(color.saturation, amount), np.stack(theirs), 2)


@pytest.mark.parametrize("amount", [-0.9, -0.4, 0.0, 0.4, 0.9])
def test_sharpness_is_that_of_keras_inside_and_that_of_pillow_at_the_edge(amount):
    """Keras takes what lies beyond the edge for black, and 0.5 for neutral; Pillow leaves the outermost pixels."""
    ours = np.stack(each(color.sharpness, amount))
    theirs = fed(layers.RandomSharpness(1.0), factor=tf.fill([N], (1 + amount) / 2))
    close(ours[:, 1:-1, 1:-1], theirs[:, 1:-1, 1:-1], 1e-2)
    pillow = [np.asarray(ImageEnhance.Sharpness(Image.fromarray(p)).enhance(1 + amount)) for p in IMAGES]
    close(ours, np.stack(pillow), 2)


@pytest.mark.parametrize("bits", [1, 3, 4, 7, 8])
def test_posterize_is_that_of_keras(bits):
    theirs = fed(layers.RandomPosterization(8), shift_factor=np.full(N, 8 - bits, "uint8"))
    close(each(color.posterize, bits), theirs, 0)


@pytest.mark.parametrize("threshold", [0, 1, 100, 128, 255, 256])
def test_solarize_is_that_of_keras(threshold):
    theirs = fed(layers.Solarization(), additions=factors(0), thresholds=factors(threshold))
    close(each(color.solarize, threshold), theirs, 0)


def test_auto_contrast_is_that_of_keras_and_keeps_a_channel_of_one_level():
    images = IMAGES.copy()
    images[0, :, :, 1] = 77
    close([color.auto_contrast(image) for image in images], layers.AutoContrast()(images), 1e-3)


def test_equalize_is_that_of_keras_and_keeps_a_channel_of_one_level():
    images = IMAGES.copy()
    images[0, :, :, 1] = 77
    theirs = [layers.Equalization()(images[i : i + 1]) for i in range(N)]  # Keras counts one histogram for the batch
    close([color.equalize(image) for image in images], tf.concat(theirs, 0), 1)


def test_auto_contrast_and_solarize_are_those_of_pillow():
    close(each(color.auto_contrast), [ImageOps.autocontrast(Image.fromarray(p)) for p in IMAGES], 1)
    close(each(color.solarize, 90), [ImageOps.solarize(Image.fromarray(p), 90) for p in IMAGES], 0)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("brightness", 0.3), ("contrast", 0.5)),
        (("contrast", -0.5), ("auto_contrast", 0)),
        (("solarize", 120), ("equalize", 0)),
        (("equalize", 0), ("posterize", 3)),
        (("posterize", 5), ("equalize", 0)),
        (("auto_contrast", 0), ("solarize", 128)),
    ],
)
def test_adjust_colors_equals_its_changes_in_sequence(first, second):
    composed = np.stack(each(color.adjust_colors, [first, second])).astype("float32")
    apart = [color.adjust_colors(color.adjust_colors(image, [first]), [second]) for image in IMAGES]
    difference = np.abs(composed - apart)[:3]  # few levels of the dull image, rounded in between, stretch to many
    assert np.quantile(difference, 0.99) <= 2
    assert difference.mean() < 0.6


SIZE = (ROWS, COLUMNS)


def moved(matrix):
    return each(geometry.warp, matrix[0], SIZE)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (0.3, 0), (0, -0.2), (-0.1, 0.25)])
def test_shear_matrix_is_that_of_keras(x, y):
    theirs = fed(layers.RandomShear(1.0, 1.0), shear_factor=tf.tile([[float(x), float(y)]], [N, 1]))
    close(moved(geometry.shear_matrix(x, y)), theirs, 0.05)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (5, 0), (-3.25, 7.5)])
def test_translation_matrix_is_that_of_keras(x, y):
    theirs = fed(layers.RandomTranslation(1.0, 1.0), translations=tf.tile([[float(x), float(y)]], [N, 1]))
    close(moved(geometry.translation_matrix(x, y)), theirs, 0.05)


@pytest.mark.parametrize("degrees", [-30.0, 0.0, 7.0, 90.0, 180.0])
def test_rotation_matrix_is_that_of_keras(degrees):
    layer = layers.RandomRotation((degrees / 360, degrees / 360))
    images = tf.cast(IMAGES, tf.float32)
    drawn = layer.get_random_transformation(images)
    assert np.allclose(drawn["angle"], degrees)
    close(moved(geometry.rotation_matrix(degrees, SIZE)), layer.transform_images(images, drawn), 0.5)


@pytest.mark.parametrize("factor", [0.75, 1.0, 1.5])
def test_scale_matrix_is_that_of_keras_whose_factor_is_the_inverse(factor):
    zoom = tf.fill([N, 1], 1 / factor)
    theirs = fed(layers.RandomZoom(0.5), height_zoom=zoom, width_zoom=zoom)
    close(moved(geometry.scale_matrix(factor, SIZE)), theirs, 0.5)


@pytest.mark.parametrize(("x", "y"), [(True, False), (False, True), (True, True)])
def test_flip_matrix_mirrors_as_numpy(x, y):
    axes = [axis for axis, on in ((2, x), (1, y)) if on]
    mirrored = np.flip(IMAGES, axes)
    close(moved(geometry.flip_matrix(x, y, SIZE)), mirrored, 0)
