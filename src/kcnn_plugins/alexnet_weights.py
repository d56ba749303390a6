"""AlexNet: layer names in torchvision's files, and the weights that it publishes."""

from kcnn.architectures.publishers import make_mapping, torchvision_weights

NAMES = {
    **{f"conv{number}": f"features.{index}" for number, index in enumerate((0, 3, 6, 8, 10), 1)},
    "fc6": "classifier.1",
    "fc7": "classifier.4",
    "logits": "classifier.6",
}
MAPPINGS = {"torchvision": make_mapping(NAMES.__getitem__)}
TORCHVISION = (torchvision_weights("alexnet-owt-7be5be79.pth", 56.522),)
