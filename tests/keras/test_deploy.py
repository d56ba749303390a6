"""A deployed model computes what the network does in inference, of Keras' own layers alone."""

import keras
import numpy as np
import pytest

import kcnn

L = keras.layers
RNG = np.random.default_rng(0)


def learned(model):
    """The model with norms that are not what they begin as."""
    for layer in model._flatten_layers():
        if isinstance(layer, L.BatchNormalization):
            spread = {"gamma": (0.5, 1.5), "moving_variance": (0.5, 1.5)}
            layer.set_weights([RNG.uniform(*spread.get(w.name, (-0.2, 0.2)), w.shape) for w in layer.weights])
    return model


def away(found, wanted):
    """The largest difference, as a share of the largest number."""
    return np.abs(found - wanted).max() / np.abs(wanted).max()


def outputs(model, x):
    return [keras.ops.convert_to_numpy(one) for one in keras.tree.flatten(model(x, training=False))]


def same(model, rel=1e-5, scale=255.0, count=2):
    """The deployed model, once it is shown to give the same numbers and classes."""
    deployed = kcnn.optimize_for_inference(model)
    x = RNG.uniform(0, scale, (count, *model.input_shape[1:])).astype("float32")
    for found, wanted in zip(outputs(deployed, x), outputs(model, x), strict=True):
        assert away(found, wanted) < rel
        assert (found.argmax(-1) == wanted.argmax(-1)).all()
    return deployed


def norms(model):
    return [layer.name for layer in model.layers if isinstance(layer, L.BatchNormalization)]


def check(name):
    size = kcnn.min_input_size(name, aux=False)
    channels = kcnn.trace(name).input_shape[2]
    deployed = same(learned(kcnn.build(name, input_shape=(size, size, channels), classes=7)), rel=1e-4, count=8)
    assert {type(one).__module__.partition(".")[0] for one in deployed.operations} == {"keras"}
    return deployed


@pytest.mark.parametrize("act", ["relu", "tanh"])
def test_a_max_pools_margin_is_finite_in_a_deployed_model_so_that_8_bits_can_hold_it(act):
    from kcnn.keras_bridge.layers import Pad2D

    image = keras.Input((13, 13, 3))
    x = L.Activation(act)(L.Conv2D(4, 3)(image))
    x = L.MaxPooling2D(3, 2)(Pad2D(((1, 1), (1, 2)), "lowest")(x))
    model = keras.Model(image, L.Dense(3)(L.Flatten()(x)))
    x = RNG.uniform(-1, 1, (8, 13, 13, 3)).astype("float32")
    deployed = kcnn.optimize_for_inference(model)
    np.testing.assert_allclose(outputs(deployed, x)[0], outputs(model, x)[0], atol=1e-5)
    kept = keras.Model(deployed.input, [one.output for one in deployed.operations[1:]])
    assert all(np.isfinite(one).all() for one in outputs(kept, x))


def test_a_deployed_model_says_what_goes_in_and_comes_out():
    model = kcnn.build("lenet5", classes=2)
    model.update_metadata(classes=["ant", "bee"])
    said = kcnn.optimize_for_inference(model).metadata
    assert (said["input_shape"], said["pixels"], said["classes"]) == ([32, 32, 1], [0, 255], ["ant", "bee"])
    assert kcnn.optimize_for_inference(keras.Sequential([keras.Input((4,)), L.Dense(3)])).metadata["classes"] == 3


@pytest.mark.parametrize("name", ["lenet5", "alexnet", "resnet20"])
def test_a_deployed_model_is_saved_and_loaded_by_keras_alone(name, tmp_path):
    deployed = check(name)
    deployed.save(tmp_path / "plain.keras")
    x = RNG.uniform(0, 255, (2, *deployed.input_shape[1:])).astype("float32")
    again = keras.saving.load_model(tmp_path / "plain.keras")
    assert (outputs(again, x)[0] == outputs(deployed, x)[0]).all()


@pytest.mark.parametrize("grouped", [1, 2])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_norms_behind_convolutions_are_gone_and_those_before_where_that_is_exact(grouped, padding):
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
    deployed = same(learned(keras.Model(image, x)), scale=1.0)
    assert norms(deployed) == ([] if padding == "valid" else ["before", "before_depthwise"])


def test_a_norm_stays_where_its_input_or_output_is_seen_elsewhere_too():
    image = keras.Input((6, 6, 3))
    conv = L.Conv2D(3, 1, name="conv")(image)
    first = L.BatchNormalization(name="first")(conv)
    second = L.BatchNormalization(name="second")(L.Conv2D(3, 1, activation="relu")(first))
    both = L.Add()([conv, first, second])
    deployed = same(learned(keras.Model(image, [both, second])), scale=1.0)
    assert norms(deployed) == ["first", "second"]


def test_what_only_training_needs_is_gone():
    image = keras.Input((8, 8, 3))
    x = L.RandomFlip()(L.GaussianNoise(0.1)(L.Rescaling(1 / 255)(image)))
    x = L.Dense(4)(L.Dropout(0.5)(L.Flatten()(x)))
    deployed = same(keras.Model(image, x))
    assert [type(one).__name__ for one in deployed.layers] == ["InputLayer", "Rescaling", "Flatten", "Dense"]


def test_pixels_scaled_before_a_convolution_without_margin_are_scaled_in_its_kernel():
    image = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 3)(L.Rescaling([0.1, 0.2, 0.3], [1.0, -2.0, 3.0])(image))
    assert [type(one).__name__ for one in same(keras.Model(image, x)).layers] == ["InputLayer", "Conv2D"]


def test_auxiliary_classifiers_are_left_out():
    model = learned(kcnn.build("googlenet.bn", input_shape=(65, 65, 1), classes=4, aux=True))
    assert same(model).output_shape == (None, 4)


def test_a_nested_model_is_laid_flat_and_a_layer_used_twice_stays_right():
    image = keras.Input((8, 8, 3))
    shared = L.Conv2D(3, 1, name="shared")
    twice = L.BatchNormalization(name="norm")(shared(shared(image)))
    inner = keras.Model(image, twice, name="inner")
    outer = keras.Sequential(
        [keras.Input((8, 8, 3)), L.Conv2D(3, 3, padding="same", name="shared"), inner, L.Flatten(), L.Dense(2)]
    )
    deployed = same(learned(outer), scale=1.0)
    assert not any(isinstance(one, keras.Model) for one in deployed.layers)
    assert not norms(deployed)


def test_probabilities_are_added_on_request():
    model = kcnn.build("convnet", classes=3)
    x = RNG.uniform(0, 255, (2, *model.input_shape[1:])).astype("float32")
    wanted = keras.ops.softmax(outputs(model, x)[0])
    np.testing.assert_allclose(outputs(kcnn.optimize_for_inference(model, softmax=True), x)[0], wanted, rtol=1e-5)


def test_half_precision_is_gone_and_the_numbers_are_those_of_the_weights():
    with_policy = keras.dtype_policies.DTypePolicy("mixed_float16")
    image = keras.Input((8, 8, 3))
    x = L.BatchNormalization(dtype=with_policy)(L.Conv2D(4, 3, dtype=with_policy)(image))
    deployed = kcnn.optimize_for_inference(learned(keras.Model(image, x)))
    assert {one.compute_dtype for one in deployed.layers} == {"float32"}


def test_a_layer_from_elsewhere_with_weights_says_what_it_is_made_of_or_is_refused():
    class Own(L.Layer):
        def build(self, shape):
            self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

        def call(self, x):
            return x * self.scale

    image = keras.Input((4, 4, 3))
    with pytest.raises(TypeError, match=r"layer 'mine' is a .*Own.* to_inference_layer"):
        kcnn.optimize_for_inference(keras.Model(image, Own(name="mine")(image)))
    with pytest.raises(TypeError, match="functional or sequential Keras model, not 3"):
        kcnn.optimize_for_inference(3)


@pytest.mark.every
@pytest.mark.parametrize("name", ["MobileNetV2", "Xception", "DenseNet121", "EfficientNetB0", "NASNetMobile"])
def test_keras_applications_are_deployed_too(name):
    model = learned(getattr(keras.applications, name)(weights=None, classes=9, classifier_activation=None))
    deployed = same(model, rel=1e-4)
    if name == "DenseNet121":  # of 121 stand the stem's and 58 of the dense blocks behind a convolution, the rest not
        assert len(norms(deployed)) == 121 - 59
    else:
        assert len(norms(deployed)) < len(norms(model)) / 2
