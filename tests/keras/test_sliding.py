"""A classifier slid over larger images gives the logits of windows that are cut out by hand."""

import keras
import numpy as np
import pytest

import kcnn

L = keras.layers
RNG = np.random.default_rng(0)


def by_hand(model, images, stride):
    """The logits of every window, each cut out with NumPy."""
    (down, right), (high, wide) = stride, model.input_shape[1:3]
    tops = range(0, images.shape[1] - high + 1, down)
    lefts = range(0, images.shape[2] - wide + 1, right)
    cut = np.stack([images[:, top : top + high, left : left + wide] for top in tops for left in lefts], 1)
    found = keras.ops.convert_to_numpy(model(cut.reshape(-1, *cut.shape[2:]), training=False))
    return found.reshape(len(images), len(tops), len(lefts), -1)


def slid(model, stride, larger=(5, 9), **given):
    """The sliding model, once it is shown to give what windows cut by hand give."""
    shape = model.input_shape[1:]
    images = RNG.uniform(0, 255, (2, shape[0] + larger[0], shape[1] + larger[1], shape[2])).astype("float32")
    both = stride if isinstance(stride, tuple) else (stride, stride)
    sliding = kcnn.sliding_window(model, stride, **given)
    found, wanted = keras.ops.convert_to_numpy(sliding(images)), by_hand(model, images, both)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()
    assert (sliding.sliding.window, sliding.sliding.stride) == (shape[:2], both)
    return sliding


def convolution(*args, **given):
    sliding = slid(*args, **given)
    assert (sliding.sliding.way, sliding.sliding.reason) == ("convolution", None)
    return sliding


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 8, (2, 3)])
def test_a_convnet_slides_as_convolutions_at_any_stride_also_below_its_own(stride):
    convolution(kcnn.build("convnet", input_shape=(16, 16, 1)), stride)


def test_a_window_of_which_a_network_leaves_pixels_unseen_ends_where_it_would_by_hand():
    convolution(kcnn.build("convnet", input_shape=(17, 19, 1)), 2, larger=(6, 7))


@pytest.mark.parametrize("stride", [1, 3])
def test_an_mlp_becomes_a_convolution_as_large_as_its_window(stride):
    sliding = convolution(kcnn.build("mlp", input_shape=(9, 7, 1), units=(20, 12)), stride)
    assert sliding.get_layer("fc1").kernel.shape == (9, 7, 1, 20)


@pytest.mark.parametrize("name", ["mlp", "convnet", "lenet5.modern"])
def test_a_network_of_plain_layers_slides_as_one_flat_graph_of_keras_own_layers(name):
    sliding = convolution(kcnn.build(name), 4)
    assert {type(one).__module__.partition(".")[0] for one in sliding.operations} == {"keras"}


def rolled():
    """A classifier whose end is no convolution."""
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


def test_what_follows_the_first_features_is_done_at_every_position():
    convolution(rolled(), 1)


@pytest.mark.parametrize("stride", [1, 2, 5])
def test_lenet5_slides_as_convolutions_with_the_layers_of_its_plugin(stride):
    convolution(kcnn.build("lenet5"), stride)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("kind", ["max", "average"])
def test_a_stack_without_padding_ends_in_a_pool_of_fixed_extent(norm, kind):
    changes = {"conv*.padding": "valid", "pool*.mode": kind}
    model = kcnn.build("stack", input_shape=(21, 21, 3), depth=2, norm=norm, overrides=changes)
    for stride in (1, 4):
        convolution(model, stride)


def test_branches_without_padding_slide_as_convolutions():
    image = keras.Input((14, 14, 2))
    x = L.Conv2D(4, 3, strides=2, activation="relu")(image)
    x = L.Concatenate()([L.MaxPooling2D(2)(x), L.Conv2D(3, 2, strides=2)(x)])
    x = L.Add()([x, L.Conv2D(7, 1, padding="same")(x)])
    convolution(keras.Model(image, L.Dense(3)(L.GlobalMaxPooling2D()(x))), 1)


def test_a_dilated_and_a_depthwise_convolution_slide_as_convolutions():
    image = keras.Input((16, 16, 2))
    x = L.DepthwiseConv2D(3, strides=2)(L.Conv2D(4, 3, dilation_rate=2)(image))
    convolution(keras.Model(image, L.Dense(3)(L.Flatten()(L.SeparableConv2D(5, 2)(x)))), 1)


@pytest.mark.parametrize(("name", "layer"), [("resnet20", "stem"), ("stack", "conv1")])
def test_a_network_that_pads_is_slid_window_by_window_and_says_why(name, layer):
    sliding = slid(kcnn.build(name, input_shape=(16, 16, 1)), (4, 3))
    assert sliding.sliding.way == "windows"
    assert f"{layer!r} pads" in sliding.sliding.reason


def test_a_network_that_weighs_channels_of_its_whole_window_is_slid_window_by_window():
    image = keras.Input((8, 8, 2))
    x = L.Conv2D(4, 3)(image)
    x = L.Multiply()([x, L.Dense(4, activation="sigmoid")(L.GlobalAveragePooling2D(keepdims=True)(x))])
    sliding = slid(keras.Model(image, L.Dense(3)(L.Flatten()(x))), 2)
    assert "different windows" in sliding.sliding.reason


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
        ({"both": True}, "flattens a map for something else"),
    ],
)
def test_whatever_else_looks_at_a_whole_window_is_slid_window_by_window(given, reason):
    sliding = slid(layers(**given), 2)
    assert sliding.sliding.way == "windows"
    assert reason in sliding.sliding.reason


def test_of_several_outputs_the_first_slides():
    model = kcnn.build("googlenet", input_shape=(65, 65, 3), classes=5, aux=True)
    images = RNG.uniform(0, 255, (1, 65, 73, 3)).astype("float32")
    found = kcnn.sliding_window(model, 8)(images)
    wanted = by_hand(model.without_aux(), images, (8, 8))
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("name", ["convnet", "lenet5", "resnet20"])
def test_a_sliding_model_is_saved_and_loaded_and_takes_a_given_size(name, tmp_path):
    model = kcnn.build(name, input_shape=(32, 32, 1))
    sliding = slid(model, 4, input_shape=(37, 41, 1))
    assert sliding.output_shape == (None, 2, 3, 10)
    sliding.save(tmp_path / "sliding.keras")
    images = RNG.uniform(0, 255, (3, 37, 41, 1)).astype("float32")
    again = keras.saving.load_model(tmp_path / "sliding.keras")
    np.testing.assert_array_equal(sliding.predict(images, verbose=0), again.predict(images, verbose=0))


@pytest.mark.parametrize("make", [lambda: kcnn.build("resnet20", input_shape=(16, 16, 1), units=1), rolled, twice])
def test_a_sliding_model_is_deployed_as_one_flat_graph_of_keras_own_layers(make, tmp_path):
    model = make()
    for layer in model.layers:
        layer.set_weights([RNG.uniform(0.1, 1, one.shape) for one in layer.get_weights()])
    (rows, columns, channels) = model.input_shape[1:]
    sliding = kcnn.sliding_window(model, (2, 3), input_shape=(rows + 5, columns + 7, channels))
    images = RNG.uniform(0, 255, (2, rows + 5, columns + 7, channels)).astype("float32")
    deployed = kcnn.optimize_for_inference(sliding)
    assert {type(one).__module__.partition(".")[0] for one in deployed.operations} == {"keras"}
    assert not any(isinstance(one, keras.Model) for one in deployed.operations)
    wanted = sliding.predict(images, verbose=0)
    np.testing.assert_allclose(deployed.predict(images, verbose=0), wanted, rtol=1e-4)
    deployed.save(tmp_path / "plain.keras")
    again = keras.saving.load_model(tmp_path / "plain.keras")
    np.testing.assert_allclose(again.predict(images, verbose=0), wanted, rtol=1e-4)


def test_a_model_that_slides_over_any_size_is_refused_by_deploy_with_what_to_do():
    model = kcnn.build("resnet20", input_shape=(16, 16, 1), units=1)
    with pytest.raises(ValueError, match=r"give kcnn.sliding_window an input_shape"):
        kcnn.optimize_for_inference(kcnn.sliding_window(model, 4))


def test_what_cannot_slide_is_one_clear_error():
    model = kcnn.build("convnet", input_shape=(16, 16, 1))
    for stride in (0, -1, 1.5, True, (1, 2, 3), "1"):
        with pytest.raises(ValueError, match="stride is pixels"):
            kcnn.sliding_window(model, stride)
    with pytest.raises(ValueError, match="no room for a window of 16x16"):
        kcnn.sliding_window(model, 1, input_shape=(15, 40, 1))
    with pytest.raises(ValueError, match=r"takes \(rows, columns, 1\)"):
        kcnn.sliding_window(model, 1, input_shape=(40, 40, 3))
    with pytest.raises(TypeError, match="functional or sequential Keras model"):
        kcnn.sliding_window("convnet", 1)
    with pytest.raises(ValueError, match="fixed rows, columns"):
        kcnn.sliding_window(kcnn.build("resnet20", input_shape=(None, None, 3)), 1)
    with pytest.raises(ValueError, match="not logits"):
        kcnn.sliding_window(kcnn.build("convnet", top=False), 1)
