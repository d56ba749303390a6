"""Graphs read from Keras models."""

import keras
import numpy as np
import pytest

import kcnn
from kcnn.plots.network import plot_network


def test_from_keras_of_resnet50_gives_the_counts_of_keras():
    model = keras.applications.ResNet50(weights=None)
    theirs, ours = kcnn.summary(kcnn.from_keras(model)), kcnn.summary("resnet50.keras")
    assert theirs.params + theirs.non_trainable_params == model.count_params()
    assert (theirs.params, theirs.non_trainable_params, theirs.macs) == (
        ours.params,
        ours.non_trainable_params,
        ours.macs,
    )
    assert theirs.receptive_field == (483, 483)


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
def test_from_keras_of_keras_applications_gives_their_counts(model, gmacs):
    built = getattr(keras.applications, model)(weights=None)
    theirs = kcnn.summary(kcnn.from_keras(built))
    assert theirs.params + theirs.non_trainable_params == built.count_params()
    assert theirs.params == sum(int(np.prod(w.shape)) for w in built.trainable_weights)
    if gmacs:
        assert theirs.macs / 1e9 == pytest.approx(gmacs, abs=6e-5)


def test_from_keras_folds_padding_into_the_next_window_where_equivalent():
    image = keras.Input((9, 9, 2))
    x = keras.layers.ZeroPadding2D(((1, 0), (2, 2)))(image)
    x = keras.layers.Conv2D(3, 3, name="conv")(x)
    x = keras.layers.MaxPooling2D(2, name="pool")(keras.layers.ZeroPadding2D(1, name="pad")(x))
    rows = kcnn.summary(kcnn.from_keras(keras.Model(image, x)))
    assert rows["conv"].op.padding == ((1, 0), (2, 2))
    assert rows["conv"].offset == (-1, -2)
    assert rows["pad"].op == kcnn.graph.ops.Pad(1)  # zeros are not what max pooling pads with
    assert rows["pool"].offset == (-2, -3)


def test_from_keras_of_cropping_moves_receptive_fields_and_costs_nothing():
    image = keras.Input((20, 20, 2))
    x = keras.layers.Conv2D(3, 3, strides=2, name="conv")(image)
    x = keras.layers.Cropping2D(((1, 2), (3, 0)), name="crop")(x)
    model = keras.Model(image, keras.layers.Conv2D(4, 3, name="last")(x))
    rows = kcnn.summary(kcnn.from_keras(model))
    assert (rows["crop"].shape, rows["crop"].macs, rows["crop"].params) == ((6, 6, 3), 0, 0)
    assert rows["crop"].offset == (2, 6)
    assert rows["last"].receptive_field == (7, 7)
    for position in ((0, 0), (3, 3), (1, 2)):
        field = kcnn.explain.measure_receptive_field(model, "last", position)
        assert field.agrees
        assert field.rows[0] == 2 + 2 * position[0]
    assert "crop" in plot_network(kcnn.from_keras(model))


def test_from_keras_counts_unknown_layers():
    image = keras.Input((8, 8, 4))
    x = keras.layers.LayerNormalization(name="norm")(image)
    x = keras.layers.Conv2D(2, 3, name="conv", activation="relu")(x * 2.0)
    rows = kcnn.summary(kcnn.from_keras(keras.Model(image, x)))
    assert rows["norm"].params == 8
    assert rows["conv"].params == 74
    assert rows["conv_relu"].op == kcnn.graph.ops.Activation("relu")


def test_from_keras_counts_a_shared_layer_once():
    image = keras.Input((8, 8, 4))
    conv = keras.layers.Conv2D(4, 3, padding="same", name="conv")
    model = keras.Model(image, conv(conv(image)))
    assert kcnn.summary(kcnn.from_keras(model)).params == model.count_params()


def test_from_keras_gives_two_outputs_for_two_calls_of_a_layer():
    image, other = keras.Input((4,)), keras.Input((4,))
    dense = keras.layers.Dense(2, name="dense")
    assert len(kcnn.from_keras(keras.Model([image, other], [dense(image), dense(other)])).outputs) == 2


def test_from_keras_counts_frozen_layers():
    model = kcnn.build("convnet")
    model.trainable = False
    assert kcnn.summary(kcnn.from_keras(model)).params == 13_066


def test_from_keras_reads_an_open_model_at_a_given_size():
    model = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(None, None, 3))
    with pytest.raises(ValueError, match=r"has an open input .*an input_shape"):
        kcnn.from_keras(model)
    assert kcnn.summary(kcnn.from_keras(model, (224, 224, 3))).macs > 2.9e8


def test_from_keras_graph_takes_no_overrides():
    with pytest.raises(ValueError, match="was read from a Keras model and takes no overrides"):
        kcnn.from_keras(kcnn.build("convnet")).with_overrides({"conv1.kernel": 3})


def test_from_keras_refuses_models_without_a_graph():
    with pytest.raises(TypeError, match="expects a Keras model"):
        kcnn.from_keras("googlenet")

    class Own(keras.Model):
        pass

    with pytest.raises(TypeError, match="without a graph"):
        kcnn.from_keras(Own())


def test_from_keras_counts_nested_models_like_flat_ones():
    base = kcnn.build("mobilenet_v2", width=0.35, input_shape=(96, 96, 3), top=False)
    flat = kcnn.summary(kcnn.from_keras(base))
    image = keras.Input((96, 96, 3))
    x = keras.layers.GlobalAveragePooling2D()(base(image * 1.0, training=False))
    model = keras.Model(image, keras.layers.Dense(5, name="scores")(x))
    rows = kcnn.summary(kcnn.from_keras(keras.Sequential([keras.Input((96, 96, 3)), model])))
    assert rows.macs == flat.macs + 1280 * 5
    assert rows.params + rows.non_trainable_params == model.count_params()
    assert rows.receptive_field == flat.receptive_field
    assert rows.stride == (32, 32)
    assert rows.uncounted == ()
    assert {row.name for row in flat} - {"image"} < {row.name for row in rows}


def test_from_keras_counts_each_call_of_a_shared_layer():
    image = keras.Input((8, 8, 4))
    conv = keras.layers.Conv2D(4, 3, padding="same", use_bias=False, name="conv")
    rows = kcnn.summary(kcnn.from_keras(keras.Model(image, conv(conv(image)))))
    assert rows.macs == 2 * 8 * 8 * 9 * 4 * 4
    assert rows.params == 9 * 4 * 4
    assert rows.receptive_field == (5, 5)


@pytest.mark.parametrize(
    ("layer", "macs", "params"),
    [  # on maps of 6x6x4
        (keras.layers.Dense(5), 36 * 4 * 5, 4 * 5 + 5),
        (keras.layers.Conv2DTranspose(5, 3, strides=2), 36 * 9 * 4 * 5, 9 * 4 * 5 + 5),
        (keras.layers.DepthwiseConv2D(3, depth_multiplier=2), 16 * 9 * 4 * 2, 9 * 4 * 2 + 8),
        (keras.layers.SeparableConv2D(5, 3, depth_multiplier=2), 16 * (9 * 4 * 2 + 8 * 5), 9 * 4 * 2 + 8 * 5 + 5),
        (keras.layers.Conv2D(5, 3, dilation_rate=2), 4 * 9 * 4 * 5, 9 * 4 * 5 + 5),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, keras.layers.Layer) else None,
)
def test_from_keras_counts_macs_of_every_kernel(layer, macs, params):
    image = keras.Input((6, 6, 4))
    rows = kcnn.summary(kcnn.from_keras(keras.Model(image, layer(image))))
    assert (rows.macs, rows.params, rows.uncounted) == (macs, params, ())


def test_summary_names_layers_that_it_does_not_count():
    image = keras.Input((6, 6, 4))
    x = keras.layers.Conv2DTranspose(4, 2, strides=2, name="up")(image)
    x = keras.layers.Reshape((144, 4))(x)
    x = keras.layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    x = keras.ops.matmul(x, keras.ops.transpose(x, (0, 2, 1)))
    rows = kcnn.summary(kcnn.from_keras(keras.Model(image, keras.layers.LSTM(3, name="lstm")(x))))
    assert [name for name in rows.uncounted if "matmul" not in name] == ["attention", "lstm"]
    assert len(rows.uncounted) == 3
    text = str(rows)
    assert f"at least {rows.macs:,} for an image of 6x6x4" in text
    assert "attention (MultiHeadAttention)" in text
    assert "receptive field unknown behind up (Conv2DTranspose)" in text


def test_summary_does_not_count_a_function_in_a_lambda():
    image = keras.Input((6, 6, 4))
    x = keras.layers.Lambda(lambda x: keras.ops.matmul(x, keras.ops.ones((4, 5))), name="own")(image)
    rows = kcnn.summary(kcnn.from_keras(keras.Model(image, x)))
    assert rows.uncounted == ("own",)
    assert "receptive field unknown behind own (Lambda)" in str(rows)
