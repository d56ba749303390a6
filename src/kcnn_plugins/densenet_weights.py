"""DenseNet: layer names in Keras', torchvision's and timm's files, and the weights that they publish."""

from kcnn import WeightMapping
from kcnn.architectures.publishers import (
    add_group_names,
    make_mapping,
    rename_parts,
    tf_slim_weights,
    torchvision_weights,
)


def to_keras(layer):
    """Rename block1_unit2_a to conv2_block2_1_conv, transition1_in_bn to pool2_bn: Keras counts the stem first."""
    fixed = {"stem": "conv1_conv", "stem_bn": "conv1_bn", "last_bn": "bn", "logits": ("predictions", "fc1000")}
    if layer in fixed:
        return fixed[layer]
    if layer.startswith("transition"):
        number, norm = rename_parts(r"transition(\d+)(_in_bn)?", layer)
        return f"pool{int(number) + 1}_{'bn' if norm else 'conv'}"
    block, number, position, norm = rename_parts(r"block(\d+)_unit(\d+)_(in|a|b)(_bn)?", layer)
    return f"conv{int(block) + 1}_block{number}_{('in', 'a', 'b').index(position)}_{'bn' if norm else 'conv'}"


def to_pytorch(layer):
    """Rename block1_unit2_a to features.denseblock1.denselayer2.conv1, in older files to ....conv.1."""
    fixed = {"stem": "features.conv0", "stem_bn": "features.norm0", "last_bn": "features.norm5", "logits": "classifier"}
    if layer in fixed:
        return fixed[layer]
    if layer.startswith("transition"):
        number, norm = rename_parts(r"transition(\d+)(_in_bn)?", layer)
        return f"features.transition{number}.{'norm' if norm else 'conv'}"
    block, number, position, norm = rename_parts(r"block(\d+)_unit(\d+)_(in|a|b)(_bn)?", layer)
    unit = f"features.denseblock{block}.denselayer{number}.{'norm' if norm else 'conv'}"
    index = {"in_bn": 1, "a": 1, "a_bn": 2, "b": 2}[position + norm]
    return f"{unit}{index}", f"{unit}.{index}"


def to_keras_hub(layer):
    """Rename block1_unit2_a to stack1_block2_1_conv, transition1_in_bn to transition1_bn."""
    fixed = {"stem": "conv1_conv", "stem_bn": "conv1_bn", "last_bn": "bn", "logits": "predictions"}
    if layer in fixed:
        return fixed[layer]
    if layer.startswith("transition"):
        number, norm = rename_parts(r"transition(\d+)(_in_bn)?", layer)
        return f"transition{number}_{'bn' if norm else 'conv'}"
    block, number, position, norm = rename_parts(r"block(\d+)_unit(\d+)_(in|a|b)(_bn)?", layer)
    index = {"in_bn": 1, "a": 1, "a_bn": 2, "b": 2}[position + norm]
    return f"stack{block}_block{number}_{index}_{'bn' if norm else 'conv'}"


def map_keras_hub(name: str) -> dict[str, WeightMapping]:
    """Return the mapping of KerasHub's presets."""

    def rename(layers):
        return add_group_names({layer: to_keras_hub(layer) for layer in layers})

    return {"keras_hub": WeightMapping(names=rename, models={f"densenet_{name[8:]}": {}})}


KERAS_MAPPING = {"keras": make_mapping(to_keras)}


def map_pytorch(name: str) -> dict[str, WeightMapping]:
    """Return the mappings of files of torchvision and timm, which have the same names."""
    return {"torchvision": make_mapping(to_pytorch), "timm": make_mapping(to_pytorch, models={name: {}})}


TORCHVISION = {
    name: (torchvision_weights(file, accuracy),)
    for name, file, accuracy in (
        ("densenet121", "densenet121-a639ec97.pth", 74.434),
        ("densenet161", "densenet161-8d451a50.pth", 77.138),
        ("densenet169", "densenet169-b2777c0a.pth", 75.600),
        ("densenet201", "densenet201-c1103571.pth", 76.896),
    )
}
KERAS = {
    name: tf_slim_weights(name, complete, headless, accuracy, "BSD-3-Clause, Gao Huang", folder="densenet")
    for name, complete, headless, accuracy in (
        ("densenet121", "9d60b8095a5708f2dcce2bca79d332c7", "30ee3e1110167f948a6b9946edeeb738", 75.0),
        ("densenet169", "d699b8f76981ab1b30698df4c175e90b", "b8c4d4c20dd625c148057b9ff1c1176b", 76.2),
        ("densenet201", "1ceb130c1ea1b78c3bf6114dbdfd8807", "c13680b51ded0fb44dff2d8f86ac8bb1", 77.3),
    )
}
