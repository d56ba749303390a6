"""DenseNet (Huang et al., 2017): each layer takes the outputs of all layers before it in its block."""

from kcnn import Architecture
from kcnn.architectures import publishers
from kcnn.blocks import Norm, apply, average_pool, conv, max_pool, norm_act
from kcnn.graph.ops import STANDARDIZED, BatchNorm, Concat

LAYERS = {  # units of the four blocks, and parameters (arXiv:1608.06993, table 1; counted)
    "densenet121": ((6, 12, 24, 16), 7_978_856),
    "densenet169": ((6, 12, 32, 32), 14_149_480),
    "densenet201": ((6, 12, 48, 32), 20_013_928),
}
KERAS = {  # MD5 with the classifier and without, as keras.applications states them; accuracy
    "densenet121": ("9d60b8095a5708f2dcce2bca79d332c7", "30ee3e1110167f948a6b9946edeeb738", 75.0),
    "densenet169": ("d699b8f76981ab1b30698df4c175e90b", "b8c4d4c20dd625c148057b9ff1c1176b", 76.2),
    "densenet201": ("1ceb130c1ea1b78c3bf6114dbdfd8807", "c13680b51ded0fb44dff2d8f86ac8bb1", 77.3),
}


def unit(x, growth: int, norm: Norm, name: str):
    """Append `growth` maps: 1x1 to 4 times as many, then 3x3 (section 3, "bottleneck layers")."""
    y = norm_act(x, norm, "relu", f"{name}_in")
    y = conv(y, 4 * growth, 1, norm=norm, name=f"{name}_a")
    y = conv(y, growth, 3, bias=False, activation=None, name=f"{name}_b")
    return apply(Concat(), x, y, name=f"{name}_concat")


def backbone(x, *, layers: tuple[int, ...], growth: int = 32, compression: float = 0.5, norm: Norm = True):
    """Apply blocks of `layers` units, and transitions that keep the fraction `compression` of the maps between them."""
    x = conv(x, 2 * growth, 7, stride=2, padding="half", norm=norm, name="stem")
    x = max_pool(x, 3, padding="half", name="stem_pool")
    for block, count in enumerate(layers, 1):
        for number in range(1, count + 1):
            x = unit(x, growth, norm, f"block{block}_{number}")
        if block < len(layers):
            x = norm_act(x, norm, "relu", f"transition{block}_in")
            filters = int(compression * x.shape[-1])
            x = conv(x, filters, 1, bias=False, activation=None, name=f"transition{block}")
            x = average_pool(x, name=f"transition{block}_pool")
    return norm_act(x, norm, "relu", "last")


def to_keras(layer: str):
    """Rename block1_2_a to conv2_block2_1_conv, transition1_in_bn to pool2_bn: Keras counts the stem as the first."""
    fixed = {"stem": "conv1_conv", "stem_bn": "conv1_bn", "last_bn": "bn", "logits": "predictions"}
    if layer in fixed:
        return fixed[layer]
    if layer.startswith("transition"):
        number, norm = publishers.rename_parts(r"transition(\d+)(_in_bn)?", layer)
        return f"pool{int(number) + 1}_{'bn' if norm else 'conv'}"
    block, number, position, norm = publishers.rename_parts(r"block(\d+)_(\d+)_(in|a|b)(_bn)?", layer)
    return f"conv{int(block) + 1}_block{number}_{('in', 'a', 'b').index(position)}_{'bn' if norm else 'conv'}"


def make_architecture(name: str) -> Architecture:
    """Return the network with its variants."""
    layers, params = LAYERS[name]
    complete, headless, accuracy = KERAS[name]
    return Architecture(
        backbone=backbone,
        reference="arXiv:1608.06993, table 1",
        year=2016,
        options={"layers": layers},
        params=params,
        map_sizes=(112, 56, 28, 14, 7),
        variants={
            "keras": {
                "options": {"norm": BatchNorm(epsilon=1.001e-5, momentum=0.99)},
                "rescale": STANDARDIZED,
                "weight_mappings": {"keras": publishers.make_mapping(to_keras)},
                "weights": publishers.tf_slim_weights(
                    name, complete, headless, accuracy, "BSD-3-Clause, Gao Huang", folder="densenet"
                ),
            }
        },
    )


densenet121, densenet169, densenet201 = map(make_architecture, LAYERS)
