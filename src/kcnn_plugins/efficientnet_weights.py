"""EfficientNet: layer names in Keras', torchvision's and timm's files, and the weights that they publish."""

from kcnn import WeightMapping, Weights
from kcnn.architectures.publishers import (
    GOOGLE,
    add_group_names,
    keras_weights,
    make_mapping,
    rename_parts,
    torchvision_weights,
)

APACHE = "Apache-2.0, Google"
KERAS_PARTS = {
    "expand": "expand_conv",
    "expand_bn": "expand_bn",
    "depthwise": "dwconv",
    "depthwise_bn": "bn",
    "squeeze_reduce": "se_reduce",
    "squeeze_expand": "se_expand",
    "project": "project_conv",
    "project_bn": "project_bn",
}


def to_keras(layer, parts=KERAS_PARTS):
    """Rename stage2_unit1_depthwise to block2a_dwconv."""
    known = {"stem": "stem_conv", "stem_bn": "stem_bn", "last": "top_conv", "last_bn": "top_bn"}
    if layer in known:
        return known[layer]
    if layer == "logits":
        return "predictions"
    stage, unit, part = rename_parts(r"stage(\d)_unit(\d+)_(\w+)", layer)
    return f"block{stage}{chr(ord('a') + int(unit) - 1)}_{parts[part]}"


def v2_to_keras(layer):
    """Rename as `to_keras` does, but stage4_unit1_depthwise to block4a_dwconv2."""
    return to_keras(layer, {**KERAS_PARTS, "depthwise": "dwconv2"})


def to_keras_hub(layers):
    """Rename as Keras does, but stage2_unit1_depthwise_bn to block2a_dwconv_bn, ..._project to block2a_project."""
    parts = {**KERAS_PARTS, "depthwise_bn": "dwconv_bn", "project": "project"}
    return add_group_names({layer: to_keras(layer, parts) for layer in layers})


def map_keras_hub(model):
    """Return the mapping of KerasHub's presets, which come from timm."""
    return {"keras_hub": WeightMapping(names=to_keras_hub, models={model: {}})}


def to_torchvision(layers):
    """Rename stage2_unit1_squeeze_reduce to features.2.0.block.2.fc1: the parts of a unit are counted."""
    units: dict[str, list[str]] = {}
    names = {"logits": "classifier.1"}
    for layer in layers:
        bare, norm = layer.removesuffix("_bn"), int(layer.endswith("_bn"))
        if bare == "stem":
            names[layer] = f"features.0.{norm}"
        elif bare == "last":
            stages = {name.partition("_")[0] for name in units}
            names[layer] = f"features.{len(stages) + 1}.{norm}"
        elif layer != "logits":
            stage, unit, part, within = rename_parts(r"stage(\d)_unit(\d+)_([a-z]+)(?:_([a-z]+))?", bare)
            parts = units.setdefault(f"{stage}_{unit}", [])
            if part not in parts:
                parts.append(part)
            end = {"reduce": "fc1", "expand": "fc2"}[within] if within else norm
            names[layer] = f"features.{stage}.{int(unit) - 1}.block.{parts.index(part)}.{end}"
    return names


KERAS_MAPPING = {"keras": make_mapping(to_keras, normalization=True)}
KERAS_V2_MAPPING = {"keras": make_mapping(v2_to_keras)}
TORCHVISION_MAPPING = {"torchvision": WeightMapping(names=to_torchvision)}
KERAS: dict[str, tuple[Weights, ...]] = {}
for size, side, resize, complete, headless, accuracy in (
    # size, pixels, before a center crop (none from 320 pixels on), MD5 with the classifier and without, top-1 accuracy
    ("b0", 224, 256, "902e53a9f72be733fc0bcb005b3ebbac", "50bc09e76180e00e4465e1a485ddc09d", 77.1),
    ("b1", 240, 272, "1d254153d4ab51201f1646940f018540", "74c4e6b3e1f6a1eea24c589628592432", 79.1),
    ("b2", 260, 292, "b15cce36ff4dcbd00b6dd88e7857a6ad", "111f8e2ac8aa800a7a99e3239f7bfb39", 80.1),
    ("b3", 300, 332, "ffd1fdc53d0ce67064dc6a9c7960ede0", "af6d107764bb5b1abb91932881670226", 81.6),
    ("b4", 380, 412, "18c95ad55216b8f92d7e70b3a046e2fc", "ebc24e6d6c33eaebbd558eafbeedf1ba", 82.9),
    ("b5", 456, 488, "ace28f2a6363774853a83a0b21b9421a", "38879255a25d3c92d5e44e04ae6cec6f", 83.6),
    ("b6", 528, 560, "165f6e37dce68623721b423839de8be5", "9ecce42647a20130c1f39a5d4cb75743", 84.0),
    ("b7", 600, 632, "8c03f828fec3ef71311cd463b6759d99", "cbcfe4450ddf6f3ad90b1b398090fe4a", 84.3),
    ("v2_b0", 224, 256, "21ecbf6da12460d5c40bb2f29ceb2188", "893217f2bb855e2983157299931e43ff", 78.7),
    ("v2_b1", 240, 272, "069f0534ff22adf035c89e2d9547a9dc", "0e80663031ca32d657f9caa404b6ec37", 79.8),
    ("v2_b2", 260, 292, "424e49f28180edbde1e94797771950a7", "1dfe2e7a5d45b6632553a8961ea609eb", 80.5),
    ("v2_b3", 300, 332, "1f1fc43bd98a6e4fd8fdfd551e02c7a0", "f6abf7b5849ac99a89b50dd3fd532856", 82.0),
    ("v2_s", 384, 384, "e1d88a8495beba45748fedd0cecbe016", "af0682fb74e8c54910f2d4393339c070", 83.9),
    ("v2_m", 480, 480, "a3bf6aa3276309f4fc6a34aa114c95cd", "1b8dc055df72dde80d614482840fe342", 85.3),
    ("v2_l", 480, 480, "27e6d408b53c7ebc868fefa357689935", "b0b66b5c863aef5b46e8608fe1711615", 85.7),
):
    is_v2 = size.startswith("v2")
    file = f"efficientnetv2-{size.removeprefix('v2_')}" if is_v2 else f"efficientnet{size}"
    KERAS[f"efficientnet_{size}"] = keras_weights(
        f"tensorflow/keras-applications/efficientnet_v2/{file}.h5" if is_v2 else f"keras-applications/{file}.h5",
        complete,
        (f"{file}_notop.h5", headless),
        accuracy,
        APACHE,
        resize=resize,
        crop=side,
        interpolation="bilinear" if resize == side else "bicubic",  # as the authors evaluate
        base=GOOGLE,
    )
TORCHVISION: dict[str, tuple[Weights, ...]] = {
    name: (torchvision_weights(file, accuracy, resize=resize, crop=crop, interpolation=interpolation),)
    for name, file, resize, crop, interpolation, accuracy in (
        ("efficientnet_b0", "efficientnet_b0_rwightman-7f5810bc.pth", 256, 224, "bicubic", 77.692),
        ("efficientnet_b2", "efficientnet_b2_rwightman-c35c1473.pth", 288, 288, "bicubic", 80.608),
        ("efficientnet_b3", "efficientnet_b3_rwightman-b3899882.pth", 320, 300, "bicubic", 82.008),
        ("efficientnet_b4", "efficientnet_b4_rwightman-23ab8bcd.pth", 384, 380, "bicubic", 83.384),
        ("efficientnet_b5", "efficientnet_b5_lukemelas-1a07897c.pth", 456, 456, "bicubic", 83.444),
        ("efficientnet_b6", "efficientnet_b6_lukemelas-24a108a5.pth", 528, 528, "bicubic", 84.008),
        ("efficientnet_b7", "efficientnet_b7_lukemelas-c5b4e57e.pth", 600, 600, "bicubic", 84.122),
        ("efficientnet_v2_s", "efficientnet_v2_s-dd5fe13b.pth", 384, 384, "bilinear", 84.228),
        ("efficientnet_v2_m", "efficientnet_v2_m-dc08266a.pth", 480, 480, "bilinear", 85.112),
        ("efficientnet_v2_l", "efficientnet_v2_l-59c71312.pth", 480, 480, "bicubic", 85.808),
    )
}
FIRST = ("efficientnet_b1_rwightman-bac287d4.pth", 78.642)
SECOND = ("efficientnet_b1-c27df63c.pth", 79.838)
TORCHVISION["efficientnet_b1"] = (
    torchvision_weights(*SECOND, resize=255, crop=240),
    torchvision_weights(*SECOND, resize=255, crop=240, name="imagenet_v2"),
    torchvision_weights(*FIRST, resize=256, crop=240, interpolation="bicubic", name="imagenet_v1"),
)
