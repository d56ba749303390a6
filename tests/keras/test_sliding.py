"""A sliding-window model gives the logits of windows that are cut out by hand."""

import keras
import numpy as np
import pytest

import kcnn
from kcnn.blocks import apply
from kcnn.graph import ops

L = keras.layers
RNG = np.random.default_rng(0)


def by_hand(model, images, stride):
    """The logits of every window, each cut out with NumPy."""
    (down, right), (high, wide) = stride, model.input_shape[1:3]
    tops = range(0, images.shape[1] - high + 1, down)
    lefts = range(0, images.shape[2] - wide + 1, right)
    cut = np.stack([images[:, top : top + high, left : left + wide] for top in tops for left in lefts], 1)
    logits = keras.ops.convert_to_numpy(model(cut.reshape(-1, *cut.shape[2:]), training=False))
    return logits.reshape(len(images), len(tops), len(lefts), -1)


def check_sliding(model, stride, larger=(5, 9), **given):
    """The sliding model, after checking that it gives what windows cut by hand give."""
    shape = model.input_shape[1:]
    images = RNG.uniform(0, 255, (2, shape[0] + larger[0], shape[1] + larger[1], shape[2])).astype("float32")
    step = stride if isinstance(stride, tuple) else (stride, stride)
    sliding = kcnn.sliding_window(model, stride, **given)
    logits, expected = keras.ops.convert_to_numpy(sliding(images)), by_hand(model, images, step)
    assert logits.shape == expected.shape
    assert np.abs(logits - expected).max() < 1e-5 * np.abs(expected).max()
    assert (sliding.sliding.window, sliding.sliding.stride) == (shape[:2], step)
    return sliding


def check_convolution(*args, **given):
    sliding = check_sliding(*args, **given)
    assert (sliding.sliding.mode, sliding.sliding.reason) == ("convolution", None)
    return sliding


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 8, (2, 3)])
def test_sliding_window_of_a_convnet_is_a_convolution_at_any_stride(stride):
    check_convolution(kcnn.build("convnet", input_shape=(16, 16, 1)), stride)


def test_sliding_window_keeps_pixels_that_the_network_does_not_see():
    check_convolution(kcnn.build("convnet", input_shape=(17, 19, 1)), 2, larger=(6, 7))


@pytest.mark.parametrize("stride", [1, 3])
def test_sliding_window_of_an_mlp_is_a_convolution_as_large_as_its_window(stride):
    sliding = check_convolution(kcnn.build("mlp", input_shape=(9, 7, 1), units=(20, 12)), stride)
    assert sliding.get_layer("fc1").kernel.shape == (9, 7, 1, 20)


@pytest.mark.parametrize("name", ["mlp", "convnet", "lenet5.modern"])
def test_sliding_window_is_one_flat_graph_of_keras_layers(name):
    sliding = check_convolution(kcnn.build(name), 4)
    assert {type(one).__module__.partition(".")[0] for one in sliding.operations} == {"keras"}


def rolled():
    """A classifier whose last layers are not convolutions."""
    image = keras.Input((6, 6, 2))
    x = L.Dense(5, activation="relu")(L.Flatten()(L.Conv2D(4, 3)(image)))
    x = L.Concatenate(axis=1)([L.BatchNormalization()(x), keras.ops.roll(x, 1, axis=1)])
    return keras.Model(image, L.Dense(3)(x))


def twice():
    """A classifier that pads, with a second output and a model inside."""
    image = keras.Input((8, 8, 2))
    inner = keras.Sequential([keras.Input((8, 8, 2)), L.Conv2D(3, 3, padding="same"), L.Flatten()])
    x = inner(image)
    return keras.Model(image, [L.Dense(3)(x), L.Dense(2)(x)])


def test_sliding_window_applies_the_tail_at_every_position():
    check_convolution(rolled(), 1)


@pytest.mark.parametrize("stride", [1, 2, 5])
def test_sliding_window_of_lenet5_is_a_convolution_with_its_plugin_layers(stride):
    check_convolution(kcnn.build("lenet5"), stride)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("kind", ["max", "average"])
def test_sliding_window_of_a_stack_without_padding_ends_in_a_fixed_pool(norm, kind):
    changes = {"conv*.padding": "valid", "pool*.mode": kind}
    model = kcnn.build("stack", input_shape=(21, 21, 3), depth=2, norm=norm, overrides=changes)
    for stride in (1, 4):
        check_convolution(model, stride)


def test_sliding_window_of_branches_without_padding_is_a_convolution():
    image = keras.Input((14, 14, 2))
    x = L.Conv2D(4, 3, strides=2, activation="relu")(image)
    x = L.Concatenate()([L.MaxPooling2D(2)(x), L.Conv2D(3, 2, strides=2)(x)])
    x = L.Add()([x, L.Conv2D(7, 1, padding="same")(x)])
    check_convolution(keras.Model(image, L.Dense(3)(L.GlobalMaxPooling2D()(x))), 1)


def test_sliding_window_takes_dilated_and_depthwise_convolutions():
    image = keras.Input((16, 16, 2))
    x = L.DepthwiseConv2D(3, strides=2)(L.Conv2D(4, 3, dilation_rate=2)(image))
    check_convolution(keras.Model(image, L.Dense(3)(L.Flatten()(L.SeparableConv2D(5, 2)(x)))), 1)


@pytest.mark.parametrize(("name", "layer"), [("resnet20", "stem"), ("stack", "conv1")])
def test_sliding_window_classifies_windows_where_a_layer_pads(name, layer):
    sliding = check_sliding(kcnn.build(name, input_shape=(16, 16, 1)), (4, 3))
    assert sliding.sliding.mode == "windows"
    assert f"{layer!r} pads" in sliding.sliding.reason


def test_sliding_window_classifies_windows_where_channels_are_gated():
    image = keras.Input((8, 8, 2))
    x = L.Conv2D(4, 3)(image)
    x = L.Multiply()([x, L.Dense(4, activation="sigmoid")(L.GlobalAveragePooling2D(keepdims=True)(x))])
    sliding = check_sliding(keras.Model(image, L.Dense(3)(L.Flatten()(x))), 2)
    assert "different windows" in sliding.sliding.reason


def normed(norm):
    """A classifier without padding, normalized after its second convolution."""

    def backbone(x):
        x = apply(ops.Conv(6, 3, padding="valid"), x, name="first")
        x = apply(norm, apply(ops.Conv(4, 2, padding="valid", standardized=True), x, name="second"), name="norm")
        return apply(ops.LayerScale(0.5), apply(ops.Depthwise(2, padding="valid"), x, name="third"), name="scale")

    architecture = kcnn.Architecture(backbone=backbone, reference="none", input_shape=(8, 8, 2))
    model = kcnn.build(architecture, classes=3, seed=0)
    weights = model.get_layer("norm").weights
    model.get_layer("norm").set_weights([RNG.uniform(0.5, 1.5, weight.shape) for weight in weights])
    return model


def test_sliding_window_of_layer_norms_and_standardized_kernels_is_a_convolution():
    for stride in (1, 2):
        check_convolution(normed(ops.LayerNorm()), stride)


@pytest.mark.parametrize("norm", [ops.GroupNorm(2), ops.GlobalResponseNorm()])
def test_sliding_window_classifies_windows_where_a_norm_sees_the_image(norm):
    sliding = check_sliding(normed(norm), 2)
    assert sliding.sliding.mode == "windows"


def layers(*, padded=False, act="relu", both=False):
    """A small classifier that cannot slide as a convolution, for one reason."""
    image = keras.Input((8, 8, 2))
    x = L.Conv2D(4, 3, activation=act)(L.ZeroPadding2D(1, name="margin")(image) if padded else image)
    flat = L.Flatten(name="flat")(x)
    return keras.Model(image, L.Dense(3)(L.Concatenate()([flat, L.GlobalMaxPooling2D()(x)]) if both else flat))


@keras.saving.register_keras_serializable("test_sliding")
def shifted(x):
    return keras.ops.roll(x, 1, axis=1)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"padded": True}, "'margin' pads its input"),
        ({"act": shifted}, "not Keras' own"),
        ({"both": True}, "flattens a map for other layers"),
    ],
)
def test_sliding_window_classifies_windows_where_a_layer_sees_the_complete_window(given, reason):
    sliding = check_sliding(layers(**given), 2)
    assert sliding.sliding.mode == "windows"
    assert reason in sliding.sliding.reason


def test_sliding_window_takes_the_first_of_several_outputs():
    model = kcnn.build("googlenet", input_shape=(65, 65, 3), classes=5, aux=True)
    images = RNG.uniform(0, 255, (1, 65, 73, 3)).astype("float32")
    logits = kcnn.sliding_window(model, 8)(images)
    expected = by_hand(model.without_aux(), images, (8, 8))
    np.testing.assert_allclose(logits, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["convnet", "lenet5", "resnet20"])
def test_sliding_window_is_saved_and_loaded_with_a_given_size(name, tmp_path):
    model = kcnn.build(name, input_shape=(32, 32, 1))
    sliding = check_sliding(model, 4, input_shape=(37, 41, 1))
    assert sliding.output_shape == (None, 2, 3, 10)
    sliding.save(tmp_path / "sliding.keras")
    images = RNG.uniform(0, 255, (3, 37, 41, 1)).astype("float32")
    again = keras.saving.load_model(tmp_path / "sliding.keras")
    np.testing.assert_array_equal(sliding.predict(images, verbose=0), again.predict(images, verbose=0))


@pytest.mark.parametrize("make", [lambda: kcnn.build("resnet20", input_shape=(16, 16, 1), units=1), rolled, twice])
def test_sliding_window_is_optimized_to_one_flat_graph_of_keras_layers(make, tmp_path):
    model = make()
    for layer in model.layers:
        layer.set_weights([RNG.uniform(0.1, 1, one.shape) for one in layer.get_weights()])
    (rows, columns, channels) = model.input_shape[1:]
    sliding = kcnn.sliding_window(model, (2, 3), input_shape=(rows + 5, columns + 7, channels))
    images = RNG.uniform(0, 255, (2, rows + 5, columns + 7, channels)).astype("float32")
    optimized = kcnn.optimize_for_inference(sliding)
    assert {type(one).__module__.partition(".")[0] for one in optimized.operations} == {"keras"}
    assert not any(isinstance(one, keras.Model) for one in optimized.operations)
    expected = sliding.predict(images, verbose=0)
    np.testing.assert_allclose(optimized.predict(images, verbose=0), expected, rtol=1e-4)
    optimized.save(tmp_path / "plain.keras")
    again = keras.saving.load_model(tmp_path / "plain.keras")
    np.testing.assert_allclose(again.predict(images, verbose=0), expected, rtol=1e-4)


def test_sliding_window_of_an_open_size_is_refused_by_optimize_for_inference():
    model = kcnn.build("resnet20", input_shape=(16, 16, 1), units=1)
    with pytest.raises(ValueError, match=r"give kcnn.sliding_window an input_shape"):
        kcnn.optimize_for_inference(kcnn.sliding_window(model, 4))


def test_sliding_window_refuses_invalid_strides_shapes_and_models():
    model = kcnn.build("convnet", input_shape=(16, 16, 1))
    for stride in (0, -1, 1.5, True, (1, 2, 3), "1"):
        with pytest.raises(ValueError, match=r"stride must be (pixels|an integer or a tuple)"):
            kcnn.sliding_window(model, stride)
    with pytest.raises(ValueError, match="smaller than the window of 16x16"):
        kcnn.sliding_window(model, 1, input_shape=(15, 40, 1))
    with pytest.raises(ValueError, match=r"must be \(rows, columns, 1\)"):
        kcnn.sliding_window(model, 1, input_shape=(40, 40, 3))
    with pytest.raises(TypeError, match="functional or sequential Keras model"):
        kcnn.sliding_window("convnet", 1)
    with pytest.raises(ValueError, match="needs fixed rows, columns"):
        kcnn.sliding_window(kcnn.build("resnet20", input_shape=(None, None, 3)), 1)
    with pytest.raises(ValueError, match="not logits"):
        kcnn.sliding_window(kcnn.build("convnet", top=False), 1)
