"""RegNet: layer names in torchvision's and timm's files, and the weights that torchvision publishes."""

from dataclasses import replace

from kcnn.architectures.publishers import both_torchvision_weights, make_mapping, rename_parts, torchvision_weights


def split_name(layer):
    """Return the stage, unit and part of "stage1_unit2_a_bn", and whether it is a normalization."""
    stage, number, part, norm = rename_parts(
        r"stage(\d+)_unit(\d+)_(a|b|c|skip|squeeze_reduce|squeeze_expand)(_bn)?", layer
    )
    return stage, int(number), part, bool(norm)


def to_torchvision(layer):
    """Rename stage1_unit2_a to trunk_output.block1.block1-1.f.a.0, and its normalization to ...a.1."""
    if layer in ("stem", "stem_bn", "logits"):
        return {"stem": "stem.0", "stem_bn": "stem.1", "logits": "fc"}[layer]
    stage, number, part, norm = split_name(layer)
    squeeze = {"squeeze_reduce": "f.se.fc1", "squeeze_expand": "f.se.fc2"}
    within = squeeze.get(part) or f"{'proj' if part == 'skip' else 'f.' + part}.{int(norm)}"
    return f"trunk_output.block{stage}.block{stage}-{number - 1}.{within}"


def to_timm(layer):
    """Rename stage1_unit2_a to s1.b2.conv1.conv, and its normalization to s1.b2.conv1.bn."""
    if layer in ("stem", "stem_bn", "logits"):
        return {"stem": "stem.conv", "stem_bn": "stem.bn", "logits": "head.fc"}[layer]
    stage, number, part, norm = split_name(layer)
    squeeze = {"squeeze_reduce": "se.fc1", "squeeze_expand": "se.fc2"}
    convolutions = {"a": "conv1", "b": "conv2", "c": "conv3", "skip": "downsample"}
    within = squeeze.get(part) or f"{convolutions[part]}.{'bn' if norm else 'conv'}"
    return f"s{stage}.b{number}.{within}"


def swag_weights(file, accuracy, side, name):
    """Return the weights of a network that was trained weakly supervised, on hashtags (arXiv:2201.08371)."""
    weights = torchvision_weights(file, accuracy, name=name, resize=side, crop=side)
    return replace(weights, interpolation="bicubic", license="CC-BY-NC-4.0, SWAG")


def map_torchvision():
    """Return the mapping of torchvision's files."""
    return {"torchvision": make_mapping(to_torchvision)}


def map_timm(model):
    """Return the mapping of the files of timm's network of a name."""
    return {"timm": make_mapping(to_timm, models={model: {}})}


TIMM_SIZES = {
    **{"200mf": "002", "400mf": "004", "600mf": "006", "800mf": "008", "1_6gf": "016", "3_2gf": "032"},
    **{"4gf": "040", "6_4gf": "064", "8gf": "080", "12gf": "120", "16gf": "160", "32gf": "320", "128gf": "1280"},
}
TORCHVISION = {
    name: both_torchvision_weights(
        *((f"regnet_{name}-{digits}.pth", accuracy) for digits, accuracy in (first, second))  # of both generations
    )
    for name, first, second in (
        ("x_400mf", ("adf1edd5", 72.834), ("62229a5f", 74.864)),
        ("x_800mf", ("ad17e45c", 75.212), ("94a99ebd", 77.522)),
        ("x_1_6gf", ("e3633e7f", 77.040), ("a12f2b72", 79.668)),
        ("x_3_2gf", ("f342aeae", 78.364), ("7071aa85", 81.196)),
        ("x_8gf", ("03ceed89", 79.344), ("2b70d774", 81.682)),
        ("x_16gf", ("2007eb11", 80.058), ("ba3796d7", 82.716)),
        ("x_32gf", ("9d47f8d0", 80.622), ("6eb8fdc6", 83.014)),
        ("y_400mf", ("c65dace8", 74.046), ("e6988f5f", 75.804)),
        ("y_800mf", ("1b27b58c", 76.420), ("58fc7688", 78.828)),
        ("y_1_6gf", ("b11a554e", 77.950), ("0d7bc02a", 80.876)),
        ("y_3_2gf", ("b5a9779c", 78.948), ("9180c971", 81.982)),
        ("y_8gf", ("d0d0e4a8", 80.032), ("dc2b1b54", 82.828)),
        ("y_16gf", ("9e6ed7dd", 80.424), ("3e4a00f9", 82.886)),
        ("y_32gf", ("4dee3f7a", 80.878), ("8db6d4b5", 83.368)),
    )
}
for size, tuned, linear in (  # fine-tuned at 384 pixels; a linear classifier on frozen features at 224
    ("y_16gf", ("43afe44d", 86.012), ("f3ec0043", 83.976)),
    ("y_32gf", ("04fdfa75", 86.838), ("e1583746", 84.622)),
    ("y_128gf", ("c8ce3e52", 88.228), ("cbe8ce12", 86.068)),
):
    TORCHVISION[size] = (
        *TORCHVISION.get(size, ()),
        swag_weights(f"regnet_{size}_swag-{tuned[0]}.pth", tuned[1], 384, "imagenet_swag"),
        swag_weights(f"regnet_{size}_lc_swag-{linear[0]}.pth", linear[1], 224, "imagenet_swag_linear"),
    )
# torchvision's default of the network that it publishes no others of
TORCHVISION["y_128gf"] = (replace(TORCHVISION["y_128gf"][0], name="imagenet"), *TORCHVISION["y_128gf"])
