"""AlexNet (Krizhevsky, Sutskever & Hinton, NIPS 2012), and the one-tower network of arXiv:1404.5997."""

from functools import partial

from kcnn import Architecture
from kcnn.blocks import conv, lrn, max_pool, wide_head
from kcnn.graph.ops import STANDARDIZED
from kcnn_plugins.alexnet_weights import MAPPINGS, TORCHVISION

PAPER = (  # filters, kernel, stride, padding, groups, normalized, pooled (section 3.5, figure 2)
    (96, 11, 4, "valid", 1, True, True),
    (256, 5, 1, 2, 2, True, True),
    (384, 3, 1, 1, 1, False, False),
    (384, 3, 1, 1, 2, False, False),
    (256, 3, 1, 1, 2, False, True),
)
ONE_TOWER = (
    (64, 11, 4, 2, 1, False, True),
    (192, 5, 1, 2, 1, False, True),
    (384, 3, 1, 1, 1, False, False),
    (256, 3, 1, 1, 1, False, False),
    (256, 3, 1, 1, 1, False, True),
)


def backbone(x, *, table: tuple = PAPER):
    """Apply five convolutions with overlapping pools; two groups stand for the paper's two GPUs."""
    for number, (filters, kernel, stride, padding, groups, normalized, pooled) in enumerate(table, 1):
        x = conv(x, filters, kernel, stride=stride, padding=padding, groups=groups, name=f"conv{number}")
        x = lrn(x, name=f"norm{number}") if normalized else x
        x = max_pool(x, 3, stride=2, name=f"pool{number}") if pooled else x
    return x


alexnet = Architecture(
    backbone=backbone,
    head=wide_head,
    input_shape=(227, 227, 3),  # the text says 224, which its own 55x55 maps of conv1 rule out
    reference="NIPS 2012, section 3.5 and figure 2",
    year=2012,
    params=60_965_224,
    map_sizes=(55, 27, 13, 6),
    variants={
        "torchvision": {
            "options": {"table": ONE_TOWER},
            "head": partial(wide_head, pool=6, dropout_first=True),
            "input_shape": (224, 224, 3),
            "reference": "arXiv:1404.5997, as in torchvision",
            "year": 2014,
            "rescale": STANDARDIZED,
            "params": 61_100_840,
            "weight_mappings": MAPPINGS,
            "weights": TORCHVISION,
        },
    },
)
