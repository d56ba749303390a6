"""Names for ResNet v2's layers in Keras' and timm's files, and the weights Keras publishes."""

from kcnn.architectures.publishers import make_mapping, rename_parts, tf_slim_weights

PLACES = ("skip", "a", "b", "c")


def unit(layer):
    """The stage, unit and place of "stage1_unit2_a_bn", and whether it is a normalisation."""
    stage, number, place, norm = rename_parts(r"stage(\d+)_unit(\d+)_(pre|a|b|c|skip)(_bn)?", layer)
    return int(stage), int(number), place, bool(norm)


def in_keras(layer):
    """stage1_unit2_a_bn is conv2_block2_1_bn, stage1_unit1_pre_bn is conv2_block1_preact_bn."""
    known = {"stem": "conv1_conv", "last_bn": "post_bn", "logits": ("predictions", "probs")}
    if layer in known:
        return known[layer]
    stage, number, place, norm = unit(layer)
    within = "preact" if place == "pre" else PLACES.index(place)
    return f"conv{stage + 1}_block{number}_{within}_{'bn' if norm else 'conv'}"


def in_timm(layer):
    """A unit's normalisations are counted before its convolutions: stage1_unit1_a_bn is norm2."""
    known = {"stem": "stem.conv", "last_bn": "norm", "logits": "head.fc"}
    if layer in known:
        return known[layer]
    stage, number, place, norm = unit(layer)
    where = f"stages.{stage - 1}.blocks.{number - 1}"
    if place == "skip":
        return f"{where}.downsample.conv"
    return f"{where}.norm{('pre', 'a', 'b').index(place) + 1}" if norm else f"{where}.conv{PLACES.index(place)}"


IN_KERAS = {"keras": make_mapping(in_keras)}
IN_TIMM = {"timm": make_mapping(in_timm)}
KERAS = {  # parameters, weights
    name: (
        params,
        tf_slim_weights(
            name.replace("_", ""), whole, headless, accuracy, "Apache-2.0, Keras", folder="resnet", resize=256
        ),
    )
    for name, params, whole, headless, accuracy in (
        ("resnet50_v2", 25_568_360, "3ef43a0b657b3be2300d5770ece849e0", "fac2f116257151a9d068a22e544a4917", 76.0),
        ("resnet101_v2", 44_577_896, "6343647c601c52e1368623803854d971", "c0ed64b8031c3730f411d2eb4eea35b5", 77.2),
        ("resnet152_v2", 60_236_904, "a49b44d1979771252814e80f8ec446f9", "ed17cf2e0169df9d443503ef94b23b33", 78.0),
    )
}
