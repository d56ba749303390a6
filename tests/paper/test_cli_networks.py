"""`kcnn list`, `kcnn summary` and `kcnn diff`, and the tables of summaries."""

import json
import re
from xml.etree import ElementTree

import pytest

import kcnn
from kcnn import ops
from kcnn.graph.formatting import describe_op


def test_cli_list_shows_every_network_and_its_cost(command):
    done = command("list")
    assert done.returncode == 0
    assert "6,998,552" in done.stdout
    assert "resnet152" in done.stdout


def test_cli_list_keeps_to_a_pattern_and_limits(command):
    done = command("list", "*net_v?", "--max-params", "5M", "--max-macs", "400M", "--min-input", "20")
    assert done.returncode == 0
    names = [line.split()[0] for line in done.stdout.splitlines()[1:] if line[:1].isalpha()]
    assert names == ["mobilenet_v2"]


def test_cli_list_without_a_match_is_an_error(command):
    done = command("list", "--max-params", "3")
    assert done.returncode == 2
    assert "none of the" in done.stderr


def test_cli_list_shows_variants_and_cited_weights(command):
    done = command("list", "resnet50*", "--variants", "--weights")
    rows = {line.split()[0]: line for line in done.stdout.splitlines()[1:]}
    assert "imagenet: torchvision, 80.858%, BSD-3-Clause; imagenet_v2" in rows["resnet50.torchvision"]
    assert "keras.applications, 74.9%" in rows["resnet50.keras"]
    assert "imagenet" not in rows["resnet50"]


def test_cli_list_keeps_to_weights_of_a_license(command):
    def list_networks(*words):
        done = command("list", *words, "--json")
        assert done.returncode == 0, done.stderr
        return {row["network"]: (row["weights"], row["licenses"]) for row in json.loads(done.stdout)}

    swag = ["imagenet_swag", "imagenet_swag_linear"]
    assert list_networks("regnet_y_16gf", "--license", "cc-by-nc-4.0") == {
        "regnet_y_16gf": (swag, ["CC-BY-NC-4.0, SWAG"] * 2)
    }
    commercial = list_networks("regnet*", "--license", "commercial")
    assert not set(commercial["regnet_y_16gf"][0]) & {*swag}
    assert {one for _, licenses in commercial.values() for one in licenses} == {"BSD-3-Clause, torchvision's"}
    assert [*list_networks("vgg16", "--license", "CC-BY-4.0")] == ["vgg16.keras"]
    assert "resnet20" not in list_networks("resnet*", "--weights", "--license", "commercial")


def test_cli_list_refuses_a_license_that_no_weights_have(command):
    done = command("list", "regnet*", "--license", "apache")
    assert done.returncode == 2
    assert "unknown license 'apache'; choose from commercial, bsd-3-clause, cc-by-nc-4.0" in done.stderr


def test_cli_list_shows_a_variant_by_name(command):
    assert command("list", "googlenet.bn").stdout.splitlines()[1].startswith("googlenet.bn")


def test_cli_summary_prints_layers_totals_and_addresses(command):
    done = command("summary", "googlenet", "--input-size", "96x96x1")
    assert done.returncode == 0
    for word in ("inception_4a_5x5_reduce", "arXiv:1409.4842", "96x96x1", "googlenet.torchvision", "stem.{"):
        assert word in done.stdout


def test_cli_summary_as_json_has_every_layer(command):
    done = command("summary", "mobilenet_v2", "--model-option", "width=0.5", "--json")
    found = json.loads(done.stdout)
    assert found["params"] == 1_968_680
    assert found["layers"][1] | {"offset": None} == {
        "name": "rescale",
        "shape": [224, 224, 3],
        "params": 0,
        "non_trainable_params": 0,
        "macs": 0,
        "receptive_field": [1, 1],
        "stride": [1, 1],
        "offset": None,
        "op": {"op": "Rescale", "scale": pytest.approx(1 / 127.5), "offset": -1.0},
    }


def test_cli_summary_applies_overrides(command):
    done = command("summary", "resnet18", "--override", "stage3_unit1_{a,skip}.stride=1", "--json")
    assert json.loads(done.stdout)["stride"] == [16, 16]


def test_cli_summary_notes_an_override_without_effect(command):
    done = command("summary", "vgg11", "--override", "conv1_1.kernel=3")
    assert done.returncode == 0
    assert done.stderr.strip() == (
        "note: vgg11: override has no effect: the layers already have these values (conv1_1.kernel)"
    )


def test_cli_diff_prints_changes_and_costs(command):
    done = command("diff", "googlenet", "googlenet.torchvision")
    assert "~ inception_*_5x5: kernel 3 instead of 5 in 9 layers, minus 380,928 weights" in done.stdout
    assert "receptive field 715 -> 379" in done.stdout
    assert (
        "~ inception_4a_5x5: kernel 5 -> 3" in command("diff", "googlenet", "googlenet.torchvision", "--layers").stdout
    )
    assert command("diff", "vgg11", "vgg11").stdout.strip() == "the same, layer by layer"


@pytest.mark.parametrize("network", ["resnet50", "lenet5", "mlp", "mobilenet_v2.torchvision"])
def test_cli_summary_prints_the_summary_of_kcnn_summary(command, network):
    done = command("summary", network)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{kcnn.summary(network)}\n"


def test_summary_is_a_table_with_totals():
    summary = kcnn.summary("resnet50")
    lines = str(summary).splitlines()
    headings = ["layer", "op", "output shape", "params", "MACs", "receptive field", "stride"]
    assert re.split(r"\s{2,}", lines[0]) == headings
    assert re.split(r"\s{2,}", lines[3]) == [
        *("stem", "Conv 64, kernel 7, stride 2, padding half, bias False", "112x112x64", "9,408", "118 M", "7", "2")
    ]
    assert lines[len(summary) + 1] == ""
    totals = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in lines[len(summary) + 2 :] if line[:1].strip())
    assert totals["params"] == "25,557,032 trainable, 53,120 non-trainable"
    assert totals["MACs"] == "3,857,973,248 for an image of 224x224x3"
    assert totals["features"] == "7x7x2048, receptive field 483, stride 32"
    assert "resnet50.torchvision" in totals["variants"]


def test_summary_repr_is_one_line_and_html_a_table():
    summary = kcnn.summary("resnet50")
    assert repr(summary) == "<Summary resnet50: 175 layers, 25.6 M params, 3.86 G MACs>"
    page = ElementTree.fromstring(f"<page>{summary._repr_html_()}</page>")
    assert len(page.findall("./table/tbody/tr")) == len(summary)
    assert [cell.text for cell in page.findall("./table/thead/tr/th")][:3] == ["layer", "op", "output shape"]


def test_cli_list_as_json_has_costs_variants_and_weights(command):
    rows = {row["network"]: row for row in json.loads(command("list", "resnet50*", "--json").stdout)}
    assert rows["resnet50"]["params"] == 25_557_032
    assert rows["resnet50"]["receptive_field"] == [483, 483]
    assert "torchvision" in rows["resnet50"]["variants"]


@pytest.mark.parametrize(
    ("op", "text"),
    [
        (ops.Conv(192), "Conv 192, kernel 3, stride 1"),
        (ops.Conv(64, (1, 7), 2, "half"), "Conv 64, kernel 1x7, stride 2, padding half"),
        (ops.Pool(3), "Pool max, kernel 3, stride 2"),
        (ops.GlobalPool(), "GlobalPool average"),
        (ops.Rescale(), "Rescale scale 0.007843, offset -1"),
        (ops.CENTERED, "Rescale scale 1, offset (-123.7, -116.8, -103.9)"),
        (ops.BatchNorm(), "BatchNorm"),
        (None, "input"),
    ],
)
def test_describe_op_shows_geometry_also_where_it_is_the_default(op, text):
    assert describe_op(op) == text


def test_summary_counts_the_layers_of_the_graph():
    assert repr(kcnn.summary("lenet5")).startswith("<Summary lenet5: 17 layers")
    assert repr(kcnn.trace("lenet5")).startswith("<Graph lenet5: 17 layers")
