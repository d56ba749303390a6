"""MobileNet v3: layer names in Keras', torchvision's and timm's files, and the weights that they publish."""

from kcnn import WeightMapping, Weights
from kcnn.architectures.publishers import (
    both_torchvision_weights,
    keras_weights,
    make_mapping,
    rename_numbered_units,
    rename_parts,
    torchvision_weights,
)


def to_keras(layer):
    """Rename unit2_expand_bn to expanded_conv_1_expand_bn; in older files expanded_conv_1/expand/BatchNorm."""
    bare, norm = layer.removesuffix("_bn"), layer.endswith("_bn")
    known = {"stem": "conv", "last": "conv_1", "fc": "conv_2", "logits": "logits"}
    if bare in known:
        return known[bare] + "_bn" * norm, known[bare].capitalize() + "/BatchNorm" * norm
    unit, part = rename_parts(r"unit(\d+)_(.+)", bare)
    block = f"expanded_conv_{int(unit) - 1}" if unit != "1" else "expanded_conv"
    squeeze = {"squeeze_reduce": ("conv", "Conv"), "squeeze_expand": ("conv_1", "Conv_1")}
    if part in squeeze:
        new, old = squeeze[part]
        return f"{block}_squeeze_excite_{new}", f"{block}/squeeze_excite/{old}"
    return f"{block}_{part}" + "_bn" * norm, f"{block}/{part}" + "/BatchNorm" * norm


def to_torchvision(layers):
    """Rename unit4_squeeze_reduce to features.4.block.2.fc1: the parts of a unit are counted."""
    units: dict[str, list[str]] = {}
    for layer in layers:
        unit, part = (*layer.removesuffix("_bn").split("_"), "")[:2]
        if part and part not in units.setdefault(unit, []):
            units[unit].append(part)
    names = {}
    for layer in layers:
        unit, *part = layer.removesuffix("_bn").split("_")
        norm = int(layer.endswith("_bn"))
        if not part:
            last = len(units) + 1
            known = {"fc": "classifier.0", "logits": "classifier.3", "stem": f"features.0.{norm}"}
            names[layer] = known.get(unit, f"features.{last}.{norm}")
            continue
        within = {"reduce": "fc1", "expand": "fc2"}[part[1]] if part[0] == "squeeze" else norm
        names[layer] = f"features.{unit[4:]}.block.{units[unit].index(part[0])}.{within}"
    return names


def to_timm(layers):
    """Rename unit4_squeeze_reduce to blocks.2.0.se.conv_reduce; the last 1x1 is a stage of its own."""
    units = UNITS["unit12_project" in layers]
    return rename_numbered_units(layers, units, {"last": f"stage{len(units) + 1}_unit1_project"})


def map_timm(size, *, is_tensorflow, minimal=False):
    """Return the mapping of timm's files, of its own trainings or converted from TensorFlow, at all widths."""
    name = f"tf_mobilenetv3_{size}" if is_tensorflow else f"mobilenetv3_{size}"
    models = {f"{name}_minimal_100": {}} if minimal else {f"{name}_100": {}, f"{name}_075": {"width": 0.75}}
    if name == "mobilenetv3_small":
        models[f"{name}_050"] = {"width": 0.5, "stem_width": 1.0}
    return {"timm": WeightMapping(names=to_timm, models=models, reshaped=("fc",))}


UNITS = {True: (1, 2, 3, 4, 2, 3), False: (1, 2, 3, 2, 3)}  # of each stage, of the large network and the small one


def to_keras_hub(layers):
    """Rename unit4_depthwise to block_2_0_conv2: units are counted by stages, and convolutions in them.

    The second name is that of its group in files that name no layers.
    """
    stages = UNITS["unit12_project" in layers]
    places = [f"block_{stage}_{unit}" for stage, count in enumerate(stages) for unit in range(count)]
    last = f"block_{len(stages)}_0"
    names = {
        "stem": ("input_conv", "#conv2d"),
        "stem_bn": ("input_batch_norm", "#batch_normalization"),
        "last": (f"{last}_conv", "#conv_bn_act_block/conv"),
        "last_bn": (f"{last}_bn", "#conv_bn_act_block/batch_normalization"),
        "fc": ("classifier_conv", "#task/conv2d"),
        "logits": ("predictions", "#task/dense"),
    }
    for layer in layers:
        if layer in names:
            continue
        unit, part, norm = rename_parts(r"unit(\d+)_(\w+?)(_bn)?", layer)
        is_first, place = unit == "1", places[int(unit) - 1]
        group = "#depthwise_conv_block" if is_first else f"#inverted_residual_block_{int(unit) - 2}".removesuffix("_0")
        steps = ("expand", "depthwise", "project")[is_first:]
        if part in steps:
            index = steps.index(part) + 1
            within = f"batch_normalization{index}" if norm else f"conv{index}"
            names[layer] = (f"{place}_{'bn' if norm else 'conv'}{index}", f"{group}/{within}")
        else:
            step = part.replace("squeeze", "conv")
            name = f"{place}_{'squeeze_excite' if is_first else 'se'}_{step}"
            names[layer] = (name, f"{group}/{'se_layer' if is_first else 'squeeze_excite'}/{step}")
    return names


def map_keras_hub(model):
    """Return the mapping of KerasHub's presets, which come from timm."""
    return {"keras_hub": WeightMapping(names=to_keras_hub, models={model: {}})}


KERAS_MAPPING = {"keras": make_mapping(to_keras)}
TORCHVISION_MAPPING = {"torchvision": WeightMapping(names=to_torchvision)}
FILES = (  # size, width, MD5 with the classifier and without, top-1 accuracy
    # The accuracies are those of Keras' docstring. The paper (tables 3 and 4) has 75.2 and 67.4 for width 1.
    ("large", 1.0, "59e551e166be033d707958cf9e29a6a7", "07fb09a5933dd0c8eaafa16978110389", 75.6),
    ("large", 0.75, "765b44a33ad4005b3ac83185abf1d0eb", "40af19a13ebea4e2ee0c676887f69a2e", 73.3),
    ("large_minimalistic", 1.0, "675e7b876c45c57e9e63e6d90a36599c", "ec5221f64a2f6d1ef965a614bdae7973", 72.3),
    ("small", 1.0, "8768d4c2e7dee89b9d02b2d03d65d862", "d3e8ec802a04aa4fc771ee12a9a9b836", 68.1),
    ("small", 0.75, "cb65d4e5be93758266aa0a7f2c6708b7", "ebdb5cc8e0b497cd13a7c275d475c819", 65.4),
    ("small_minimalistic", 1.0, "99cd97fb2fcdad2bf028eb838de69e37", "cde8136e733e811080d9fcd8a252f7e4", 61.9),
)
KERAS: dict[str, tuple[Weights, ...]] = {}
for size, width, complete, headless, accuracy in FILES:
    file = f"weights_mobilenet_v3_{size}_224_{width}_float"
    KERAS[size] = KERAS.get(size, ()) + keras_weights(
        f"mobilenet_v3/{file}.h5",
        complete,
        (f"{file}_no_top_v2.h5", headless),
        accuracy,
        "Apache-2.0, TensorFlow",
        options={"width": width},
        citation=f"keras.applications.MobileNetV3{size.partition('_')[0].capitalize()}, docstring",
    )
WIDTH = {"width": 1.0}
TORCHVISION = {
    "large": both_torchvision_weights(
        ("mobilenet_v3_large-8738ca79.pth", 74.042), ("mobilenet_v3_large-5c1a4163.pth", 75.274), options=WIDTH
    ),
    "small": (torchvision_weights("mobilenet_v3_small-047dcff4.pth", 67.668, options=WIDTH),),
}
