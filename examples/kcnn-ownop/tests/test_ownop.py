"""The op and the block are summarized, overridden, built and exported like those of kcnn."""

import numpy as np
import pytest

import kcnn
from kcnn.testing import Suite


class TestEcaResNet20(Suite):
    name = "eca_resnet20"


def test_channel_attention_counts_its_parameters_and_macs():
    row = kcnn.summary("eca_resnet20")["stage2_unit1_eca"]
    assert row.params == 3
    assert row.macs == 3 * 32 + 16 * 16 * 32
    assert row.shape == (16, 16, 32)


def test_channel_attention_is_overridden_by_address():
    graph = kcnn.trace("eca_resnet20", overrides={"stage3_*_eca.kernel": 5})
    assert kcnn.summary(graph).params == kcnn.summary("eca_resnet20").params + 3 * 2
    assert kcnn.build(graph).get_layer("stage3_unit1_eca").kernel == 5
    with pytest.raises(ValueError, match="kernel must be odd, got 4"):
        kcnn.trace("eca_resnet20", overrides={"stage3_*_eca.kernel": 4})


def test_channel_attention_layer_is_the_formula_of_the_paper():
    from kcnn_ownop.layers import ChannelAttention

    layer = ChannelAttention(3)
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 6)).astype("float32")
    outputs = np.asarray(layer(x))
    means = np.pad(x.mean((1, 2)), ((0, 0), (1, 1)))
    kernel = np.asarray(layer.weight)[:, 0, 0]
    scores = sum(kernel[k] * means[:, k : k + 6] for k in range(3))
    np.testing.assert_allclose(outputs, x / (1 + np.exp(-scores))[:, None, None, :], rtol=1e-4, atol=1e-5)
