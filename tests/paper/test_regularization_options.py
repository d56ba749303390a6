"""Options of networks that regularize: the rate of dropout in the head, stochastic depth in residual units."""

import pytest

import kcnn
from kcnn.graph.tracing import topological_order


@pytest.mark.parametrize("name", ["vgg16", "googlenet", "resnet50", "mobilenet_v2", "inception_v3", "lenet5", "mlp"])
def test_head_takes_a_dropout_rate(name):
    rows = kcnn.summary(kcnn.trace(name, dropout=0.3))
    rates = [row.op.rate for row in rows if type(row.op).__name__ == "Dropout"]
    assert rates
    assert set(rates) == {0.3}


@pytest.mark.parametrize(
    "name", ["resnet50", "resnet18", "resnet50_v2", "resnet20", "mobilenet_v2", "mobilenet_v3_small"]
)
def test_drop_path_rates_grow_linearly_with_depth(name):
    found = kcnn.summary(kcnn.trace(name, drop_path=0.2))
    rates = [row.op.rate for row in found if type(row.op).__name__ == "DropPath"]
    units = {row.name.rpartition("_")[0] for row in found if row.name.endswith(("_add", "_project"))}
    assert len(rates) > 5
    assert rates == sorted(rates)
    whole = [0.2 * unit / len(units) for unit in range(1, len(units) + 1)]
    assert all(any(rate == pytest.approx(one) for one in whole) for rate in rates)
    assert found.params == kcnn.get_architecture(name).params


def test_drop_path_is_an_option_of_every_residual_family():
    families = {kcnn.get_architecture(name).backbone: name for name in kcnn.list_models()}  # which gives the options
    assert len(families) > 30
    for name in families.values():
        layers = topological_order(*kcnn.trace(name).outputs.values())
        if any(layer.name.endswith("_add") for layer in layers):
            assert "drop_path" in kcnn.get_architecture(name).defaults(), name
