"""What sets two networks apart."""

import re

import pytest

import kcnn


def test_diff_of_a_network_with_itself_is_empty():
    assert not kcnn.diff("resnet50", "resnet50")
    assert str(kcnn.diff("resnet50", "resnet50")) == "the same, layer by layer"


def test_diff_reports_layers_attributes_and_totals():
    found = kcnn.diff("resnet50", "resnet50.torchvision")
    by_name = {layer.name: layer for layer in found.layers}
    assert by_name["stage2_unit1_a"].fields["stride"] == (2, 1)
    assert by_name["stage2_unit1_b"].fields["stride"] == (1, 2)
    assert found.params == (25_557_032, 25_557_032)
    assert found.macs[1] > found.macs[0]
    assert found.receptive_field == ((483, 483), (427, 427))


def test_diff_names_added_and_removed_layers():
    found = {layer.name: layer for layer in kcnn.diff("googlenet", "googlenet.bn").layers}
    assert found["norm1"].after is None
    assert found["stem_bn"].before is None
    assert found["pool2"].fields == {"inputs": (("norm2",), ("conv2_relu",))}


def test_diff_ignores_how_equal_padding_is_written():
    alike = kcnn.trace("resnet18", overrides={"stem.padding": 3, "stage*_unit*_b.padding": "same"})
    assert not kcnn.diff("resnet18", alike)
    assert kcnn.diff("resnet18", kcnn.trace("resnet18", overrides={"stem.padding": "same"}))


@pytest.mark.parametrize(
    "pair", [("alexnet", "alexnet.torchvision"), ("vgg11", "vgg16"), ("resnet50", "resnet50.keras")]
)
def test_diff_lines_add_up_to_the_total(pair):
    found = kcnn.diff(*pair)
    signs = {"plus": 1, "minus": -1}
    lines = re.findall(r"(plus|minus) ([\d,]+) weights", str(found))
    assert sum(signs[sign] * int(count.replace(",", "")) for sign, count in lines) == found.params[1] - found.params[0]


def test_diff_uses_articles():
    assert "an Add in 16 layers" in str(kcnn.diff("plain34", "resnet34"))
    assert "a BatchNorm" in str(kcnn.diff("googlenet", "googlenet.bn"))
