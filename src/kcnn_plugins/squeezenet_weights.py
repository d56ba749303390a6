"""SqueezeNet: layer names in torchvision's files, and the weights that it publishes."""

from functools import partial

from kcnn import WeightMapping
from kcnn.architectures.publishers import make_mapping, rename_parts, torchvision_weights

PARTS = {"squeeze": "squeeze", "expand1": "expand1x1", "expand3": "expand3x3"}


def to_torchvision(layer, pools):
    """Rename fire2_expand3 to features.3.expand3x3: the activation of the first layer and the pools are counted."""
    fixed = {"conv1": "features.0", "logits": "classifier.1"}
    if layer in fixed:
        return fixed[layer]
    number, part = rename_parts(r"fire(\d)_(\w+)", layer)
    return f"features.{int(number) + sum(pool < int(number) for pool in pools)}.{PARTS[part]}"


def make_torchvision_mapping(pools: tuple[int, ...]) -> dict[str, WeightMapping]:
    """Return the mapping of a network with pools after the layers in `pools`."""
    return {"torchvision": make_mapping(partial(to_torchvision, pools=pools))}


TORCHVISION = {
    "squeezenet1_0": (torchvision_weights("squeezenet1_0-b66bff10.pth", 58.092),),
    "squeezenet1_1": (torchvision_weights("squeezenet1_1-b8a52dc0.pth", 58.178),),
}
