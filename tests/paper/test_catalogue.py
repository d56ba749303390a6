"""Every installed network, on paper: its counts, its sizes, its addresses."""

import csv
import re
from functools import cache
from pathlib import Path

import pytest

import kcnn
from kcnn.architectures import catalogue
from tests.catalogue import NETWORKS, ONE_PER_FAMILY, divide

COUNTS = list(csv.DictReader(Path(__file__).with_name("counts.csv").open()))
REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "architectures.csv"
MORE = REFERENCE.with_name("more_architectures.csv")
VARIANTS = {  # rows of that table that differ from the paper: widths of torchvision, strides of timm
    "regnet_x_400mf": "regnet_x_400mf.torchvision",
    "regnet_y_800mf": "regnet_y_800mf.torchvision",
    "regnet_y_8gf": "regnet_y_8gf.torchvision",
    "seresnet50": "seresnet50.timm",
    "seresnet101": "seresnet101.timm",
    "seresnet152": "seresnet152.timm",
}


summarize = cache(kcnn.summary)


@cache
def smallest(name):
    return kcnn.min_input_size(name)


def test_network_has_its_declared_parameters():
    plans = {name: kcnn.get_architecture(name) for name in NETWORKS}
    assert {name: summarize(name).params for name in NETWORKS} == {name: plan.params for name, plan in plans.items()}
    assert all(plan.reference for plan in plans.values())


def test_render_catalogue_returns_the_page_of_the_documentation_with_builtin_networks_only(
    install, tmp_path, monkeypatch
):
    def summarize_builtin(name):
        assert name.startswith("kcnn:")
        bare = name.removeprefix("kcnn:")  # "vgg11.torchvision", too, is no longer the one of its name
        return kcnn.summary(name) if bare.partition(".")[0] == "vgg11" else summarize(bare)

    mark = tmp_path / "ran"
    code = f"open({str(mark)!r}, 'w')\nfrom kcnn import Architecture\nnet = Architecture()"
    install("kcnn-rival", "rival_plugin", code, vgg11="net", alone="net")
    monkeypatch.setattr(catalogue, "summarize_network", summarize_builtin)
    page = Path(__file__).parents[2] / "docs" / "catalogue.md"
    assert page.read_text() == catalogue.render_catalogue(), "run `make catalogue` and commit docs/catalogue.md"
    assert not mark.exists()


def test_readme_counts_the_networks_and_their_variants():
    bare = {name.partition(".")[0] for name in NETWORKS}
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert f"kcnn has {len(bare)} networks and {len(NETWORKS) - len(bare)} variants" in readme


def test_network_has_the_published_counts():
    for row in COUNTS:
        found = kcnn.summary(kcnn.trace(row["name"], aux=True)) if row["aux"] else summarize(row["name"])
        counts = {"trained": found.params, "moving": found.non_trainable_params, "macs": found.macs}
        assert {"name": row["name"], **counts} == {"name": row["name"], **{kind: int(row[kind]) for kind in counts}}


def test_counts_csv_agrees_with_the_reference_table():
    if not REFERENCE.exists():
        pytest.skip(f"the reference table is not beside this checkout ({REFERENCE.name})")
    rows = {}
    for row in csv.DictReader(REFERENCE.open()):
        for name in row["kcnn"].split(";"):
            rows[name.strip()] = row
    older = [ours for ours in COUNTS if f"{ours['name']} (aux)" in rows or ours["name"] in rows]
    assert len(older) == 67
    for ours in older:
        theirs = rows[f"{ours['name']} (aux)" if ours["aux"] else ours["name"]]
        assert ours["trained"] == theirs["trainable"]
        assert ours["moving"] == theirs["bn_moving_stats"]
        rounding = 5.1e-5  # the table has four decimals, of 1e9
        assert int(ours["macs"]) / 1e9 == pytest.approx(float(theirs["gmacs_conv_fc"]), rel=1e-3, abs=rounding)


def test_counts_csv_agrees_with_the_table_of_more_architectures():
    if not MORE.exists():
        pytest.skip(f"the reference table is not beside this checkout ({MORE.name})")
    counts = {ours["name"]: ours for ours in COUNTS}
    rows = {VARIANTS.get(row["name"], row["name"].replace(".", "_")): row for row in csv.DictReader(MORE.open())}
    for name in rows.keys() & counts.keys():
        ours, theirs = counts[name], rows[name]
        assert ours["trained"] == theirs["trainable_params"], name
        macs = float(theirs["gmacs_at_reference_input"])
        assert int(ours["macs"]) / 1e9 == pytest.approx(macs, abs=5.1e-4), name  # the table has three decimals


def test_lenet5_has_the_papers_60000_parameters_layer_by_layer():
    rows = kcnn.summary("lenet5")
    layers = {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48_120, "f6": 10_164, "logits": 0}
    assert {name: rows[name].params for name in layers} == layers
    assert rows.params == sum(layers.values()) == 60_000


def test_convnet_has_800_features_and_13066_parameters():
    rows = kcnn.summary("convnet")
    assert rows["flatten"].shape == (5 * 5 * 32,)
    assert rows.params == 16 * 26 + 32 * 145 + 801 * 10


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("vgg16", 212),
        ("googlenet", 715),
        ("resnet50", 483),
        ("inception_v3", 1311),
        ("mobilenet_v1", 315),
        ("lenet5", 32),
    ],
)
def test_receptive_field_is_the_published_one(name, field):
    assert kcnn.summary(name).receptive_field == (field, field)


@pytest.mark.parametrize("names", divide(ONE_PER_FAMILY))
def test_min_input_size_is_the_smallest_that_fits(names):
    for name in names:
        least = smallest(name)
        says = rf"^{re.escape(name)}\b.*the smallest input that fits is {least}x{least}"
        for side in {1, least // 2, least - 1} - {0, least}:
            with pytest.raises(ValueError, match=says):
                kcnn.trace(name, input_shape=(side, side, 3))
        for side in (least, least + 1):
            kcnn.trace(name, input_shape=(side, side, 3))


@pytest.mark.parametrize("names", divide(ONE_PER_FAMILY))
def test_trace_at_the_minimum_input_size_with_any_channels(names):
    for name in names:
        least = smallest(name)
        for channels in (1, 3, 7):
            graph = kcnn.trace(name, input_shape=(least, least, channels), classes=5)
            assert [output.shape for output in graph.outputs.values()] == [(5,)], name


def test_layer_names_are_unique_snake_case_addresses():
    for network in NETWORKS:
        names = [row.name for row in summarize(network)]
        assert len(set(names)) == len(names), network
        assert [one for one in names if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", one)] == [], network


def test_trace_with_auxiliary_classifiers_needs_65_pixels():
    assert kcnn.min_input_size(kcnn.ModelSpec(network="googlenet", aux=True)) == 65
    with pytest.raises(ValueError, match=r"aux1_pool.*smallest input that fits is 65x65"):
        kcnn.trace("googlenet", input_shape=(64, 64, 3), aux=True)


def test_min_input_size_where_an_override_makes_the_nominal_one_too_small():
    changes = {"conv1.padding": "valid", "conv2.kernel": 15}
    with pytest.raises(ValueError, match="smallest input that fits is 36x36"):
        kcnn.trace("convnet", overrides=changes)
    assert kcnn.min_input_size(kcnn.ModelSpec(network="convnet", overrides=changes)) == 36


def test_min_input_size_raises_if_no_input_fits():
    with pytest.raises(ValueError, match="no input fits"):
        kcnn.min_input_size(kcnn.ModelSpec(network="convnet", overrides={"conv2.kernel": 5000}))


def test_trace_of_a_too_small_input_names_the_first_layer_that_does_not_fit():
    with pytest.raises(
        ValueError,
        match=r"28x28x1 is too small: layer 'c5': kernel size 5 exceeds the padded input height of 4; .*32x32",
    ):
        kcnn.trace("lenet5", input_shape=(28, 28, 1))


@pytest.mark.parametrize("width", [0.25, 0.35, 0.5, 0.75, 1.0, 1.3, 1.4])
def test_trace_mobilenets_at_any_width(width):
    for name in ("mobilenet_v1", "mobilenet_v2"):
        assert kcnn.summary(kcnn.trace(name, width=width)).params > 0


def test_each_network_that_reads_torchvision_files_has_some_there():
    for name in NETWORKS:
        architecture = kcnn.get_architecture(name)
        if "torchvision" in architecture.weight_mappings:
            assert any(weights.mapping == "torchvision" for weights in architecture.weights), name


def test_each_network_with_published_weights_has_some_named_imagenet():
    published = {name: {one.name for one in kcnn.get_architecture(name).weights} for name in NETWORKS}
    assert [name for name, weights in published.items() if weights and "imagenet" not in weights] == []


def test_each_network_that_timm_has_is_found_by_its_name_there():
    models = [
        (model, name)
        for name in NETWORKS
        if "timm" in kcnn.get_architecture(name).weight_mappings
        for model in kcnn.get_architecture(name).weight_mappings["timm"].models
    ]
    assert len({model for model, _ in models}) == len(models)
    assert {name for _, name in models} == {
        name for name in NETWORKS if "timm" in kcnn.get_architecture(name).weight_mappings
    }
    found = dict(models)
    assert found["efficientnet_b0"] == "efficientnet_b0.torchvision"
    assert found["tf_efficientnetv2_s"] == "efficientnet_v2_s"
    assert found["mobilenetv4_conv_small"] == "mobilenet_v4_conv_small.timm"
    assert found["resnet50"] == "resnet50.torchvision"
