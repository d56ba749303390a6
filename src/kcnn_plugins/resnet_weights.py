"""ResNet: layer names in torchvision's and Keras' files, and the weights that they publish."""

import re
from functools import partial
from typing import Any

from kcnn import WeightMapping
from kcnn.architectures.publishers import (
    both_torchvision_weights,
    make_mapping,
    rename_keras_hub_units,
    rename_parts,
    tf_slim_weights,
    torchvision_weights,
)

MIT = "MIT, Kaiming He"


def split_name(layer):
    """Return the stage, unit and position of "stage1_unit2_a_bn", and whether it is a normalization."""
    stage, number, position, norm = rename_parts(r"stage(\d+)_unit(\d+)_(a|b|c|skip)(_bn)?", layer)
    return int(stage), int(number), position, bool(norm)


def to_torchvision(layer):
    """Rename stage1_unit2_a to layer1.1.conv1, stage2_unit1_skip_bn to layer2.0.downsample.1."""
    if layer in ("stem", "stem_bn", "logits"):
        return {"stem": "conv1", "stem_bn": "bn1", "logits": "fc"}[layer]
    stage, number, position, norm = split_name(layer)
    within = (
        f"downsample.{int(norm)}" if position == "skip" else f"{'bn' if norm else 'conv'}{'abc'.index(position) + 1}"
    )
    return f"layer{stage}.{number - 1}.{within}"


def to_timm(layer):
    """Rename as torchvision does; stage1_unit2_squeeze_reduce is layer1.1.se.fc1."""
    parts = re.fullmatch(r"stage(\d+)_unit(\d+)_squeeze_(reduce|expand)", layer)
    if not parts:
        return to_torchvision(layer)
    stage, number, step = parts.groups()
    return f"layer{stage}.{int(number) - 1}.se.fc{['reduce', 'expand'].index(step) + 1}"


def to_timm_deep_stem(layer):
    """Rename the stem's convolutions to conv1.0, conv1.3 and conv1.6; a projection comes after a pool."""
    known = {"stem1": "conv1.0", "stem1_bn": "conv1.1", "stem2": "conv1.3", "stem2_bn": "conv1.4", "stem3": "conv1.6"}
    if layer in known:
        return known[layer]
    name = "bn1" if layer == "stem3_bn" else to_timm(layer)
    return name.replace("downsample.1", "downsample.2").replace("downsample.0", "downsample.1")


def to_senet(layer):
    """Rename as timm does the files that it converted from Caffe: layer0.conv1, layer1.0.se_module.fc1, last_linear."""
    name = to_timm(layer)
    known = {"conv1": "layer0.conv1", "bn1": "layer0.bn1", "fc": "last_linear"}
    return known.get(name) or name.replace(".se.", ".se_module.")


def to_keras(layer):
    """Rename stage1_unit2_a to conv2_block2_1_conv; the shortcut is number 0."""
    if layer in ("stem", "stem_bn", "logits"):
        return {"stem": "conv1_conv", "stem_bn": "conv1_bn", "logits": ("predictions", "probs")}[layer]
    stage, number, position, norm = split_name(layer)
    return f"conv{stage + 1}_block{number}_{['skip', 'a', 'b', 'c'].index(position)}_{'bn' if norm else 'conv'}"


def map_torchvision(name):
    """Return the mappings of torchvision's files and of timm's, which have the same names of layers; and KerasHub's."""
    keras_hub = map_keras_hub(f"resnet_{name[6:]}") if re.fullmatch(r"resnet\d+", name) else {}
    return {"torchvision": make_mapping(to_torchvision), **map_timm(to_torchvision, name), **keras_hub}


def map_timm(rename, model):
    """Return the mapping of the files of timm's network of a name, and of those that are the same one with options."""
    return {"timm": make_mapping(rename, models={model: {}, **TIMM_OPTIONS.get(model, {})})}


SHALLOW = {"repeats": (2, 2, 2, 2)}
X4D, X8D, SQUEEZED = {"groups": 32, "group_width": 4}, {"groups": 32, "group_width": 8}, {"reduction": 16}
TIMM_OPTIONS: dict[str, dict[str, dict[str, Any]]] = {  # by network: timm's names of the same one with options
    "resnet50": {"resnet26": SHALLOW},
    "resnext101_32x8d": {f"resnext101_32x{n}d": {"group_width": n} for n in (16, 32)},
    "seresnext101_32x4d": {"seresnext101_32x8d": {"group_width": 8}, "seresnext101_64x4d": {"groups": 64}},
    "resnet50d": {
        "resnet26d": SHALLOW,
        "resnet200d": {"repeats": (3, 24, 36, 3)},
        "resnext50d_32x4d": X4D,
        "seresnext26d_32x4d": {**SHALLOW, **X4D, **SQUEEZED},
    },
    "resnet101d": {"seresnext101d_32x8d": {**X8D, **SQUEEZED}},
    "resnet152d": {"seresnet152d": SQUEEZED},
}


def map_keras_hub(model):
    """Return the mapping of KerasHub's presets of the network that it calls by this name."""
    names = partial(rename_keras_hub_units, split=split_name)
    return {"keras_hub": WeightMapping(names=names, models={model: {}})}


KERAS_MAPPING = {"keras": make_mapping(to_keras, bgr=True)}
TORCHVISION = {
    "resnet18": (torchvision_weights("resnet18-f37072fd.pth", 69.758),),
    "resnet34": (torchvision_weights("resnet34-b627a593.pth", 73.314),),
    "resnet50": both_torchvision_weights(("resnet50-0676ba61.pth", 76.130), ("resnet50-11ad3fa6.pth", 80.858)),
    "resnet101": both_torchvision_weights(("resnet101-63fe2227.pth", 77.374), ("resnet101-cd907fc2.pth", 81.886)),
    "resnet152": both_torchvision_weights(("resnet152-394f9c45.pth", 78.312), ("resnet152-f82ba261.pth", 82.284)),
    "resnext50_32x4d": both_torchvision_weights(
        ("resnext50_32x4d-7cdf4587.pth", 77.618), ("resnext50_32x4d-1a0047aa.pth", 81.198)
    ),
    "resnext101_32x8d": both_torchvision_weights(
        ("resnext101_32x8d-8ba56ff5.pth", 79.312), ("resnext101_32x8d-110c445d.pth", 82.834)
    ),
    "resnext101_64x4d": (torchvision_weights("resnext101_64x4d-173b62eb.pth", 83.246, resize=232),),
    "wide_resnet50_2": both_torchvision_weights(
        ("wide_resnet50_2-95faca4d.pth", 78.468), ("wide_resnet50_2-9ba9bcbe.pth", 81.602)
    ),
    "wide_resnet101_2": both_torchvision_weights(
        ("wide_resnet101_2-32ee1156.pth", 78.848), ("wide_resnet101_2-d733dc28.pth", 82.510)
    ),
}
TIMM = ("resnext101_32x4d",)  # published by timm, not by torchvision
KERAS = {  # parameters, weights
    name: (params, tf_slim_weights(name, complete, headless, accuracy, MIT, folder="resnet"))
    for name, params, complete, headless, accuracy in (
        ("resnet50", 25_583_592, "2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626", 74.9),
        ("resnet101", 44_601_832, "f1aeb4b969a6efcfb50fad2f0c20cfc5", "88cf7a10940856eca736dc7b7e228a21", 76.4),
        ("resnet152", 60_268_520, "100835be76be38e30d865e96f2aaae62", "ee4c566cf9a93f14d82f913c2dc6dd0c", 76.6),
    )
}
