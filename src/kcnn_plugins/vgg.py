"""VGG (Simonyan & Zisserman, 2014): 3x3 convolutions throughout."""

from functools import partial

from kcnn import Architecture
from kcnn.blocks import Norm, conv, max_pool, wide_head
from kcnn.graph.ops import CENTERED, STANDARDIZED, Rescale
from kcnn_plugins.vgg_weights import (
    FEATURES,
    KERAS,
    KERAS_MAPPING,
    TORCHVISION,
    TORCHVISION_MAPPING,
    map_keras_hub,
    map_timm,
)


def backbone(x, *, repeats: tuple[int, ...], widths: tuple[int, ...] = (64, 128, 256, 512, 512), norm: Norm = False):
    """Apply stages of `repeats` convolutions and a pool (arXiv:1409.1556, table 1: columns A, B, D and E)."""
    for stage, (count, width) in enumerate(zip(repeats, widths, strict=True), 1):
        for unit in range(1, count + 1):
            x = conv(x, width, 3, bias=True, norm=norm, name=f"conv{stage}_{unit}")
        x = max_pool(x, 2, stride=2, name=f"pool{stage}")
    return x


def make_architecture(name: str, *repeats: int, params: int) -> Architecture:
    """Return the network with its variants."""
    norm = name.endswith("_bn")
    torchvision = {
        "rescale": STANDARDIZED,
        "head": partial(wide_head, pool=7),
        "weight_mappings": TORCHVISION_MAPPING | map_timm(name) | map_keras_hub(name),
        "weights": TORCHVISION[name],
    }
    variants = {"torchvision": torchvision}
    if name in KERAS:
        variants["keras"] = {"rescale": CENTERED, "weight_mappings": KERAS_MAPPING, "weights": KERAS[name]}
    if name in FEATURES:  # trained from Caffe's, for detectors; without a classifier
        caffe_rescale = Rescale(1.0, (-123.0, -117.0, -104.0))
        variants["features"] = {
            "rescale": caffe_rescale,
            "weight_mappings": TORCHVISION_MAPPING,
            "weights": FEATURES[name],
        }
    return Architecture(
        backbone=backbone,
        head=wide_head,
        reference="arXiv:1409.1556, table 1" + ("; batch normalization and biases as in torchvision" if norm else ""),
        year=2014,
        options={"repeats": repeats, "norm": norm},
        params=params,
        map_sizes=(224, 112, 56, 28, 14, 7),
        variants=variants,
    )


vgg11 = make_architecture("vgg11", 1, 1, 2, 2, 2, params=132_863_336)
vgg13 = make_architecture("vgg13", 2, 2, 2, 2, 2, params=133_047_848)
vgg16 = make_architecture("vgg16", 2, 2, 3, 3, 3, params=138_357_544)
vgg19 = make_architecture("vgg19", 2, 2, 4, 4, 4, params=143_667_240)
vgg11_bn = make_architecture("vgg11_bn", 1, 1, 2, 2, 2, params=132_868_840)
vgg13_bn = make_architecture("vgg13_bn", 2, 2, 2, 2, 2, params=133_053_736)
vgg16_bn = make_architecture("vgg16_bn", 2, 2, 3, 3, 3, params=138_365_992)
vgg19_bn = make_architecture("vgg19_bn", 2, 2, 4, 4, 4, params=143_678_248)
