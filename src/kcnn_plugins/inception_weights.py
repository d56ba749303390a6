"""Inception v3: layer names in Keras' and torchvision's files, and the weights that they publish."""

from kcnn import WeightMapping
from kcnn.architectures.publishers import (
    make_mapping,
    number_layers,
    rename_normalized,
    rename_parts,
    tf_slim_weights,
    torchvision_weights,
)

STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
BLOCKS = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")
DENSE = {"logits": "fc", "aux1_logits": "AuxLogits.fc"}


def to_keras(layers):
    """Number all layers but the last, as Keras does."""
    return number_layers(layers, {"logits": "predictions"})


def rename_convolution(layer):
    """Rename mixed9_double_3a to Mixed_7b.branch3x3dbl_3a."""
    if layer.startswith("stem"):
        return STEM[int(layer[4:]) - 1]
    if layer.startswith("aux"):
        return f"AuxLogits.conv{int(layer[-1]) - 1}"
    block, branch, position = rename_parts(r"mixed(\d+)_(\dx\d|double|pool)_?(.*)", layer)
    number = int(block)
    names = {"double": "7x7dbl" if 4 <= number <= 7 else "3x3dbl", "7x7": "7x7x3" if number == 8 else "7x7"}
    name = "branch_pool" if branch == "pool" else f"branch{names.get(branch, branch)}"
    return f"Mixed_{BLOCKS[number]}.{name}" + (f"_{position}" if position not in ("", "proj") else "")


def to_torchvision(layer):
    """Rename mixed9_double_3a to Mixed_7b.branch3x3dbl_3a.conv, a classifier's dense layer to X.fc."""
    return DENSE.get(layer) or rename_normalized(rename_convolution)(layer)


KERAS_MAPPING = {"keras": WeightMapping(names=to_keras, numbered=True)}
TORCHVISION_MAPPING = {  # timm's files have the same names of layers
    "torchvision": make_mapping(to_torchvision),
    "timm": make_mapping(to_torchvision, models={"inception_v3": {}}),
}
KERAS = tf_slim_weights(
    "inception_v3",
    "9a0d58056eeedaa3f26cb7ebd46da564",
    "bcbd6486424b2319ff4ef7d526e38f63",
    77.9,
    "Apache-2.0, Keras",
    resize=342,
    crop=299,
)
TORCHVISION = (torchvision_weights("inception_v3_google-0cc3c7bd.pth", 77.294, resize=342, crop=299),)
