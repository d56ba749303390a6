"""Ops and the Keras layers made from them compute the same."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import kcnn
from kcnn import blocks
from kcnn.blocks import apply
from kcnn.graph import costs as op_costs
from kcnn.graph import ops
from kcnn.graph.windows import padding_amounts
from kcnn.keras_bridge.normalization import standardize

PADDINGS = ["same", "valid", "half", 2, (1, 0), ((1, 0), (2, 1))]


def one_layer(op, shape):
    image = keras.Input(shape)
    return keras.Model(image, apply(op, image, name="op"))


def numpy_sides(op, shape):
    from kcnn.graph.windows import to_pair

    return [padding_amounts(shape[a], to_pair(op.kernel)[a], to_pair(op.stride)[a], op.padding, a) for a in (0, 1)]


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "edge"])
@pytest.mark.parametrize("stride", [1, 2])
def test_conv_pads_as_numpy_does(padding, padding_mode, stride):
    op = ops.Conv(2, (3, 5), stride, padding, padding_mode=padding_mode)
    shape = (9, 10, 3)
    x = np.random.default_rng(1).normal(size=(2, *shape)).astype("float32")
    model = one_layer(op, shape)
    kernel, bias = model.get_layer("op").get_weights()
    mode = {"zeros": "constant", "reflect": "reflect", "edge": "edge"}[padding_mode]
    padded = np.pad(x, ((0, 0), *numpy_sides(op, shape), (0, 0)), mode=mode)
    expected = keras.ops.conv(padded, kernel, stride, "valid", data_format="channels_last") + bias
    result = model.predict(x, verbose=0)
    assert result.shape[1:] == kcnn.graph.shape_inference.output_shape(op, shape)
    np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("padding", ["same", "valid", "half", ((1, 0), (2, 1))])
@pytest.mark.parametrize(("stride", "dilation"), [((1, 2), 1), ((3, 2), 1), (2, 2), ((2, 1), (1, 2)), (3, (2, 1))])
def test_depthwise_strides_and_dilates_as_numpy_does(padding, stride, dilation):
    op, shape = ops.Depthwise(3, stride, padding, dilation), (11, 12, 2)
    x = np.random.default_rng(1).normal(size=(2, *shape)).astype("float32")
    kernel = np.random.default_rng(2).normal(size=(3, 3, 2, 1))
    rows, columns, _ = kcnn.graph.shape_inference.output_shape(op, shape)
    (down, right), (by_row, by_column) = ((v, v) if isinstance(v, int) else v for v in (stride, dilation))
    span = (2 * by_row + 1, 2 * by_column + 1)
    sides = [padding_amounts(shape[a], span[a], (down, right)[a], padding, a) for a in (0, 1)]
    padded = np.pad(x, ((0, 0), *sides, (0, 0)))
    expected = np.empty((2, rows, columns, 2))
    for r, c in np.ndindex(rows, columns):
        taps = padded[:, r * down :, c * right :][:, : span[0] : by_row, : span[1] : by_column]
        expected[:, r, c] = (taps * kernel[..., 0]).sum((1, 2))
    for size in (shape, (None, None, 2)):
        model = one_layer(op, size)
        model.get_layer("op").set_weights([kernel, np.zeros(2)])
        np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=1e-5)
    (layer,) = (one for one in kcnn.from_keras(one_layer(op, shape)).outputs.values())
    assert layer.shape == (rows, columns, 2)


@pytest.mark.parametrize("padding", ["same", "valid", "half", "ceil", 1, ((1, 0), (0, 1))])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("mode", ["max", "average"])
@pytest.mark.parametrize("count_include_pad", [False, True])
def test_pool_pads_as_numpy_does(padding, stride, mode, count_include_pad):
    op = ops.Pool(3, stride, padding, mode, count_include_pad)
    shape = (8, 9, 2)
    x = np.random.default_rng(2).normal(size=(1, *shape)).astype("float32") - 5  # negative: zeros would win a max
    result = one_layer(op, shape).predict(x, verbose=0)
    assert result.shape[1:] == kcnn.graph.shape_inference.output_shape(op, shape)
    sides = numpy_sides(op, shape)
    is_counted = count_include_pad and padding != "ceil"
    values = np.pad(x, ((0, 0), *sides, (0, 0)), constant_values=0.0 if is_counted else np.nan)
    reduce = np.nanmax if mode == "max" else np.nanmean
    if mode == "max":
        values = np.pad(x, ((0, 0), *sides, (0, 0)), constant_values=np.nan)
    expected = np.empty_like(result)
    for r, c in np.ndindex(result.shape[1:3]):
        expected[:, r, c] = reduce(values[:, r * stride : r * stride + 3, c * stride : c * stride + 3], axis=(1, 2))
    np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (6, 6), (7, 11), (14, 13), (3, 2)])
@pytest.mark.parametrize("is_open", [False, True])
def test_adaptive_pool_averages_windows_of_nearly_equal_size(shape, is_open):
    x = np.random.default_rng(2).normal(size=(2, *shape, 3)).astype("float32")
    model = one_layer(ops.AdaptivePool((6, 4)), (None, None, 3) if is_open else (*shape, 3))
    result = model.predict(x, verbose=0)
    assert result.shape[1:] == (6, 4, 3)
    (n, m), (i, j) = shape, (6, 4)
    for r, c in np.ndindex(i, j):
        rows = slice(r * n // i, -(-(r + 1) * n // i))
        columns = slice(c * m // j, -(-(c + 1) * m // j))
        np.testing.assert_allclose(result[:, r, c], x[:, rows, columns].mean((1, 2)), atol=1e-5)


def test_adaptive_pool_lets_a_flat_head_take_any_size():
    model = kcnn.build("alexnet.torchvision", input_shape=(None, None, 3), classes=2)
    for side in (63, 100):
        assert model.predict(np.zeros((1, side, side + 7, 3), "float32"), verbose=0).shape == (1, 2)


@pytest.mark.parametrize(
    ("op", "channels", "layer"),
    [
        (ops.Conv(5, 1, 2), 3, "SubsampledConv2D"),
        (ops.Conv(5, 1, (1, 3), 1), 15, "SubsampledConv2D"),
        (ops.Conv(5, 1, 2, standardized=True), 3, "StandardizedConv2D"),
        (ops.Conv(5, 1, 2), 16, "Conv2D"),
        (ops.Conv(6, 1, 2, groups=3), 3, "Conv2D"),
        (ops.Conv(5, 1), 3, "Conv2D"),
        (ops.Conv(5, 3, 2), 3, "Conv2D"),
    ],
)
def test_conv_of_one_pixel_with_strides_subsamples_few_channels_in_training_inference_and_files(
    op, channels, layer, tmp_path
):
    model = one_layer(op, (9, 10, channels))
    assert type(model.get_layer("op")).__name__ == layer
    assert next(row.op for row in kcnn.summary(kcnn.from_keras(model)) if row.name == "op").stride == op.stride
    x = np.random.default_rng(1).normal(size=(2, 9, 10, channels)).astype("float32")
    kernel, bias = model.get_layer("op").get_weights()
    kernel = keras.ops.convert_to_numpy(standardize(kernel)) if op.standardized else kernel
    padded = np.pad(x, ((0, 0), *numpy_sides(op, x.shape[1:]), (0, 0)))
    expected = keras.ops.conv(padded, kernel, op.stride, "valid", data_format="channels_last") + bias
    model.save(tmp_path / "model.keras")
    inference = kcnn.optimize_for_inference(model)
    assert "Subsampled" not in str([type(one) for one in inference.layers])
    for one in (model, keras.models.load_model(tmp_path / "model.keras"), inference):
        np.testing.assert_allclose(one.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.every
def test_conv_of_one_pixel_with_strides_keeps_its_gradient_inside_its_memory():
    """TensorFlow's own convolution ended in "corrupted size vs. prev_size", sooner where glibc checks each free."""
    code = """
import keras
import numpy as np
from kcnn.blocks import apply
from kcnn.graph import ops
image = keras.Input((64, 64, 3))
model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(apply(ops.Conv(8, 1, 2), image, name="conv")))
model.compile("sgd", "mse")
images = np.random.rand(16, 64, 64, 3)
for step in range(40):
    model.train_on_batch(images, np.zeros((16, 8)))
    small = [np.random.rand(1000 * size + 7) for size in range(1, 40)]
print("finished")
"""
    debug = Path("/lib/x86_64-linux-gnu/libc_malloc_debug.so.0")
    checked = {"LD_PRELOAD": str(debug), "GLIBC_TUNABLES": "glibc.malloc.check=3"} if debug.exists() else {}
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **checked}, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "finished"), done.stderr[-500:]


def test_conv_passes_groups_and_dilation_to_keras():
    model = one_layer(ops.Conv(4, 3, dilation=2, groups=2, bias=False), (9, 9, 6))
    layer = model.get_layer("op")
    assert (layer.groups, layer.dilation_rate, layer.use_bias) == (2, (2, 2), False)


@pytest.mark.parametrize("shape", [(3, 5, 6), (None, None, 6), (6,)])
@pytest.mark.parametrize(
    ("op", "channels"),
    [
        (ops.ChannelSlice(2, 5), [2, 3, 4]),
        (ops.ChannelSlice(0, 4), [0, 1, 2, 3]),
        (ops.ChannelSlice(4), [4, 5]),
        (ops.ChannelSlice(), [0, 1, 2, 3, 4, 5]),
        (ops.ChannelShuffle(2), [0, 3, 1, 4, 2, 5]),
        (ops.ChannelShuffle(3), [0, 2, 4, 1, 3, 5]),
    ],
)
def test_channels_are_sliced_and_shuffled_in_training_inference_and_files(op, channels, shape, tmp_path):
    model = one_layer(op, shape)
    x = np.random.default_rng(4).normal(size=(2, *(size or 4 for size in shape))).astype("float32")
    expected = x[..., channels]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    inference = kcnn.optimize_for_inference(model)
    assert not any(type(layer).__name__.startswith("Channel") for layer in inference.layers)
    for one in (model, loaded, inference):
        np.testing.assert_array_equal(one.predict(x, verbose=0), expected)
        assert one.output_shape[1:-1] == shape[:-1]
    read = kcnn.from_keras(loaded, input_shape=x.shape[1:])
    assert [layer.op for layer in read.outputs.values()] == [op]


def shift_weights(layer, seed=7):
    """Weights far from their initial values, where scales are 1 or 0 and offsets 0."""
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.weights])
    return [np.asarray(w, "float64") for w in layer.get_weights()]


def layer_norm(x, scale, offset):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-6) * scale + offset


def group_norm(x, scale, offset):
    groups = x.reshape(*x.shape[:3], 3, 2)
    mean, variance = groups.mean((1, 2, 4), keepdims=True), groups.var((1, 2, 4), keepdims=True)
    return ((groups - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape) * scale + offset


def global_response_norm(x, scale, offset):
    norms = np.sqrt((x**2).sum((1, 2), keepdims=True))
    return x + scale * x * norms / (norms.mean(-1, keepdims=True) + 1e-6) + offset


def standardized_conv(x, kernel):
    kernel = (kernel - kernel.mean((0, 1, 2))) / kernel.std((0, 1, 2))
    patches = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))
    return np.einsum("nyxcij,ijcf->nyxf", patches, kernel)


@pytest.mark.parametrize("shape", [(3, 5, 6), (None, None, 6)])
@pytest.mark.parametrize(
    ("op", "formula"),
    [
        (ops.LayerNorm(), layer_norm),
        (ops.GroupNorm(3), group_norm),
        (ops.GlobalResponseNorm(), global_response_norm),
        (ops.LayerScale(), lambda x, scale: x * scale),
        (ops.Conv(4, 3, padding="valid", bias=False, standardized=True), standardized_conv),
    ],
)
def test_norms_are_the_formulas_of_their_papers_in_training_inference_and_files(op, formula, shape, tmp_path):
    model = one_layer(op, shape)
    weights = shift_weights(model.layers[-1])
    x = np.random.default_rng(4).normal(1, 2, size=(2, 3, 5, 6)).astype("float32")
    expected = formula(x.astype("float64"), *weights)
    assert model.count_params() == op_costs.count_params(op, (3, 5, 6))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    inference = kcnn.optimize_for_inference(model)
    assert all(type(layer).__module__.startswith("keras.") for layer in inference.layers)
    for one in (model, loaded, inference):
        np.testing.assert_allclose(one.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5)
    read = kcnn.from_keras(loaded, input_shape=x.shape[1:])
    assert [layer.op for layer in read.outputs.values()] == [op]


def test_global_response_norm_has_a_finite_gradient_where_a_channel_is_zero():
    model = one_layer(ops.GlobalResponseNorm(), (3, 3, 4))
    model.compile("sgd", "mse")
    shift_weights(model.layers[-1])
    x = np.ones((2, 3, 3, 4), "float32") * np.array([0, 1, 2, 3], "float32")
    model.train_on_batch(x, np.zeros_like(x))
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_inference_folds_layer_norm_and_layer_scale_into_the_convolutions_beside_them():
    def backbone(x):
        for number in range(2):
            x = apply(ops.LayerNorm(), x, name=f"norm{number}")
            x = apply(ops.Conv(5, 1), x, name=f"conv{number}")
            x = apply(ops.LayerScale(0.5), x, name=f"scale{number}")
        return apply(ops.Activation("gelu"), apply(ops.LayerNorm(), x, name="last"), name="gelu")

    model = kcnn.build(kcnn.Architecture(backbone=backbone, reference="none", input_shape=(4, 4, 3)), classes=3, seed=0)
    for layer in model.layers:
        if hasattr(layer, "gamma"):
            shift_weights(layer)
    inference = kcnn.optimize_for_inference(model)
    norms = {layer.name: layer.scale for layer in inference.layers if "Normalization" in type(layer).__name__}
    assert norms == {"norm0": False, "norm1": False, "last": True}
    assert not any(layer.name.startswith("scale") for layer in inference.layers)
    x = np.random.default_rng(4).uniform(0, 255, (2, 4, 4, 3)).astype("float32")
    np.testing.assert_allclose(inference.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(5, 7, 2), (None, None, 2)])
def test_crop_cuts_edges_in_training_inference_and_files(shape, tmp_path):
    op = ops.Crop(((1, 2), (3, 0)))
    model = one_layer(op, shape)
    x = np.random.default_rng(4).normal(size=(2, 5, 7, 2)).astype("float32")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for one in (model, loaded, kcnn.optimize_for_inference(model)):
        np.testing.assert_array_equal(one.predict(x, verbose=0), x[:, 1:3, 3:])
    read = kcnn.from_keras(loaded, input_shape=x.shape[1:])
    assert [layer.op for layer in read.outputs.values()] == [op]


@pytest.mark.parametrize(
    "layer", [keras.layers.LeakyReLU(0.25), keras.layers.ReLU(negative_slope=0.25)], ids=["leaky", "relu"]
)
def test_leaky_relu_has_its_slope_in_keras_inference_and_files(layer, tmp_path):
    op = ops.LeakyRelu(0.25)
    model = one_layer(op, (2, 2, 1))
    model.save(tmp_path / "model.keras")
    x = np.array([-4, -1, 0, 3], "float32").reshape(1, 2, 2, 1)
    for one in (model, keras.saving.load_model(tmp_path / "model.keras"), kcnn.optimize_for_inference(model)):
        assert one.predict(x, verbose=0).flatten().tolist() == [-1, -0.25, 0, 3]
    image = keras.Input((2, 2, 1))
    read = kcnn.from_keras(keras.Model(image, layer(image)))
    assert [layer.op for layer in read.outputs.values()] == [op]


def test_local_response_norm_is_the_formula_of_the_paper():
    x = np.random.default_rng(3).normal(size=(2, 3, 3, 7)).astype("float32") * 40
    result = one_layer(ops.LocalResponseNorm(), (3, 3, 7)).predict(x, verbose=0)
    for channel in range(7):
        near = x[..., max(0, channel - 2) : channel + 3]
        expected = x[..., channel] / (2 + 1e-4 * (near**2).sum(-1)) ** 0.75
        np.testing.assert_allclose(result[..., channel], expected, rtol=1e-4)


def test_blocks_work_on_a_keras_input():
    image = keras.Input((None, None, 8))
    x = blocks.conv(image, 16, 3, stride=2, padding="half", norm=True, name="a")
    x = blocks.residual(x, 16, name="b")
    x = blocks.residual(x, 32, stride=2, name="c")
    x = blocks.inverted_residual(x, 32, 64, name="d")
    x = blocks.inception(x, 4, 4, 4, 4, 4, 4, name="e")
    model = keras.Model(image, blocks.head(x, 5))
    assert model(np.zeros((1, 20, 23, 8), "float32")).shape == (1, 5)
    assert {layer.name for layer in model.layers} >= {"c_skip", "d_add", "e_5x5"}
    assert "b_skip" not in {layer.name for layer in model.layers}


def test_rescale_per_channel_sees_gray_as_color_and_takes_its_values_in_turn():
    scale = kcnn.get_architecture("resnet18.torchvision").rescale.scale
    for channels, expected in ((1, scale), (2, scale[::2]), (3, scale), (4, (*scale, scale[0]))):
        model = kcnn.build("resnet18.torchvision", input_shape=(32, 32, channels), classes=2, outputs=["rescale"])
        assert model.get_layer("rescale").scale == list(expected)
        assert model.output_shape[-1] == len(expected)
    rgb = kcnn.build("resnet18.torchvision", input_shape=(32, 32, 3), classes=2, outputs=["rescale"])
    pixel = np.full((1, 32, 32, 3), 255, "float32")
    expected = (1 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(rgb.predict(pixel, verbose=0)[0, 0, 0], expected, rtol=1e-5)


def test_padding_leaves_a_layer_its_name():
    def body(x):
        x = apply(ops.Conv(4, 3, stride=2, padding="half"), x, name="one")  # Keras needs a layer for its padding
        return apply(ops.Conv(5, 3), apply(ops.Pool(3, 2, padding="half"), x, name="one_pad"), name="one_pad_2")

    model = kcnn.build(kcnn.Architecture(backbone=body, reference="none"), input_shape=(16, 16, 3), classes=2)
    assert model.get_layer("one_pad_2").filters == 5
    assert isinstance(model.get_layer("one_pad"), keras.layers.MaxPooling2D)
