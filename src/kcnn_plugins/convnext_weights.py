"""ConvNeXt: layer names in Keras', torchvision's and timm's files, and the weights that they publish."""

from kcnn import WeightMapping, Weights
from kcnn.architectures.publishers import keras_weights, make_mapping, rename_parts, torchvision_weights

MIT = "MIT, Meta"
KERAS_PARTS = {
    "depthwise": "depthwise_conv",
    "norm": "layernorm",
    "expand": "pointwise_conv_1",
    "project": "pointwise_conv_2",
    "scale": "layer_scale",
}
TORCHVISION_PARTS = {
    "depthwise": ".block.0",
    "norm": ".block.2",
    "expand": ".block.3",
    "project": ".block.5",
    "scale": "",
}
TIMM_PARTS = {
    "depthwise": ".conv_dw",
    "norm": ".norm",
    "expand": ".mlp.fc1",
    "response_norm": ".mlp.grn",
    "project": ".mlp.fc2",
    "scale": "",
}

# In timm's files, a unit's 1x1 layers are convolutions in networks of these sizes, and dense layers in the others.
CONVOLUTIONAL = ("atto", "femto", "pico", "nano")


def split_name(layer):
    """Return the stage, the unit or 0, and the part of "stage2_unit1_depthwise" or "stage2_down"."""
    stage, unit, part = rename_parts(r"stage(\d)(?:_unit(\d+))?_(\w+)", layer)
    return int(stage), int(unit or 0), part


def make_keras_mapping(network: str) -> WeightMapping:
    """Return the mapping of Keras' files, whose layers begin with the network's name."""

    def rename(layer):
        """Rename stage2_unit1_expand to NETWORK_stage_1_block_0_pointwise_conv_1."""
        if layer == "head_norm":  # the last layer of a file without a classifier has no name of its own
            return f"{network}_head_layernorm", "layer_normalization"
        known = {"stem": "stem_conv", "stem_norm": "stem_layernorm", "logits": "head_dense"}
        if layer in known:
            return f"{network}_{known[layer]}"
        stage, unit, part = split_name(layer)
        if not unit:
            return f"{network}_downsampling_{'layernorm' if part == 'norm' else 'conv'}_{stage - 2}"
        return f"{network}_stage_{stage - 1}_block_{unit - 1}_{KERAS_PARTS[part]}"

    return make_mapping(rename)


def to_torchvision(layer):
    """Rename stage2_unit1_expand to features.3.0.block.3: stages and the layers between them are counted."""
    known = {"stem": "features.0.0", "stem_norm": "features.0.1", "head_norm": "classifier.0", "logits": "classifier.2"}
    if layer in known:
        return known[layer]
    stage, unit, part = split_name(layer)
    if not unit:
        return f"features.{2 * stage - 2}.{0 if part == 'norm' else 1}"
    return f"features.{2 * stage - 1}.{unit - 1}{TORCHVISION_PARTS[part]}"


def to_timm(layer):
    """Rename stage2_unit1_expand to stages.1.blocks.0.mlp.fc1."""
    known = {"stem": "stem.0", "stem_norm": "stem.1", "head_norm": "head.norm", "logits": "head.fc"}
    if layer in known:
        return known[layer]
    stage, unit, part = split_name(layer)
    if not unit:
        return f"stages.{stage - 1}.downsample.{0 if part == 'norm' else 1}"
    return f"stages.{stage - 1}.blocks.{unit - 1}{TIMM_PARTS[part]}"


def map_timm(model: str) -> WeightMapping:
    """Return the mapping of timm's files, for the network that it calls by this name."""
    reshaped = () if model.endswith(CONVOLUTIONAL) else ("*_expand", "*_project")
    return make_mapping(to_timm, models={model: {}}, reshaped=reshaped)


TORCHVISION_MAPPING = make_mapping(to_torchvision)
TORCHVISION = {  # file, shorter side before the center crop, accuracy
    "convnext_tiny": ("convnext_tiny-983f1562.pth", 236, 82.520),
    "convnext_small": ("convnext_small-0c510722.pth", 230, 83.616),
    "convnext_base": ("convnext_base-6075fbad.pth", 232, 84.062),
    "convnext_large": ("convnext_large-ea097f82.pth", 232, 84.414),
}
KERAS = {  # SHA-256 with the classifier and without, accuracy
    "convnext_tiny": (
        "8ae6e78ce2933352b1ef4008e6dd2f17bc40771563877d156bc6426c7cf503ff",
        "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
        81.3,
    ),
    "convnext_small": (
        "ce1277d8f1ee5a0ef0e171469089c18f5233860ceaf9b168049cb9263fd7483c",
        "6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab",
        82.3,
    ),
    "convnext_base": (
        "52cbb006d3dadd03f6e095a8ca1aca47aecdd75acb4bc74bce1f5c695d0086e6",
        "40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45",
        85.3,
    ),
    "convnext_large": (
        "070c5ed9ed289581e477741d3b34beffa920db8cf590899d6d2c67fba2a198a6",
        "96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd",
        86.3,
    ),
    "convnext_xlarge": (
        "c1f5ccab661354fc3a79a10fa99af82f0fbf10ec65cb894a3ae0815f17a889ee",
        "de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05",
        86.7,
    ),
}


def list_weights(network: str) -> tuple[Weights, ...]:
    """Return the weights of both publishers; "imagenet" are those of the higher accuracy."""
    complete, headless, accuracy = KERAS[network]
    file, resize, other_accuracy = TORCHVISION.get(network, ("", 0, 0.0))
    keras_is_better = accuracy > other_accuracy
    keras = keras_weights(
        f"convnext/{network}.h5",
        complete,
        (f"{network}_notop.h5", headless),
        accuracy,
        MIT,
        name="imagenet" if keras_is_better else "imagenet_keras",
        interpolation="bicubic",
    )
    if not file:
        return keras
    name = "imagenet_torchvision" if keras_is_better else "imagenet"
    torchvision = torchvision_weights(file, other_accuracy, name=name, resize=resize)
    return (*keras, torchvision) if keras_is_better else (torchvision, *keras)


WEIGHTS = {network: list_weights(network) for network in KERAS}
