"""KerasHub's presets are recognized by their config files, and each of their layers has a place in kcnn's network."""

from copy import deepcopy

import pytest

from kcnn.architectures.registry import get_architecture
from kcnn.architectures.spec import summary, trace
from kcnn.graph.names import UnknownNameError
from kcnn.graph.ops import Rescale
from kcnn.weights.hub import list_published_models
from kcnn.weights.preset_backbones import BACKBONES
from kcnn.weights.presets import PUBLISHER, is_preset, parse_preset
from tests.parity.presets import PRESETS, load_preset

RECORD = load_preset("mobilenet_v3_small_100")


def parse(record):
    configs = record["configs"]
    return parse_preset(configs["config.json"], configs["task.json"], configs["preprocessor.json"])


def test_backbones_are_the_networks_that_plugins_map():
    assert set(BACKBONES) == set(list_published_models(PUBLISHER))


@pytest.mark.parametrize("name", PRESETS)
def test_parse_preset_names_the_recorded_backbone(name):
    record = load_preset(name)
    assert is_preset(record["configs"]["config.json"])
    assert parse(record).architecture == name
    assert parse(record).classes == 10


@pytest.mark.parametrize("name", PRESETS)
def test_mapping_names_each_recorded_layer_once(name):
    network = list_published_models(PUBLISHER)[name][0]
    layers = [row.name for row in summary(trace(network)) if row.params or row.non_trainable_params]
    names = dict(get_architecture(network).weight_mappings[PUBLISHER].names(layers))
    assert sorted(names) == sorted(layers)
    choices = [(one,) if isinstance(one, str) else one for one in names.values()]
    groups = [group for file in record_groups(name) for group in file]
    assert {split_separable(choice[0]) for choice in choices} == {layer for _, layer in groups}
    by_path = dict(groups)
    for first, *others in choices:  # of files that name no layers, the first group that is there
        found = next(group for group in map(split_separable, others) if group in by_path)
        assert by_path[found] == split_separable(first)


def record_groups(name):
    """The groups of each file: "#" and their path without containers, and the layer."""
    for file, rows in load_preset(name)["weights"].items():
        prefix = "#task/" if file.startswith("task") else "#"
        yield [(prefix + path.replace("layers/", ""), layer) for path, layer, _ in rows]


def split_separable(name):
    """The layer of "block2_sepconv1_depthwise"."""
    return name.removesuffix("_depthwise").removesuffix("_pointwise")


def test_parse_preset_reads_the_scaling_of_pixels():
    preset = parse(RECORD)
    assert preset.rescale.scale == pytest.approx((1 / 58.395, 1 / 57.12, 1 / 57.375))
    assert preset.rescale.offset == pytest.approx((-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225))
    assert (preset.size, preset.interpolation) == ((224, 224), "bicubic")


def test_parse_preset_reads_the_mean_and_variance_of_older_converters():
    values = {"height": 64, "width": 96, "scale": 1 / 255, "mean": [0.5, 0.4, 0.3], "variance": [0.04, 0.01, 0.25]}
    preset = parse_preset(RECORD["configs"]["config.json"], None, {"config": values})
    assert preset.rescale.scale == pytest.approx((1 / 51, 1 / 25.5, 1 / 127.5))
    assert preset.rescale.offset == pytest.approx((-2.5, -4, -0.6))
    assert (preset.size, preset.classes) == ((64, 96), None)


@pytest.mark.parametrize(
    ("crops", "pads", "mode"), [(True, False, "center"), (False, False, "squash"), (False, True, "center")]
)
def test_parse_preset_reads_whether_images_are_squashed(crops, pads, mode):
    record = deepcopy(RECORD)
    values = record["configs"]["preprocessor.json"]["config"]["image_converter"]["config"]
    values.update(crop_to_aspect_ratio=crops, pad_to_aspect_ratio=pads)
    assert parse(record).crop_mode == mode


def test_parse_preset_without_a_preprocessor_takes_pixels_as_they_are():
    assert parse_preset(RECORD["configs"]["config.json"], None, None).rescale == Rescale(1.0, 0.0)


def test_parse_preset_refuses_backbones_that_kcnn_does_not_have():
    record = deepcopy(RECORD)
    record["configs"]["config.json"]["registered_name"] = "keras_hub>MiTBackbone"
    message = "KerasHub's MiTBackbone, which kcnn does not have; presets of these load: resnet_18, "
    with pytest.raises(UnknownNameError, match=message):
        parse(record)


def test_parse_preset_refuses_a_backbone_that_differs_in_one_field():
    record = deepcopy(RECORD)
    record["configs"]["config.json"]["config"]["input_activation"] = "relu"
    message = r"whose input_activation is relu \(that of mobilenet_v3_small_100 is hard_swish\)"
    with pytest.raises(UnknownNameError, match=message):
        parse(record)
    del record["configs"]["config.json"]["config"]["input_activation"]
    record["configs"]["config.json"]["config"]["new_in_another_version"] = 1
    with pytest.raises(UnknownNameError, match="whose "):
        parse(record)


def test_parse_preset_refuses_another_pooling():
    record = deepcopy(RECORD)
    record["configs"]["task.json"]["config"]["pooling"] = "max"
    with pytest.raises(ValueError, match="pooling='max', where kcnn's network averages"):
        parse(record)
