"""GoogLeNet: layer names in torchvision's files, and the weights that it publishes."""

from kcnn.architectures.publishers import make_mapping, rename_normalized, torchvision_weights

STEM = {"stem": "conv1", "conv2_reduce": "conv2", "conv2": "conv3"}
BRANCHES = {
    "1x1": "branch1",
    "3x3_reduce": "branch2.0",
    "3x3": "branch2.1",
    "5x5_reduce": "branch3.0",
    "5x5": "branch3.1",
    "proj": "branch4.1",
}
DENSE = {
    "logits": "fc",
    "aux1_fc": "aux1.fc1",
    "aux1_logits": "aux1.fc2",
    "aux2_fc": "aux2.fc1",
    "aux2_logits": "aux2.fc2",
}


def rename_convolution(layer):
    """Rename inception_3a_5x5_reduce to inception3a.branch3.0."""
    if layer.startswith("inception_"):
        block, _, branch = layer.removeprefix("inception_").partition("_")
        return f"inception{block}.{BRANCHES[branch]}"
    return STEM.get(layer) or layer.replace("_", ".").removesuffix(".conv")


def to_torchvision(layer):
    """Rename inception_3a_5x5_reduce to inception3a.branch3.0.conv, aux1_conv to aux1.conv.conv."""
    if layer in DENSE:
        return DENSE[layer]
    if layer.startswith("aux"):
        return layer[:4] + (".conv.bn" if layer.endswith("_bn") else ".conv.conv")
    return rename_normalized(rename_convolution)(layer)


MAPPINGS = {"torchvision": make_mapping(to_torchvision)}
TORCHVISION = (torchvision_weights("googlenet-1378be20.pth", 69.778),)
