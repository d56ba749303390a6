"""MnasNet: layer names in torchvision's and timm's files, and the weights that torchvision publishes."""

from kcnn.architectures.publishers import make_mapping, rename_parts, torchvision_weights

FIRST = {"stem": 0, "depthwise": 3, "project": 6, "last": 14}  # stem, first unit and last 1x1 in one sequence
PARTS = ("expand", "depthwise", "project")


def to_torchvision(layer):
    """Rename stem to layers.0, stage1_unit1_project_bn to layers.7, stage2_unit1_expand to layers.8.0.layers.0."""
    if layer == "logits":
        return "classifier.1"
    bare, norm = layer.removesuffix("_bn"), int(layer.endswith("_bn"))
    if bare in FIRST:
        return f"layers.{FIRST[bare] + norm}"
    stage, unit, part = rename_parts(r"stage(\d)_unit(\d)_(expand|depthwise|project)", bare)
    if stage == "1":
        return f"layers.{FIRST[part] + norm}"
    return f"layers.{int(stage) + 6}.{int(unit) - 1}.layers.{3 * PARTS.index(part) + norm}"


TORCHVISION_MAPPING = {"torchvision": make_mapping(to_torchvision)}
TORCHVISION = {
    width: (torchvision_weights(file, accuracy, resize=resize, options={"width": width}),)
    for width, file, resize, accuracy in (
        (0.5, "mnasnet0.5_top1_67.823-3ffadce67e.pth", 256, 67.734),
        (0.75, "mnasnet0_75-7090bc5f.pth", 232, 71.180),
        (1.0, "mnasnet1.0_top1_73.512-f206786ef8.pth", 256, 73.456),
        (1.3, "mnasnet1_3-a4c69d6f.pth", 232, 76.506),
    )
}
