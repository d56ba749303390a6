"""Load weights into a network of other channels, classes or parts: adapted on purpose, to the same logits."""

from contextlib import nullcontext

import keras
import numpy as np
import pytest

import kcnn
from kcnn import Architecture, blocks, weights
from kcnn.graph.ops import CENTERED, STANDARDIZED, Rescale
from kcnn.testing.checks import compute_logits
from tests.keras.weight_files import write


@pytest.mark.parametrize(("had", "have"), [(1, 3), (1, 7), (3, 1), (3, 2), (3, 7), (7, 3), (2, 3)])
def test_load_weights_adapts_the_first_kernel_so_that_gray_images_give_the_same_logits(had, have, tmp_path):
    model = kcnn.build("convnet", input_shape=(28, 28, had), seed=1)
    weights.save_weights(model, tmp_path / "w.safetensors")
    other = kcnn.build("convnet", input_shape=(28, 28, have))
    report = kcnn.load_weights(other, tmp_path / "w.safetensors")
    how = "spread over" if have > had else "summed to"
    assert report.adapted == {"conv1/kernel": f"{had} channels {how} {have}"}
    gray = np.random.default_rng(0).uniform(0, 255, (2, 28, 28, 1)).astype("float32")
    a, b = (compute_logits(m, np.repeat(gray, n, -1)) for m, n in ((model, had), (other, have)))
    np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rescale", [STANDARDIZED, CENTERED])
@pytest.mark.parametrize(("had", "have"), [(3, 1), (1, 3), (3, 2), (2, 3), (3, 4), (4, 3), (3, 7), (4, 2), (1, 2)])
def test_load_weights_keeps_the_logits_of_gray_images_where_channels_are_scaled_differently(
    rescale, had, have, tmp_path
):
    def backbone(x):
        return blocks.conv(blocks.conv(x, 8, 5, stride=2, bias=False, norm=True, name="one"), 6, 3, name="two")

    net = Architecture(backbone=backbone, reference="none", input_shape=(9, 9, 3), classes=3, rescale=rescale)
    model = kcnn.build(net, input_shape=(9, 9, had), seed=1)
    weights.save_weights(model, tmp_path / "w.safetensors")
    other = kcnn.build(net, input_shape=(9, 9, have), seed=2)
    report = kcnn.load_weights(other, tmp_path / "w.safetensors")
    color = {1: 3}.get(had, had), {1: 3}.get(have, have)  # a gray image is scaled as one of three equal channels
    assert ("one/kernel" in report.adapted) == (color[0] != color[1])
    assert ("by their scaling" in str(report)) == (2 in color and color[0] != color[1])
    gray = np.random.default_rng(0).uniform(0, 255, (4, 9, 9, 1)).astype("float32")
    expected, logits = (compute_logits(m, np.repeat(gray, n, -1)) for m, n in ((model, had), (other, have)))
    assert np.abs(logits - expected).max() <= 1e-5 * np.abs(expected).max()


def test_load_weights_of_a_gray_kernel_keeps_its_logits_where_channels_are_scaled_differently(tmp_path):
    def backbone(x):
        return blocks.conv(x, 8, 5, stride=2, name="one")

    fields = {"backbone": backbone, "reference": "none", "input_shape": (9, 9, 1), "classes": 3}
    mean = Rescale(float(np.mean(STANDARDIZED.scale)), float(np.mean(STANDARDIZED.offset)))
    model = kcnn.build(Architecture(**fields, rescale=mean), seed=1)
    model.save_weights(tmp_path / "w.weights.h5")
    other = kcnn.build(Architecture(**fields, rescale=STANDARDIZED), seed=2)
    report = kcnn.load_weights(other, tmp_path / "w.weights.h5")
    assert report.adapted == {"one/kernel": "1 channels spread over 3"}
    gray = np.random.default_rng(0).uniform(0, 255, (4, 9, 9, 1)).astype("float32")
    expected, logits = (compute_logits(m, gray) for m in (model, other))
    assert np.abs(logits - expected).max() <= 1e-5 * np.abs(expected).max()


def fine_tune(base, kind):
    """Keras' own recipe of transfer learning: a base and a new head, nested or flat."""
    if kind == "sequential":
        return keras.Sequential([base, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(4)])
    image = keras.Input((96, 96, 3)) if kind != "flat" else base.input
    x = image
    if kind == "nested":
        x = keras.Sequential([keras.layers.RandomFlip(), keras.layers.RandomRotation(0.1)])(x)
        x = keras.layers.Rescaling(1 / 127.5, -1)(x)
    x = keras.layers.GlobalAveragePooling2D()(base.output if kind == "flat" else base(x, training=False))
    x = keras.layers.Dropout(0.2)(x)
    if kind == "two layers":
        x = keras.layers.Dense(7)(x)
    return keras.Model(image, keras.layers.Dense(4)(x))


@pytest.fixture(scope="module")
def base():
    return keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(96, 96, 3), alpha=0.35)


KINDS, ENDINGS = ("nested", "sequential", "flat", "two layers"), ("keras", "weights.h5", "h5")
FINE_TUNED = [  # each kind of one ending, and each ending of one kind
    pytest.param(kind, ending, marks=() if kind == "nested" or ending == "keras" else pytest.mark.every)
    for kind in KINDS
    for ending in ENDINGS
]


@pytest.mark.parametrize(("kind", "ending"), FINE_TUNED)
@pytest.mark.filterwarnings("ignore:.*HDF5:UserWarning")
def test_load_weights_reads_a_fine_tuned_keras_model(kind, ending, base, tmp_path):
    theirs = fine_tune(base, kind)
    path = write(theirs, tmp_path / f"tuned.{ending}")
    options = {"width": 0.35, "input_shape": (96, 96, 3), "seed": 1}
    model = kcnn.build("mobilenet_v2", classes=4, **options)
    fresh = model.get_layer("logits").kernel.numpy()
    report = kcnn.load_weights(model, path)
    stem, last = model.get_layer("stem").kernel, model.get_layer("last_bn").moving_variance
    assert (stem.numpy() == base.get_layer("Conv1").kernel.numpy()).all()
    assert (last.numpy() == base.get_layer("Conv_1_bn").moving_variance.numpy()).all()
    logits = fresh if kind == "two layers" else theirs.layers[-1].kernel.numpy()
    assert (model.get_layer("logits").kernel.numpy() == logits).all()
    assert not report.unexpected
    assert len(report.unused) == (4 if kind == "two layers" else 0)
    assert len(kcnn.load_weights(kcnn.build("mobilenet_v2", top=False, **options), path).unused) in (2, 4)
    with pytest.raises(ValueError, match="for a new head, build with") if kind == "two layers" else nullcontext():
        kcnn.build("mobilenet_v2", weights=path, **options)


def test_load_weights_of_two_nested_models_with_one_name_is_an_error(base, tmp_path):
    other = keras.applications.MobileNetV2(
        weights=None, include_top=False, input_shape=(96, 96, 3), alpha=0.35, name="other"
    )
    image = keras.Input((96, 96, 3))
    theirs = keras.Model(image, [base(image), other(image)])
    theirs.save_weights(tmp_path / "two.weights.h5")
    with pytest.raises(ValueError, match=r"it has two layers '.*', as of two nested models"):
        kcnn.build("mobilenet_v2", width=0.35, top=False, weights=tmp_path / "two.weights.h5")


def test_load_weights_without_a_head_sets_the_backbone_of_a_network_of_other_classes(tmp_path):
    theirs = keras.applications.MobileNetV3Small(weights=None, include_top=False, input_shape=(96, 96, 3))
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    model = kcnn.build("mobilenet_v3_small", classes=5, seed=1)
    report = kcnn.load_weights(model, tmp_path / "theirs.weights.h5")
    assert report.adapted == dict.fromkeys(
        ("fc/kernel", "fc/bias", "logits/kernel", "logits/bias"), "a new head: the file has none"
    )
    with pytest.raises(ValueError, match=r"missing fc/kernel .*build with top=False or with another number"):
        kcnn.build("mobilenet_v3_small", weights=tmp_path / "theirs.weights.h5")
