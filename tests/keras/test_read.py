"""Sketches read back from Keras graphs."""

import keras
import numpy as np
import pytest

import kcnn
from kcnn.plots.network import plot_network


def test_kerass_resnet50_is_measured_right():
    model = keras.applications.ResNet50(weights=None)
    found, ours = kcnn.summary(kcnn.from_keras(model)), kcnn.summary("resnet50.keras")
    assert found.params + found.non_trainable_params == model.count_params()
    assert (found.params, found.non_trainable_params, found.macs) == (ours.params, ours.non_trainable_params, ours.macs)
    assert found.receptive_field == (483, 483)


@pytest.mark.every
@pytest.mark.parametrize(
    ("model", "gmacs"),
    [
        ("VGG16", 15.4703),
        ("InceptionV3", 5.7132),
        ("MobileNetV2", 0.3008),
        ("DenseNet121", None),
        ("Xception", None),
        ("EfficientNetB0", None),
    ],
)
def test_keras_applications_are_measured_right(model, gmacs):
    built = getattr(keras.applications, model)(weights=None)
    found = kcnn.summary(kcnn.from_keras(built))
    assert found.params + found.non_trainable_params == built.count_params()
    assert found.params == sum(int(np.prod(w.shape)) for w in built.trainable_weights)
    if gmacs:
        assert found.macs / 1e9 == pytest.approx(gmacs, abs=6e-5)


def test_padding_before_a_window_is_folded_into_it_where_that_is_the_same():
    image = keras.Input((9, 9, 2))
    x = keras.layers.ZeroPadding2D(((1, 0), (2, 2)))(image)
    x = keras.layers.Conv2D(3, 3, name="conv")(x)
    x = keras.layers.MaxPooling2D(2, name="pool")(keras.layers.ZeroPadding2D(1, name="pad")(x))
    rows = kcnn.summary(kcnn.from_keras(keras.Model(image, x)))
    assert rows["conv"].op.padding == ((1, 0), (2, 2))
    assert rows["conv"].offset == (-1, -2)
    assert rows["pad"].op == kcnn.graph.ops.Pad(1)  # zeros are not what max pooling pads with
    assert rows["pool"].offset == (-2, -3)


def test_cropping_moves_what_is_seen_and_costs_nothing():
    image = keras.Input((20, 20, 2))
    x = keras.layers.Conv2D(3, 3, strides=2, name="conv")(image)
    x = keras.layers.Cropping2D(((1, 2), (3, 0)), name="crop")(x)
    model = keras.Model(image, keras.layers.Conv2D(4, 3, name="last")(x))
    rows = kcnn.summary(kcnn.from_keras(model))
    assert (rows["crop"].shape, rows["crop"].macs, rows["crop"].params) == ((6, 6, 3), 0, 0)
    assert rows["crop"].offset == (2, 6)
    assert rows["last"].receptive_field == (7, 7)
    for position in ((0, 0), (3, 3), (1, 2)):
        field = kcnn.explain.measured_field(model, "last", position)
        assert field.agrees
        assert field.rows[0] == 2 + 2 * position[0]
    assert "crop" in plot_network(kcnn.from_keras(model))


def test_an_unknown_layer_is_opaque_but_counted():
    image = keras.Input((8, 8, 4))
    x = keras.layers.LayerNormalization(name="norm")(image)
    x = keras.layers.Conv2D(2, 3, name="conv", activation="relu")(x * 2.0)
    rows = kcnn.summary(kcnn.from_keras(keras.Model(image, x)))
    assert rows["norm"].params == 8
    assert rows["conv"].params == 74
    assert rows["conv_relu"].op == kcnn.graph.ops.Activation("relu")


def test_a_layer_used_twice_has_its_parameters_once():
    image = keras.Input((8, 8, 4))
    conv = keras.layers.Conv2D(4, 3, padding="same", name="conv")
    model = keras.Model(image, conv(conv(image)))
    assert kcnn.summary(kcnn.from_keras(model)).params == model.count_params()


def test_two_outputs_of_one_layer_are_two_ends():
    image, other = keras.Input((4,)), keras.Input((4,))
    dense = keras.layers.Dense(2, name="dense")
    assert len(kcnn.from_keras(keras.Model([image, other], [dense(image), dense(other)])).outputs) == 2


def test_frozen_layers_keep_their_parameters():
    model = kcnn.build("convnet")
    model.trainable = False
    assert kcnn.summary(kcnn.from_keras(model)).params == 13_066


def test_an_open_model_is_read_at_a_given_size():
    model = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(None, None, 3))
    with pytest.raises(ValueError, match=r"is open.*an input_shape"):
        kcnn.from_keras(model)
    assert kcnn.summary(kcnn.from_keras(model, (224, 224, 3))).macs > 2.9e8


def test_a_read_sketch_is_not_patched_and_says_why():
    with pytest.raises(ValueError, match="has no body that could be drawn again"):
        kcnn.from_keras(kcnn.build("convnet")).with_overrides({"conv1.kernel": 3})


def test_what_is_no_graph_is_refused():
    with pytest.raises(TypeError, match="takes a Keras model"):
        kcnn.from_keras("googlenet")

    class Own(keras.Model):
        pass

    with pytest.raises(TypeError, match="no graph to read"):
        kcnn.from_keras(Own())
