"""Each network that timm has is written as timm stores it: by its names of tensors, and with their shapes.

tests/parity/record.py recorded these from timm. The shapes here follow from the ops, by PyTorch's conventions.
"""

import json
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest

import kcnn
from kcnn.graph import ops
from kcnn.graph.tracing import topological_order
from kcnn.graph.windows import to_pair
from kcnn.weights.hub import list_published_models
from kcnn.weights.timm_form import find_timm_name, make_timm_config
from tests.parity.seeded import hash_layout

LAYOUTS = json.loads((Path(__file__).parents[1] / "parity" / "timm_layouts.json").read_text())


def list_shapes(op, channels):
    """The shapes of the variables of a layer, by PyTorch's names."""
    norm = {"weight": (channels,), "bias": (channels,)}
    match op:
        case ops.BatchNorm():
            return {**norm, "running_mean": (channels,), "running_var": (channels,)}
        case ops.LayerNorm() | ops.GroupNorm() | ops.GlobalResponseNorm():
            return norm
        case ops.LayerScale():
            return {"gamma": (channels,)}
        case ops.Dense():
            kernel, bias = (op.units, channels), op.bias
        case ops.Depthwise():
            kernel, bias = (channels, 1, *to_pair(op.kernel)), op.bias
        case ops.Conv():
            kernel, bias = (op.filters, channels // op.groups, *to_pair(op.kernel)), op.bias
    return {"weight": kernel, **({"bias": kernel[:1]} if bias else {})}


def reshape(shape, source):
    """A dense kernel as that of a convolution as large as the map that is flattened, or the reverse."""
    if len(shape) == 2 and isinstance(source.op, ops.Flatten):
        rows, columns, channels = source.inputs[0].shape
        return shape[0], channels, rows, columns
    return {2: (*shape, 1, 1), 4: shape[:2]}.get(len(shape), shape)


def hash_written(graph):
    rows = {row.name: row for row in kcnn.summary(graph)}
    weighted = [row.name for row in rows.values() if row.params or row.non_trainable_params]
    mapping, shapes = graph.architecture.weight_mappings["timm"], {}
    names = mapping.names(weighted)
    for x in topological_order(*graph.outputs.values()):
        if x.name not in weighted:
            continue
        is_reshaped = any(fnmatchcase(x.name, pattern) for pattern in mapping.reshaped)
        for variable, shape in list_shapes(x.op, rows[x.inputs[0].name].shape[-1]).items():
            name = names[x.name] if isinstance(names[x.name], str) else names[x.name][0]
            shapes[f"{name}.{variable}"] = reshape(shape, x.inputs[0]) if is_reshaped else shape
    return hash_layout(shapes)


@pytest.mark.parametrize("step", [23, pytest.param(1, marks=pytest.mark.every)])
def test_every_network_that_timm_has_is_written_with_its_names_and_shapes(step):
    models = list_published_models("timm")
    assert models.keys() == LAYOUTS.keys()
    for model, (network, options) in list(models.items())[::step]:
        graph = kcnn.trace(network, **options)
        assert find_timm_name(graph) == model
        assert hash_written(graph) == LAYOUTS[model], model


@pytest.mark.parametrize(
    "keywords",
    [{"overrides": {"stem.kernel": 5}}, {"top": False}, {"activation": "softmax"}, {"outputs": ["stage2"]}],
)
def test_find_timm_name_leaves_other_networks_to_kcnn(keywords):
    assert find_timm_name(kcnn.trace("resnet18.torchvision", dropout=0.5)) == "resnet18"
    assert find_timm_name(kcnn.trace("resnet18.torchvision", **keywords)) is None
    assert find_timm_name(kcnn.trace("resnet18")) is None


def test_make_timm_config_folds_gray_images_and_another_scaling():
    graph = kcnn.trace("resnet18.torchvision", input_shape=(64, 64, 1), classes=2)
    config = make_timm_config(graph, "resnet18", {"classes": 2, "classifier": "logits"}, "mit")
    assert config["pretrained_cfg"]["input_size"] == [3, 64, 64]  # each channel is scaled by its own values
    assert "model_args" not in config
    moved = {"rescale.scale": (1 / 255, 1 / 51, 1 / 255), "rescale.offset": (0.0, -2.5, 0.0)}  # deviations 1, 0.2, 1
    graph = kcnn.trace("resnet18.torchvision", overrides=moved)
    about = make_timm_config(graph, "resnet18", {"classes": 2, "classifier": "logits"}, "mit")["pretrained_cfg"]
    np.testing.assert_allclose((about["mean"], about["std"]), ([0, 0.5, 0], [1, 0.2, 1]), atol=1e-12)


def test_make_timm_config_states_that_images_are_squashed():
    graph, metadata = kcnn.trace("resnet18.torchvision"), {"classes": 2, "classifier": "logits"}
    preprocessing = {"resize": 235, "crop": 224, "interpolation": "bicubic"}
    for mode in ("center", "squash"):
        given = preprocessing if mode == "center" else {**preprocessing, "crop_mode": mode}
        config = make_timm_config(graph, "resnet18", {**metadata, "preprocessing": given}, "mit")
        assert config["pretrained_cfg"]["crop_mode"] == mode


def test_make_timm_config_states_another_number_of_channels():
    graph = kcnn.trace("resnet50x1_bit", input_shape=(64, 64, 1), classes=2)  # 0..255 to -1..1, in all channels
    config = make_timm_config(graph, "resnetv2_50x1_bit", {"classes": ["a", "b"], "classifier": "logits"}, "mit")
    assert (config["pretrained_cfg"]["input_size"], config["model_args"]) == ([1, 64, 64], {"in_chans": 1})
    assert config["label_names"] == ["a", "b"]
