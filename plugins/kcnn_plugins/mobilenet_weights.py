"""Names for the MobileNets' layers in Keras' and torchvision's files, and the weights they publish."""

import re

from kcnn import Layout
from kcnn.sources import both, keras, layout, parts, torchvision

APACHE = "Apache-2.0, TensorFlow"
V2_UNITS = (1, 2, 3, 4, 3, 3, 1)  # per stage


def v1_in_keras(layer):
    """unit3_depthwise_bn is conv_dw_3_bn."""
    if layer == "logits":
        return "conv_preds"
    return re.sub(r"unit(\d+)_(d|p)(?:epthwise|ointwise)", r"conv_\2w_\1", layer).replace("stem", "conv1")


def v2_unit(layer):
    """The number of "stage2_unit1_expand_bn" among all 17, from 0, its part, and whether it is a normalisation."""
    stage, unit, part, norm = parts(r"stage(\d)_unit(\d)_(expand|depthwise|project)(_bn)?", layer)
    return sum(V2_UNITS[: int(stage) - 1]) + int(unit) - 1, part, bool(norm)


def v2_in_keras(layer):
    """stage2_unit1_expand_bn is block_1_expand_BN."""
    known = {
        "stem": "Conv1",
        "stem_bn": "bn_Conv1",
        "last": "Conv_1",
        "last_bn": "Conv_1_bn",
        "logits": ("predictions", "Logits"),
    }
    if layer in known:
        return known[layer]
    number, part, norm = v2_unit(layer)
    return (f"block_{number}_{part}" if number else f"expanded_conv_{part}") + ("_BN" if norm else "")


def v2_in_torchvision(layer):
    """stage2_unit1_depthwise is features.2.conv.1.0."""
    known = {"stem": "features.0", "last": "features.18"}
    bare = layer.removesuffix("_bn")
    if layer == "logits":
        return "classifier.1"
    if bare in known:
        return f"{known[bare]}.{int(bare != layer)}"
    number, part, norm = v2_unit(layer)
    places = ("expand", "depthwise", "project") if number else ("depthwise", "project")
    place = places.index(part)
    return f"features.{number + 1}.conv." + (f"{place + norm}" if part == "project" else f"{place}.{int(norm)}")


def v3_in_keras(layer):
    """unit2_expand_bn is expanded_conv_1_expand_bn; older files say expanded_conv_1/expand/BatchNorm."""
    bare, norm = layer.removesuffix("_bn"), layer.endswith("_bn")
    known = {"stem": "conv", "last": "conv_1", "fc": "conv_2", "logits": "logits"}
    if bare in known:
        return known[bare] + "_bn" * norm, known[bare].capitalize() + "/BatchNorm" * norm
    unit, part = parts(r"unit(\d+)_(.+)", bare)
    block = f"expanded_conv_{int(unit) - 1}" if unit != "1" else "expanded_conv"
    squeeze = {"squeeze_reduce": ("conv", "Conv"), "squeeze_expand": ("conv_1", "Conv_1")}
    if part in squeeze:
        new, old = squeeze[part]
        return f"{block}_squeeze_excite_{new}", f"{block}/squeeze_excite/{old}"
    return f"{block}_{part}" + "_bn" * norm, f"{block}/{part}" + "/BatchNorm" * norm


def v3_in_torchvision(layers):
    """unit4_squeeze_reduce is features.4.block.2.fc1: a unit counts the parts that it has."""
    units: dict[str, list[str]] = {}
    for layer in layers:
        unit, part = (*layer.removesuffix("_bn").split("_"), "")[:2]
        if part and part not in units.setdefault(unit, []):
            units[unit].append(part)
    found = {}
    for layer in layers:
        unit, *part = layer.removesuffix("_bn").split("_")
        norm = int(layer.endswith("_bn"))
        if not part:
            last = len(units) + 1
            known = {"fc": "classifier.0", "logits": "classifier.3", "stem": f"features.0.{norm}"}
            found[layer] = known.get(unit, f"features.{last}.{norm}")
            continue
        within = {"reduce": "fc1", "expand": "fc2"}[part[1]] if part[0] == "squeeze" else norm
        found[layer] = f"features.{unit[4:]}.block.{units[unit].index(part[0])}.{within}"
    return found


V3 = {"keras": layout(v3_in_keras), "torchvision": Layout(names=v3_in_torchvision)}
LAYOUTS = {
    "mobilenet_v1": {"keras": layout(v1_in_keras)},
    "mobilenet_v2": {"keras": layout(v2_in_keras), "torchvision": layout(v2_in_torchvision)},
    "mobilenet_v3_large": V3,
    "mobilenet_v3_small": V3,
}
SIDES = (224, 192, 160, 128, 96)
SLIM = "TF-slim, research/slim/nets/mobilenet_v1.md"
V1 = {  # width: top-1 accuracy at 224, 192, 160 and 128 pixels
    1.0: (70.9, 70.0, 68.0, 65.2),
    0.75: (68.4, 67.2, 65.3, 62.1),
    0.5: (63.3, 61.7, 59.1, 56.3),
    0.25: (49.8, 47.7, 45.5, 41.5),
}
V2 = {  # and at 96
    1.0: (71.8, 70.7, 68.8, 65.3, 60.3),
    1.4: (75.0,),
    1.3: (74.4,),
    0.75: (69.8, 68.7, 66.4, 63.2, 58.8),
    0.5: (65.4, 63.9, 61.0, 57.7, 51.2),
    0.35: (60.3, 58.2, 55.7, 50.8, 45.5),
}
HEADLESS = {(0.25, 224): "f313cee49f5d33dfb06f2b255c4adb64"}  # Keras states none; this is a downloaded file's
WORDS = {1.0: "1_0", 0.75: "7_5", 0.5: "5_0", 0.25: "2_5"}
V3_FILES = (  # name in the catalogue, in the files, width, MD5 with the classifier and without, accuracy
    ("mobilenet_v3_large", "large", 1.0, "59e551e166be033d707958cf9e29a6a7", "07fb09a5933dd0c8eaafa16978110389", 75.6),
    ("mobilenet_v3_large", "large", 0.75, "765b44a33ad4005b3ac83185abf1d0eb", "40af19a13ebea4e2ee0c676887f69a2e", 73.3),
    (
        "mobilenet_v3_large.minimalistic",
        "large_minimalistic",
        1.0,
        "675e7b876c45c57e9e63e6d90a36599c",
        "ec5221f64a2f6d1ef965a614bdae7973",
        72.3,
    ),
    ("mobilenet_v3_small", "small", 1.0, "8768d4c2e7dee89b9d02b2d03d65d862", "d3e8ec802a04aa4fc771ee12a9a9b836", 68.1),
    ("mobilenet_v3_small", "small", 0.75, "cb65d4e5be93758266aa0a7f2c6708b7", "ebdb5cc8e0b497cd13a7c275d475c819", 65.4),
    (
        "mobilenet_v3_small.minimalistic",
        "small_minimalistic",
        1.0,
        "99cd97fb2fcdad2bf028eb838de69e37",
        "cde8136e733e811080d9fcd8a252f7e4",
        61.9,
    ),
)


def resized(side: int) -> int:
    """A crop of 87.5 %, as TF-slim evaluates."""
    return round(side / 0.875)


KERAS = {
    "mobilenet_v1": tuple(
        weights
        for width, accuracies in V1.items()
        for side, accuracy in zip(SIDES, accuracies, strict=False)
        for weights in keras(
            f"mobilenet/mobilenet_{WORDS[width]}_{side}_tf.h5",
            None,
            (f"mobilenet_{WORDS[width]}_{side}_tf_no_top.h5", HEADLESS.get((width, side))),
            accuracy,
            APACHE,
            options={"width": width},
            citation=SLIM,
            resize=resized(side),
            crop=side,
        )
    ),
    "mobilenet_v2": tuple(
        weights
        for width, accuracies in V2.items()
        for side, accuracy in zip(SIDES, accuracies, strict=False)
        for weights in keras(
            f"mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{width}_{side}.h5",
            None,
            (f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{width}_{side}_no_top.h5", None),
            accuracy,
            APACHE,
            options={"width": width},
            citation="TF-slim, research/slim/nets/mobilenet/README.md",
            resize=resized(side),
            crop=side,
        )
    ),
}
for name, file, width, whole, headless, accuracy in V3_FILES:
    weights_file = f"mobilenet_v3/weights_mobilenet_v3_{file}_224_{width}_float"
    KERAS[name] = KERAS.get(name, ()) + keras(
        f"{weights_file}.h5",
        whole,
        (f"{weights_file.rpartition('/')[2]}_no_top_v2.h5", headless),
        accuracy,
        APACHE,
        options={"width": width},
        citation="keras.applications.MobileNetV3Large",
    )
TORCHVISION = {
    "mobilenet_v2": both(
        ("mobilenet_v2-b0353104.pth", 71.878), ("mobilenet_v2-7ebf99e0.pth", 72.154), options={"width": 1.0}
    ),
    "mobilenet_v3_large": both(
        ("mobilenet_v3_large-8738ca79.pth", 74.042), ("mobilenet_v3_large-5c1a4163.pth", 75.274), options={"width": 1.0}
    ),
    "mobilenet_v3_small": (torchvision("mobilenet_v3_small-047dcff4.pth", 67.668, options={"width": 1.0}),),
}
