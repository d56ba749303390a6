"""NASNet-A: layer names in Keras' and timm's files, and the weights that Keras publishes."""

from kcnn import WeightMapping
from kcnn.architectures.publishers import keras_weights, rename_parts

CELL = r"(stem_cell|stage(?:\d)_cell|reduction)(\d+)_"
PART = r"(conv|previous|previous_even|previous_odd|block(?:\d)_(?:left|right)_(?:\d)_(?:depthwise|pointwise))(_bn)?"
BLOCK = r"block(\d)_(left|right)_(\d)_(depthwise|pointwise)"


def count_repeats(layers):
    """Return the number of normal cells in a stage."""
    return sum(layer.startswith("stage1_") and layer.endswith("_conv") for layer in layers)


def to_keras(layers):
    """Rename stage2_cell1_block1_left_1_depthwise to separable_conv_1_normal_left1_7_depthwise, of six in a stage."""
    repeats = count_repeats(layers)
    return {layer: rename_to_keras(layer, repeats) for layer in layers}


def rename_to_keras(layer, repeats):
    """Return Keras' name of one layer."""
    fixed = {"stem": "stem_conv1", "stem_bn": "stem_bn1", "logits": "predictions"}
    if layer in fixed:
        return fixed[layer]
    kind, number, part, norm = rename_parts(CELL + PART, layer)
    cells = {"stem_cell": f"stem_{number}", "reduction": f"reduce_{int(number) * repeats}"}
    cell = cells.get(kind) or str(int(number) - (kind == "stage1_cell") + repeats * (int(kind[5]) - 1))
    type_ = "normal" if kind.startswith("stage") else "reduction"
    if part == "conv":
        return f"{type_}_{'bn' if norm else 'conv'}_1_{cell}"
    if part.startswith("previous"):
        names = {"previous": "conv_projection", "previous_even": "conv_1", "previous_odd": "conv_2"}
        return f"adjust_{'bn' if norm else names[part]}_{cell}"
    block, side, position, convolution = rename_parts(BLOCK, part)
    block = "4" if type_ == "reduction" and (block, side) == ("5", "left") else block  # so named in Keras
    return f"separable_conv_{position}{norm}_{type_}_{side}{block}_{cell}" + ("" if norm else f"_{convolution}")


def to_timm(layers):
    """Rename stage2_cell1_block1_left_1_depthwise to cell_6.comb_iter_0_left.separable_1.depthwise_conv2d."""
    repeats = count_repeats(layers)
    return {layer: rename_to_timm(layer, repeats, f"{layer.removesuffix('_bn')}_even" in layers) for layer in layers}


def rename_to_timm(layer, repeats, is_split):
    """Return timm's name of one layer; `is_split` is a normalization after convolutions of even and odd positions."""
    fixed = {"stem": "conv0.conv", "stem_bn": "conv0.bn", "logits": "last_linear"}
    if layer in fixed:
        return fixed[layer]
    kind, number, part, norm = rename_parts(CELL + PART, layer)
    cells = {"stem_cell": f"cell_stem_{int(number) - 1}", "reduction": f"reduction_cell_{int(number) - 1}"}
    cell = cells.get(kind) or f"cell_{int(number) - 1 + repeats * (int(kind[5]) - 1)}"
    names = {"conv": "conv_1x1", "previous": "conv_prev_1x1", "previous_even": "path_1", "previous_odd": "path_2"}
    if part in names:
        return f"{cell}.final_path_bn" if is_split else f"{cell}.{names[part]}.{'bn' if norm else 'conv'}"
    block, side, position, convolution = rename_parts(BLOCK, part)
    within = f"bn_sep_{position}" if norm else f"separable_{position}.{convolution}_conv2d"
    return f"{cell}.comb_iter_{int(block) - 1}_{side}.{within}"


KERAS_MAPPING = {"keras": WeightMapping(names=to_keras)}
TIMM_MAPPING = {"timm": WeightMapping(names=to_timm, models={"nasnetalarge": {}})}
KERAS = {
    size: keras_weights(
        f"nasnet/NASNet-{size}.h5",
        complete,
        (f"NASNet-{size}-no-top.h5", headless),
        accuracy,
        "Apache-2.0, TensorFlow",
        resize=resize,
        crop=crop,
    )
    for size, resize, crop, complete, headless, accuracy in (
        # before a center crop of 87.5%, as TF-slim evaluates; pixels; MD5 with the classifier and without; accuracy
        ("mobile", 256, 224, "020fb642bf7360b370c678b08e0adf61", "1ed92395b5b598bdda52abe5c0dbfd63", 74.4),
        ("large", 378, 331, "11577c9a518f0070763c2b964a382f17", "d81d89dc07e6e56530c4e77faddd61b5", 82.5),
    )
}
