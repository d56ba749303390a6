"""Parallel linear branches that are added become one convolution; other branches stay."""

import keras
import numpy as np
import pytest

import kcnn
from tests.keras.test_deploy import outputs, randomize_norms, relative_error

L = keras.layers


def count(model, *classes):
    return sum(isinstance(one, classes) for one in model.layers)


def convolutions(model):
    return [one for one in model.layers if isinstance(one, L.Conv2D | L.DepthwiseConv2D)]


def optimize(model, shape=None):
    """The optimized model, after checking that it computes the same on random images."""
    optimized = kcnn.optimize_for_inference(randomize_weights(model))
    x = np.random.default_rng(1).normal(size=(2, *(shape or model.input_shape[1:]))).astype("float32")
    for values, expected in zip(outputs(optimized, x), outputs(model, x), strict=True):
        assert values.shape == expected.shape
        assert relative_error(values, expected) <= 1e-5
    return optimized


def randomize_weights(model, seed=0):
    generator = np.random.default_rng(seed)
    for layer in randomize_norms(model)._flatten_layers():
        if isinstance(layer, L.Conv2D | L.DepthwiseConv2D):
            layer.set_weights([generator.normal(size=w.shape) for w in layer.weights])
    return model


def make_random_branch(generator, channels, stride, depthwise):
    """A function that puts a random convolution, padded as a 3x3 is by one pixel or by Keras' rule."""
    kernel = [int(k) for k in generator.choice([1, 2, 3, 4, 5], 2)]
    dilation = [int(d) for d in (generator.choice([1, 2, 3], 2) if stride == 1 else (1, 1))]
    padding = str(generator.choice(["same", "half", "valid"]))
    settings = {"strides": stride, "dilation_rate": dilation, "use_bias": bool(generator.integers(2))}
    if padding == "half":
        extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        sides = [(e // 2, e - 1 - e // 2) for e in extents]
    if depthwise:
        layer = L.DepthwiseConv2D(kernel, padding="same" if padding == "same" else "valid", **settings)
    else:
        groups = int(generator.choice([1, 2, 3, 6]))
        layer = L.Conv2D(channels, kernel, padding="same" if padding == "same" else "valid", groups=groups, **settings)
    norm = L.BatchNormalization() if generator.integers(2) else None

    def apply(x):
        x = layer(L.ZeroPadding2D(sides)(x) if padding == "half" else x)
        return norm(x) if norm else x

    return apply


@pytest.mark.parametrize("seed", range(2))
def test_optimize_for_inference_computes_the_same_on_random_branches(seed):
    check_random_branches(range(6 * seed, 6 * seed + 6))


@pytest.mark.every
def test_optimize_for_inference_computes_the_same_on_many_random_branches():
    assert check_random_branches(range(100, 400)) >= 60


def check_random_branches(seeds):
    """The number of networks whose branches were merged."""
    merged = 0
    for seed in seeds:
        generator = np.random.default_rng(seed)
        stride, depthwise = int(generator.choice([1, 1, 2, 3])), bool(generator.integers(2))
        size = tuple(int(n) for n in generator.integers(16, 22, 2))
        is_open = bool(generator.integers(2))
        image = keras.Input((None, None, 6) if is_open else (*size, 6))
        shapes = {}
        for _ in range(int(generator.integers(2, 6))):
            y = make_random_branch(generator, 6, stride, depthwise)(image)
            shapes.setdefault(keras.Model(image, y).compute_output_shape((1, *size, 6)), []).append(y)
        branches = max(shapes.values(), key=len)
        if branches[0].shape[1:3] == image.shape[1:3] and shapes.get((1, *size, 6)) is branches:
            branches += [image] * int(generator.integers(2))
            branches += [L.BatchNormalization()(image)] * int(generator.integers(2))
        if len(branches) == 1:
            continue
        model = keras.Model(image, L.Add()(branches))
        optimized = optimize(model, (*size, 6))
        norms = 6 * sum(isinstance(one._keras_history.operation, L.BatchNormalization) for one in branches)
        assert multiplications(optimized) <= multiplications(model) + norms
        merged += len(convolutions(optimized)) < len(convolutions(model))
    return merged


def multiplications(model):
    """Of the convolutions, for each pixel of their output."""
    return sum(int(np.prod(layer.kernel.shape)) for layer in convolutions(model))


def test_optimize_for_inference_merges_branches_of_any_kernels():
    image = keras.Input((9, 8, 6))
    branches = [L.Conv2D(6, kernel, padding="same") for kernel in ((3, 3), (3, 1), (1, 3), 1)]
    x = L.Add()([*(branch(image) for branch in branches), L.BatchNormalization()(image), image])
    assert [type(one) for one in optimize(keras.Model(image, L.ReLU()(x))).layers[1:]] == [L.Conv2D, L.ReLU]


@pytest.mark.parametrize("sums", ["+", "sum", "nested", "norm after"])
def test_optimize_for_inference_merges_branches_however_they_are_added(sums):
    image = keras.Input((None, None, 6))
    a, b = L.Conv2D(6, 3, padding="same", groups=2)(image), L.Conv2D(6, 1, groups=6, use_bias=False)(image)
    other = L.ReLU()(image)
    x = {
        "+": lambda: a + other + b,
        "sum": lambda: sum([a, other, b]),
        "nested": lambda: L.Add()([L.Add()([image, a]), L.Add()([other, b])]),
        "norm after": lambda: L.BatchNormalization()(L.Add()([a, b])),
    }[sums]()
    optimized = optimize(keras.Model(image, x), (9, 7, 6))
    assert len(convolutions(optimized)) == 1
    assert not count(optimized, L.BatchNormalization)
    assert convolutions(optimized)[0].groups == 2


def test_optimize_for_inference_merges_depthwise_branches_into_a_depthwise_convolution():
    image = keras.Input((9, 9, 4))
    x = L.Add()([
        L.DepthwiseConv2D(3, strides=2, padding="same")(image),
        L.DepthwiseConv2D(1, strides=2)(image),
        L.Conv2D(4, 3, strides=2, groups=4)(L.ZeroPadding2D(1)(image)),
    ])  # fmt: skip
    (layer,) = convolutions(optimize(keras.Model(image, x)))
    assert isinstance(layer, L.DepthwiseConv2D)


def test_optimize_for_inference_keeps_a_common_dilation():
    image = keras.Input((12, 12, 3))
    x = L.Conv2D(3, 3, dilation_rate=2, padding="same")(image) + L.Conv2D(3, 1)(image)
    (layer,) = convolutions(optimize(keras.Model(image, x)))
    assert (layer.kernel_size, layer.dilation_rate) == ((3, 3), (2, 2))


def test_optimize_for_inference_leaves_branches_that_are_no_convolution_together():
    def pair(first, second):
        image = keras.Input((8, 8, 4))
        return keras.Model(image, L.Add()([first(image), second(image)]))

    same = {"padding": "same"}
    kept = (
        pair(L.Conv2D(4, 3, activation="relu", **same), L.Conv2D(4, 1)),  # not linear
        pair(L.Conv2D(4, 3, strides=2, **same), lambda x: L.MaxPooling2D(2)(L.Conv2D(4, 1)(x))),
        pair(lambda x: L.Conv2D(4, 1)(L.ReLU()(x)), L.Conv2D(4, 3, **same)),  # of different tensors
        pair(L.Conv2D(4, 2, strides=2), L.Conv2D(4, 5)),  # of different strides
        pair(L.DepthwiseConv2D(3, **same), L.Conv2D(4, 1)),  # dearer together
        pair(L.Conv2D(4, 3, **same), L.Conv2D(4, 3, dilation_rate=2, **same)),
        pair(L.Conv2D(4, (1, 5), **same), L.Conv2D(4, (5, 1), **same)),
    )
    for model in kept:
        assert len(convolutions(optimize(model))) == 2


DEPLOYED = {  # parameters and 10^9 multiplications at 224 pixels, after merging
    "repvgg_a0": (8_309_384, 1.361),
    "repvgg_a1": (12_789_864, 2.364),
    "repvgg_a2": (25_499_944, 5.117),
    "repvgg_b0": (14_339_048, 3.058),
    "repvgg_b1": (51_829_480, 11.815),
    "repvgg_b1g4": (36_125_416, 7.307),
    "repvgg_b2": (80_315_112, 18.377),
    "repvgg_b3": (110_960_872, 26.209),
    "mobileone_s0": (2_078_504, 0.275),
    "mobileone_s1": (4_764_840, 0.825),
    "mobileone_s2": (7_808_168, 1.298),
    "mobileone_s3": (10_078_312, 1.896),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "repvgg_a0" else pytest.mark.every) for name in DEPLOYED]
)
def test_optimize_for_inference_has_the_counts_of_the_deployed_network(name):
    model = randomize_norms(kcnn.build(name))
    optimized = kcnn.optimize_for_inference(model)
    summary = kcnn.summary(kcnn.from_keras(optimized))
    assert (summary.params, round(summary.macs / 1e9, 3)) == DEPLOYED[name]
    assert not summary.non_trainable_params
    assert not count(optimized, L.Add, L.BatchNormalization)
    x = np.random.default_rng(0).uniform(0, 255, (1, 224, 224, 3)).astype("float32")
    assert relative_error(outputs(optimized, x)[0], outputs(model, x)[0]) <= 1e-4
