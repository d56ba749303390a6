"""Receptive fields that are measured by gradients agree with the arithmetic of kcnn.summary."""

import keras
import pytest

import kcnn
from kcnn.explain import measure_receptive_field
from kcnn.graph import ops
from tests.runs.test_inspect import SMALL


@pytest.mark.parametrize(
    ("name", "layer", "shape"),
    [
        pytest.param("resnet20", "stage1_unit3", (32, 32, 3), marks=pytest.mark.every),
        ("resnet20", "stage2_unit2", (64, 64, 3)),
        pytest.param("resnet18", "stage2_unit2_b", (96, 96, 3), marks=pytest.mark.every),
        ("googlenet", "inception_3b", (112, 112, 3)),
        ("vgg11", "conv3_2", (64, 64, 3)),
        pytest.param("mobilenet_v1", "unit4_depthwise", (64, 64, 3), marks=pytest.mark.every),
        ("mobilenet_v3_small", "unit4_depthwise_bn", (64, 64, 3)),
        ("mobilenet_v3_small", "unit1_squeeze", (64, 64, 3)),
        ("lenet5", "c3", (32, 32, 1)),
        pytest.param("inception_v3", "mixed0_pool", (99, 99, 3), marks=pytest.mark.every),
    ],
)
def test_measure_receptive_field_agrees_with_arithmetic(name, layer, shape):
    model = kcnn.build(name, input_shape=shape, top=False)
    row = kcnn.summary(kcnn.from_keras(model))[layer]
    for position in (None, (0, 0), (row.shape[0] - 1, 0)):
        field = measure_receptive_field(model, layer, position)
        assert field.agrees, field
        assert field.size == row.receptive_field
        begin = row.offset[0] + field.position[0] * row.stride[0]
        if begin >= 0 and begin + row.receptive_field[0] <= shape[0]:  # far from the edges
            assert field.rows == (begin, begin + row.receptive_field[0])
        outside = field.gradient.copy()
        outside[slice(*field.rows), slice(*field.columns)] = 0
        assert outside.sum() == 0
        assert field.gradient.max() == 1


@pytest.mark.parametrize("norm", ["LayerNorm", "GroupNorm", "GlobalResponseNorm"])
def test_measure_receptive_field_agrees_with_the_window_of_a_norm(norm):
    def normed(x):
        x = kcnn.blocks.apply(ops.Conv(4, 3, padding=1, standardized=True), x, name="conv1")
        x = kcnn.blocks.apply(ops.GroupNorm(2) if norm == "GroupNorm" else getattr(ops, norm)(), x, name="norm")
        return kcnn.blocks.apply(ops.LayerScale(0.5), x, name="scale")

    field = measure_receptive_field(
        kcnn.build(kcnn.Architecture(backbone=normed, reference="none", input_shape=(12, 12, 3))), "scale"
    )
    assert field.agrees
    assert (field.rows == (0, 12)) is (norm != "LayerNorm")


def test_measure_receptive_field_sees_through_saturated_activations():
    x = image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    x = keras.layers.MaxPooling2D(3, 1)(x + 100.0)
    x = keras.layers.Conv2D(4, 3, activation="sigmoid", name="last")(x)
    field = measure_receptive_field(keras.Model(image, x), "last", (4, 4))
    assert field.agrees
    assert field.rows == field.columns == (3, 10)
    assert field.size == (7, 7)


def test_measure_receptive_field_refuses_flat_layers_and_positions_outside():
    model = kcnn.build(SMALL)
    with pytest.raises(ValueError, match=r"'logits' of 'backbone' gives .* which has no rows and columns"):
        measure_receptive_field(model, "logits")
    with pytest.raises(ValueError, match=r"position \(99, 0\) is outside of layer 'conv1'"):
        measure_receptive_field(model, "conv1", (99, 0))


def test_measure_receptive_field_of_a_strided_1x1_convolution_of_few_channels_does_not_end_the_process():
    image = keras.Input((64, 64, 3))
    model = keras.Model(image, keras.layers.Conv2D(48, 1, strides=2, name="conv")(image))
    assert measure_receptive_field(model, "conv", draws=50).agrees
