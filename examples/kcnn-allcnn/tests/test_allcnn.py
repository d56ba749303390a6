"""All-CNN-C has the parameters of its paper, passes the suite, and takes weights with PyTorch's names."""

import numpy as np
import pytest
from safetensors.numpy import save_file

import kcnn
from kcnn.testing import Suite


class TestAllCNN(Suite):
    name = "all_cnn_c"


class TestConvPoolCNN(Suite):
    name = "all_cnn_c.convpool"


def conv3(before, after):
    return 9 * before * after + after


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("all_cnn_c", conv3(3, 96) + 2 * conv3(96, 96) + conv3(96, 192) + 2 * conv3(192, 192)),
        ("all_cnn_c.strided", conv3(3, 96) + conv3(96, 96) + conv3(96, 192) + conv3(192, 192)),
        ("all_cnn_c.convpool", conv3(3, 96) + 2 * conv3(96, 96) + conv3(96, 192) + 2 * conv3(192, 192)),
    ],
)
def test_all_cnn_has_the_parameters_of_the_paper(name, params):
    assert kcnn.summary(name).params == params + conv3(192, 192) + (192 + 1) * 192 + (192 + 1) * 10


def test_all_cnn_of_half_the_width_is_smaller():
    assert kcnn.summary(kcnn.trace("all_cnn_c", width=0.5)).params < kcnn.summary("all_cnn_c").params / 3


def test_all_cnn_takes_weights_with_the_names_of_pytorch(tmp_path):
    random = np.random.default_rng(0)
    shapes = [(96, 3, 3, 3), (96, 96, 3, 3), (96, 96, 3, 3), (192, 96, 3, 3), (192, 192, 3, 3), (192, 192, 3, 3)]
    shapes += [(192, 192, 3, 3), (192, 192, 1, 1), (10, 192, 1, 1)]
    state = {}
    for index, shape in zip((0, 2, 4, 7, 9, 11, 14, 16, 18), shapes, strict=True):
        state[f"features.{index}.weight"] = random.normal(size=shape).astype("float32")
        state[f"features.{index}.bias"] = random.normal(size=shape[0]).astype("float32")
    save_file(state, tmp_path / "theirs.safetensors")
    model = kcnn.build("all_cnn_c")
    report = kcnn.load_weights(model, tmp_path / "theirs.safetensors")
    assert report.mapping == "pytorch"
    assert len(report.matched) == len(model.weights) == len(state)
    kernel = state["features.7.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(model.get_layer("stage2_1").get_weights()[0], kernel)
