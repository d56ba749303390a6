"""GoogLeNet (Szegedy et al., 2014): nine inception blocks, as in table 1 of the paper."""

from functools import partial

from kcnn import Architecture
from kcnn.blocks import Norm, aux_classifier, conv, head, inception, lrn, max_pool
from kcnn.graph.ops import BatchNorm
from kcnn_plugins.googlenet_weights import MAPPINGS, TORCHVISION

TABLE = {  # 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool proj
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
torchvision_aux = partial(aux_classifier, pool=4)
halve = partial(max_pool, kernel=3, stride=2, padding="same")


def backbone(x, *, norm: Norm = False):
    """Apply the stem, then the table; with local response normalization where there is no batch normalization."""
    x = halve(conv(x, 64, 7, stride=2, norm=norm, name="stem"), name="pool1")
    x = x if norm else lrn(x, name="norm1")
    x = conv(x, 64, 1, norm=norm, name="conv2_reduce")
    x = conv(x, 192, 3, norm=norm, name="conv2")
    x = x if norm else lrn(x, name="norm2")
    x = halve(x, name="pool2")
    for block, widths in TABLE.items():
        x = inception(x, *widths, norm=norm, name=f"inception_{block}")
        if block in ("3b", "4e"):
            x = halve(x, name=f"pool{block[0]}")
    return x


googlenet = Architecture(
    backbone=backbone,
    head=partial(head, dropout=0.4),
    aux={"inception_4a": aux_classifier, "inception_4d": aux_classifier},
    reference="arXiv:1409.4842, table 1",
    year=2014,
    params=6_998_552,
    map_sizes=(112, 56, 28, 14, 7),
    receptive_field=715,
    variants={
        "bn": {"options": {"norm": BatchNorm(epsilon=1e-3)}, "params": 7_005_832},
        "torchvision": {
            "options": {"norm": BatchNorm(epsilon=1e-3)},
            "head": partial(head, dropout=0.2),
            "aux": {"inception_4a": torchvision_aux, "inception_4d": torchvision_aux},
            "overrides": {
                "inception_*_5x5.kernel": 3,
                "stem.padding": "half",
                "pool{1,2,3,4}.padding": "ceil",
                "pool4.kernel": 2,
            },
            "params": 6_624_904,
            "weight_mappings": MAPPINGS,
            "weights": TORCHVISION,
        },
    },
)
