"""ShuffleNet v2: layer names in torchvision's files, and the weights that it publishes."""

from kcnn.architectures.publishers import make_mapping, rename_parts, torchvision_weights

INDICES = {"a": 0, "b": 3, "c": 5, "skip_a": 0, "skip_b": 2}  # among the convolutions, norms and activations


def to_torchvision(layer):
    """Rename stage2_unit1_skip_a to stage2.0.branch1.0."""
    bare, norm = layer.removesuffix("_bn"), int(layer.endswith("_bn"))
    if bare in ("stem", "last", "logits"):
        return {"stem": f"conv1.{norm}", "last": f"conv5.{norm}", "logits": "fc"}[bare]
    stage, number, skip, position = rename_parts(r"stage(\d)_unit(\d+)_(skip_)?([abc])", bare)
    branch = 1 if skip else 2
    return f"stage{stage}.{int(number) - 1}.branch{branch}.{INDICES[skip + position] + norm}"


TORCHVISION_MAPPING = {"torchvision": make_mapping(to_torchvision)}
TORCHVISION = {
    "x0_5": (torchvision_weights("shufflenetv2_x0.5-f707e7126e.pth", 60.552),),
    "x1_0": (torchvision_weights("shufflenetv2_x1-5666bf0f80.pth", 69.362),),
    "x1_5": (torchvision_weights("shufflenetv2_x1_5-3c479a10.pth", 72.996, resize=232),),
    "x2_0": (torchvision_weights("shufflenetv2_x2_0-8be3c8ee.pth", 76.230, resize=232),),
}
