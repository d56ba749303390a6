"""VGG: layer names in torchvision's, timm's and Keras' files, and the weights that they publish."""

from kcnn import WeightMapping
from kcnn.architectures.publishers import add_group_names, make_mapping, tf_slim_weights, torchvision_weights

OXFORD = "CC-BY-4.0, Visual Geometry Group, Oxford"
TOP = {
    "fc6": ("classifier.0", "fc1", "pre_logits.fc1"),  # timm's are convolutions of 7x7 and 1x1
    "fc7": ("classifier.3", "fc2", "pre_logits.fc2"),
    "logits": ("classifier.6", "predictions", "head.fc"),
}


def to_torchvision(layers):
    """Number convolutions, normalizations, activations and pools in one sequence, as torchvision does."""
    names, index, stage = {}, 0, 1
    for layer in layers:
        if layer in TOP:
            names[layer] = TOP[layer][0]
            continue
        index += int(layer[4]) - stage  # a pool
        stage = int(layer[4])
        if layer.endswith("_bn"):
            names[layer] = f"features.{index - 1}"
            index += 1
        else:
            names[layer] = f"features.{index}"
            index += 2
    return names


def to_timm(layers):
    """Number as torchvision does; the dense layers have other names."""
    return to_torchvision(layers) | {layer: TOP[layer][2] for layer in layers if layer in TOP}


def to_keras(layer):
    """Rename conv1_2 to block1_conv2."""
    return TOP[layer][1] if layer in TOP else f"block{layer[4]}_conv{layer[6:]}"


def to_keras_hub(layers):
    """Rename as Keras does; where files name no layers, those of the classifier are in a group of their own."""
    names = add_group_names({layer: to_keras(layer) for layer in layers if layer not in TOP})
    ends = {"fc6": ("conv2d", "dense"), "fc7": ("conv2d_1", "dense_1"), "logits": ("dense_2", "dense")}
    for layer in (layer for layer in layers if layer in TOP):
        names[layer] = (TOP[layer][1], *(f"#task/sequential/{end}" for end in ends[layer]))
    return names


def map_keras_hub(name):
    """Return the mapping of KerasHub's presets, of networks without batch normalization."""
    mapping = WeightMapping(names=to_keras_hub, models={f"vgg_{name[3:]}": {}})
    return {} if name.endswith("_bn") else {"keras_hub": mapping}


TORCHVISION_MAPPING = {"torchvision": WeightMapping(names=to_torchvision)}


def map_timm(model):
    """Return the mapping of the files of timm's network of a name."""
    return {"timm": WeightMapping(names=to_timm, models={model: {}}, reshaped=("fc6", "fc7"))}


KERAS_MAPPING = {"keras": make_mapping(to_keras, bgr=True)}
TORCHVISION = {
    name: (torchvision_weights(f"{name}-{digits}.pth", accuracy),)
    for name, digits, accuracy in (
        ("vgg11", "8a719046", 69.020),
        ("vgg13", "19584684", 69.928),
        ("vgg16", "397923af", 71.592),
        ("vgg19", "dcbb9e9d", 72.376),
        ("vgg11_bn", "6002323d", 70.370),
        ("vgg13_bn", "abd245e5", 71.586),
        ("vgg16_bn", "6c64b313", 73.360),
        ("vgg19_bn", "c79401a0", 74.218),
    )
}
FEATURES = {"vgg16": (torchvision_weights("vgg16_features-amdegroot-88682ab5.pth", None, top=False),)}
KERAS = {
    "vgg16": tf_slim_weights(
        "vgg16", "64373286793e3c8b2b4e3219cbf3544b", "6d6bbae143d832006294945121d1f1fc", 71.3, OXFORD
    ),
    "vgg19": tf_slim_weights(
        "vgg19", "cbe5617147190e668d6c5d5026f83318", "253f8cb515780f3b799900260a226db6", 71.3, OXFORD
    ),
}
