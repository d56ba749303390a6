"""A model optimized for inference computes what the network does, with Keras' own layers alone."""

import keras
import numpy as np
import pytest

import kcnn
from kcnn.keras_bridge import keras_graph

L = keras.layers
RNG = np.random.default_rng(0)


def randomize_norms(model):
    """The model with random statistics in its batch norms."""
    for layer in model._flatten_layers():
        if isinstance(layer, L.BatchNormalization):
            spread = {"gamma": (0.5, 1.5), "moving_variance": (0.5, 1.5)}
            layer.set_weights([RNG.uniform(*spread.get(w.name, (-0.2, 0.2)), w.shape) for w in layer.weights])
    return model


def relative_error(values, expected):
    """The largest difference, relative to the largest value."""
    return np.abs(values - expected).max() / np.abs(expected).max()


def outputs(model, x):
    return [keras.ops.convert_to_numpy(one) for one in keras.tree.flatten(model(x, training=False))]


def optimize(model, rel=1e-5, scale=255.0, count=2):
    """The model optimized for inference, after checking that it gives the same scores and classes."""
    optimized = kcnn.optimize_for_inference(model)
    x = RNG.uniform(0, scale, (count, *model.input_shape[1:])).astype("float32")
    for values, expected in zip(outputs(optimized, x), outputs(model, x), strict=True):
        assert relative_error(values, expected) < rel
        assert (values.argmax(-1) == expected.argmax(-1)).all()
    return optimized


def norms(model):
    return [layer.name for layer in model.layers if isinstance(layer, L.BatchNormalization)]


def check(name):
    size = kcnn.min_input_size(name)
    channels = kcnn.trace(name).input_shape[2]
    optimized = optimize(
        randomize_norms(kcnn.build(name, input_shape=(size, size, channels), classes=7)), rel=1e-4, count=8
    )
    assert {type(one).__module__.partition(".")[0] for one in optimized.operations} == {"keras"}
    return optimized


@pytest.mark.parametrize("act", ["relu", "tanh"])
def test_optimize_for_inference_makes_the_padding_of_max_pools_finite(act):
    from kcnn.keras_bridge.layers import Pad2D

    image = keras.Input((13, 13, 3))
    x = L.Activation(act)(L.Conv2D(4, 3)(image))
    x = L.MaxPooling2D(3, 2)(Pad2D(((1, 1), (1, 2)), "lowest")(x))
    model = keras.Model(image, L.Dense(3)(L.Flatten()(x)))
    x = RNG.uniform(-1, 1, (8, 13, 13, 3)).astype("float32")
    optimized = kcnn.optimize_for_inference(model)
    np.testing.assert_allclose(outputs(optimized, x)[0], outputs(model, x)[0], atol=1e-5)
    inner = keras.Model(optimized.input, [one.output for one in optimized.operations[1:]])
    assert all(np.isfinite(one).all() for one in outputs(inner, x))


def test_optimize_for_inference_describes_input_and_output():
    model = kcnn.build("lenet5", classes=2)
    model.update_metadata(classes=["ant", "bee"])
    metadata = kcnn.optimize_for_inference(model).metadata
    assert (metadata["input_shape"], metadata["pixels"], metadata["classes"]) == ([32, 32, 1], [0, 255], ["ant", "bee"])
    assert kcnn.optimize_for_inference(keras.Sequential([keras.Input((4,)), L.Dense(3)])).metadata["classes"] == 3


@pytest.mark.parametrize("name", ["lenet5", "alexnet", "resnet20"])
def test_optimize_for_inference_gives_a_model_that_keras_alone_loads(name, tmp_path):
    optimized = check(name)
    optimized.save(tmp_path / "plain.keras")
    x = RNG.uniform(0, 255, (2, *optimized.input_shape[1:])).astype("float32")
    again = keras.saving.load_model(tmp_path / "plain.keras")
    assert (outputs(again, x)[0] == outputs(optimized, x)[0]).all()


@pytest.mark.parametrize("grouped", [1, 2])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_optimize_for_inference_folds_norms_after_convolutions_and_before_where_exact(grouped, padding):
    image = keras.Input((9, 9, 4))
    x = L.BatchNormalization(name="before")(image)
    x = L.Conv2D(6, 3, padding=padding, groups=grouped, use_bias=False)(x)
    x = L.BatchNormalization(name="behind")(x)
    x = L.DepthwiseConv2D(3, padding=padding, depth_multiplier=2)(x)
    x = L.BatchNormalization(name="behind_depthwise", scale=False)(x)
    x = L.Activation("relu")(x)
    x = L.BatchNormalization(name="before_depthwise")(x)
    x = L.DepthwiseConv2D(3, padding=padding, activation="tanh", depth_multiplier=2)(x)
    x = L.BatchNormalization(name="before_dense", center=False)(L.GlobalAveragePooling2D()(x))
    x = L.BatchNormalization(name="behind_dense")(L.Dense(5)(x))
    optimized = optimize(randomize_norms(keras.Model(image, x)), scale=1.0)
    assert norms(optimized) == ([] if padding == "valid" else ["before", "before_depthwise"])


def test_optimize_for_inference_keeps_a_norm_whose_input_or_output_is_used_elsewhere():
    image = keras.Input((6, 6, 3))
    conv = L.Conv2D(3, 1, name="conv")(image)
    first = L.BatchNormalization(name="first")(conv)
    second = L.BatchNormalization(name="second")(L.Conv2D(3, 1, activation="relu")(first))
    both = L.Add()([conv, first, second])
    optimized = optimize(randomize_norms(keras.Model(image, [both, second])), scale=1.0)
    assert norms(optimized) == ["first", "second"]


def test_optimize_for_inference_removes_training_only_layers():
    image = keras.Input((8, 8, 3))
    x = L.RandomFlip()(L.GaussianNoise(0.1)(L.Rescaling(1 / 255)(image)))
    x = L.Dense(4)(L.Dropout(0.5)(L.Flatten()(x)))
    optimized = optimize(keras.Model(image, x))
    assert [type(one).__name__ for one in optimized.layers] == ["InputLayer", "Rescaling", "Flatten", "Dense"]


def test_optimize_for_inference_finds_a_softmax_before_any_training_only_layer():
    tested = (L.SpatialDropout3D(0.5), L.RandomBrightness(0.1), L.RandomErasing(), L.CutMix(), L.GaussianNoise(0.1))
    for layer in tested:
        image = keras.Input((8, 8, 3))
        x = L.Reshape((1, 1, 1, 3))(L.Softmax()(L.GlobalAveragePooling2D()(image)))
        x = L.Flatten()(layer(x) if isinstance(layer, L.SpatialDropout3D) else layer(L.Reshape((1, 1, 3))(x)))
        assert keras_graph.output_activation(keras.Model(image, x).outputs[0]) == "softmax", layer.name


def test_optimize_for_inference_folds_rescaling_into_a_convolution_without_padding():
    image = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 3)(L.Rescaling([0.1, 0.2, 0.3], [1.0, -2.0, 3.0])(image))
    assert [type(one).__name__ for one in optimize(keras.Model(image, x)).layers] == ["InputLayer", "Conv2D"]


def test_optimize_for_inference_leaves_auxiliary_classifiers_out():
    model = randomize_norms(kcnn.build("googlenet.bn", input_shape=(65, 65, 1), classes=4, aux=True))
    assert optimize(model).output_shape == (None, 4)


def test_optimize_for_inference_flattens_nested_models_and_shared_layers():
    image = keras.Input((8, 8, 3))
    shared = L.Conv2D(3, 1, name="shared")
    twice = L.BatchNormalization(name="norm")(shared(shared(image)))
    inner = keras.Model(image, twice, name="inner")
    outer = keras.Sequential(
        [keras.Input((8, 8, 3)), L.Conv2D(3, 3, padding="same", name="shared"), inner, L.Flatten(), L.Dense(2)]
    )
    optimized = optimize(randomize_norms(outer), scale=1.0)
    assert not any(isinstance(one, keras.Model) for one in optimized.layers)
    assert not norms(optimized)


def test_optimize_for_inference_keeps_the_statistics_of_an_adapted_normalization():
    image = keras.Input((8, 8, 3))
    normalization = L.Normalization()
    normalization.adapt(RNG.uniform(0, 255, (64, 8, 8, 3)))
    x = L.GlobalAveragePooling2D()(L.Conv2D(4, 3)(normalization(image)))
    model = keras.Model(image, L.Dense(3)(x))
    optimize(model)


def test_optimize_for_inference_adds_probabilities_on_request():
    model = kcnn.build("convnet", classes=3)
    x = RNG.uniform(0, 255, (2, *model.input_shape[1:])).astype("float32")
    expected = keras.ops.softmax(outputs(model, x)[0])
    optimized = kcnn.optimize_for_inference(model, probabilities=True)
    np.testing.assert_allclose(outputs(optimized, x)[0], expected, rtol=1e-5)


def test_optimize_for_inference_computes_in_float32():
    with_policy = keras.dtype_policies.DTypePolicy("mixed_float16")
    image = keras.Input((8, 8, 3))
    x = L.BatchNormalization(dtype=with_policy)(L.Conv2D(4, 3, dtype=with_policy)(image))
    optimized = kcnn.optimize_for_inference(randomize_norms(keras.Model(image, x)))
    assert {one.compute_dtype for one in optimized.layers} == {"float32"}


def test_optimize_for_inference_refuses_foreign_layers_without_to_inference_layer():
    class Own(L.Layer):
        def build(self, shape):
            self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

        def call(self, x):
            return x * self.scale

    image = keras.Input((4, 4, 3))
    with pytest.raises(TypeError, match=r"layer 'mine' is a .*Own.* to_inference_layer"):
        kcnn.optimize_for_inference(keras.Model(image, Own(name="mine")(image)))
    with pytest.raises(TypeError, match="functional or sequential Keras model, got 3"):
        kcnn.optimize_for_inference(3)


class Twice:
    """Let a layer compute twice what its class does."""

    def call(self, x, **kwargs):
        return 2 * super().call(x, **kwargs)


class TwiceRescaling(Twice, L.Rescaling): ...


class TwiceDropout(Twice, L.Dropout): ...


class TwiceConv2D(Twice, L.Conv2D):
    def to_inference_layer(self, x):
        own = L.Conv2D(4, 3)
        y = own(x)
        own.set_weights(self.get_weights())
        return 2 * y


class TwiceBatchNormalization(Twice, L.BatchNormalization): ...


class TwiceDense(Twice, L.Dense): ...


@pytest.mark.parametrize("derived", [TwiceDropout(0.5), TwiceConv2D(4, 3)])
def test_optimize_for_inference_takes_a_derived_layer_for_what_it_computes(derived):
    image = keras.Input((8, 8, 3))
    x = L.Conv2D(3, 3, name="before")(image)
    x = L.BatchNormalization()(L.Conv2D(4, 3, name="after")(derived(x)))
    optimize(randomize_norms(keras.Model(image, L.Dense(2)(L.Flatten()(x)))))


@pytest.mark.parametrize("derived", [TwiceRescaling(0.5), TwiceBatchNormalization(), TwiceDense(3)])
def test_optimize_for_inference_refuses_a_derived_layer_that_it_cannot_rebuild(derived):
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, L.Conv2D(2, 3)(derived(L.Conv2D(3, 3)(image))))
    with pytest.raises(TypeError, match=r"is a Twice.* to_inference_layer"):
        kcnn.optimize_for_inference(model)


@pytest.mark.every
@pytest.mark.parametrize("name", ["MobileNetV2", "Xception", "DenseNet121", "EfficientNetB0", "NASNetMobile"])
def test_optimize_for_inference_takes_keras_applications(name):
    model = randomize_norms(getattr(keras.applications, name)(weights=None, classes=9, classifier_activation=None))
    optimized = optimize(model, rel=1e-4)
    if name == "DenseNet121":  # of 121, the stem's and 58 of the dense blocks follow a convolution
        assert len(norms(optimized)) == 121 - 59
    else:
        assert len(norms(optimized)) < len(norms(model)) / 2
