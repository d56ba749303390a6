"""MobileNet v1 and v2: layer names in Keras', torchvision's and timm's files, and the weights that they publish."""

import re

from kcnn import WeightMapping
from kcnn.architectures.publishers import (
    both_torchvision_weights,
    keras_weights,
    make_mapping,
    map_timm_units,
    rename_numbered_units,
    rename_parts,
)

APACHE = "Apache-2.0, TensorFlow"
V1_UNITS = (1, 2, 2, 6, 2)  # per resolution
V2_UNITS = (1, 2, 3, 4, 3, 3, 1)  # per stage


def v1_to_keras(layer):
    """Rename unit3_depthwise_bn to conv_dw_3_bn."""
    if layer == "logits":
        return "conv_preds"
    return re.sub(r"unit(\d+)_(d|p)(?:epthwise|ointwise)", r"conv_\2w_\1", layer).replace("stem", "conv1")


def v1_to_timm(layers):
    """Rename unit3_depthwise_bn to blocks.1.1.bn1."""
    return rename_numbered_units(layers, V1_UNITS)


def split_v2_name(layer):
    """Return the number of "stage2_unit1_expand_bn" of 17, from 0, its part, and whether it is a normalization."""
    stage, unit, part, norm = rename_parts(r"stage(\d)_unit(\d)_(expand|depthwise|project)(_bn)?", layer)
    return sum(V2_UNITS[: int(stage) - 1]) + int(unit) - 1, part, bool(norm)


def v2_to_keras(layer):
    """Rename stage2_unit1_expand_bn to block_1_expand_BN."""
    known = {
        "stem": "Conv1",
        "stem_bn": "bn_Conv1",
        "last": "Conv_1",
        "last_bn": "Conv_1_bn",
        "logits": ("predictions", "Logits"),
    }
    if layer in known:
        return known[layer]
    number, part, norm = split_v2_name(layer)
    return (f"block_{number}_{part}" if number else f"expanded_conv_{part}") + ("_BN" if norm else "")


def v2_to_torchvision(layer):
    """Rename stage2_unit1_depthwise to features.2.conv.1.0."""
    known = {"stem": "features.0", "last": "features.18"}
    bare = layer.removesuffix("_bn")
    if layer == "logits":
        return "classifier.1"
    if bare in known:
        return f"{known[bare]}.{int(bare != layer)}"
    number, part, norm = split_v2_name(layer)
    parts = ("expand", "depthwise", "project") if number else ("depthwise", "project")
    index = parts.index(part)
    return f"features.{number + 1}.conv." + (f"{index + norm}" if part == "project" else f"{index}.{int(norm)}")


V1_MAPPINGS = {"keras": make_mapping(v1_to_keras)}
V1_TIMM_MAPPING = {
    "timm": WeightMapping(names=v1_to_timm, models={"mobilenetv1_100": {}, "mobilenetv1_125": {"width": 1.25}})
}
V2_KERAS_MAPPING = {"keras": make_mapping(v2_to_keras)}
V2_TORCHVISION_MAPPING = {
    "torchvision": make_mapping(v2_to_torchvision),
    **map_timm_units(
        "mobilenetv2_100",
        with_options={f"mobilenetv2_{round(100 * width):03}": {"width": width} for width in (0.35, 0.5, 0.75, 1.4)},
    ),
}
SIZES = (224, 192, 160, 128, 96)
# Keras converted these files from TF-slim's checkpoints. keras.io has other accuracies, of width 1 at 224 pixels only.
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
WIDTHS = {1.0: "1_0", 0.75: "7_5", 0.5: "5_0", 0.25: "2_5"}


def evaluation_resize(size: int) -> int:
    """Return the size before a center crop of 87.5%, as TF-slim evaluates."""
    return round(size / 0.875)


V1_KERAS = tuple(
    weights
    for width, accuracies in V1.items()
    for size, accuracy in zip(SIZES, accuracies, strict=False)
    for weights in keras_weights(
        f"mobilenet/mobilenet_{WIDTHS[width]}_{size}_tf.h5",
        None,
        (f"mobilenet_{WIDTHS[width]}_{size}_tf_no_top.h5", HEADLESS.get((width, size))),
        accuracy,
        APACHE,
        options={"width": width},
        citation=SLIM,
        resize=evaluation_resize(size),
        crop=size,
    )
)
V2_KERAS = tuple(
    weights
    for width, accuracies in V2.items()
    for size, accuracy in zip(SIZES, accuracies, strict=False)
    for weights in keras_weights(
        f"mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{width}_{size}.h5",
        None,
        (f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{width}_{size}_no_top.h5", None),
        accuracy,
        APACHE,
        options={"width": width},
        citation="TF-slim, research/slim/nets/mobilenet/README.md",
        resize=evaluation_resize(size),
        crop=size,
    )
)
V2_TORCHVISION = both_torchvision_weights(
    ("mobilenet_v2-b0353104.pth", 71.878), ("mobilenet_v2-7ebf99e0.pth", 72.154), options={"width": 1.0}
)
