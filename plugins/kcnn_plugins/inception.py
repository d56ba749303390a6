"""Inception v2 (Ioffe & Szegedy, 2015) and v3 (Szegedy et al., 2015): factorised kernels, batch normalisation."""

from functools import partial

from kcnn import Architecture, blocks
from kcnn.blocks import Branches, Norm, apply, average_pool, branches, conv, head, max_pool, sequential
from kcnn.graph.ops import BatchNorm, Dense, GlobalPool
from kcnn_plugins.inception_weights import IN_KERAS, IN_TORCHVISION, KERAS, TORCHVISION

NORM = BatchNorm(epsilon=1e-3)
V2 = {  # 1x1, 3x3 reduce, 3x3, double 3x3 reduce, double 3x3, pool, projection, stride (arXiv:1502.03167, figure 5)
    "3a": (64, 64, 64, 64, 96, "average", 32, 1),
    "3b": (64, 64, 96, 64, 96, "average", 64, 1),
    "3c": (0, 128, 160, 64, 96, "max", 0, 2),
    "4a": (224, 64, 96, 96, 128, "average", 128, 1),
    "4b": (192, 96, 128, 96, 128, "average", 128, 1),
    "4c": (160, 128, 160, 128, 160, "average", 96, 1),  # printed 128, which its own sum of 576 rules out
    "4d": (96, 128, 192, 160, 192, "average", 96, 1),  # likewise
    "4e": (0, 128, 192, 192, 256, "max", 0, 2),
    "5a": (352, 192, 320, 160, 224, "average", 128, 1),
    "5b": (352, 192, 320, 192, 224, "max", 128, 1),
}


def v2(x, *, norm: Norm = NORM):
    """BN-Inception: a separable 7x7 of depth multiplier 8, a 3x3, then ten blocks whose 5x5 are two 3x3."""
    channels = x.shape[-1]
    x = conv(x, 8 * channels, 7, stride=2, groups=channels, bias=False, activation=None, name="stem_depthwise")
    x = max_pool(conv(x, 64, 1, norm=norm, name="stem"), 3, stride=2, padding="same", name="pool1")
    x = conv(conv(x, 64, 1, norm=norm, name="conv2_reduce"), 192, 3, norm=norm, name="conv2")
    x = max_pool(x, 3, stride=2, padding="same", name="pool2")
    for block, (c1, r3, c3, rd, cd, pool, projection, stride) in V2.items():
        ways: Branches = {
            "1x1": [(c1, 1)],
            "3x3": [(r3, 1), (c3, 3, stride)],
            "double": [(rd, 1), (cd, 3), (cd, 3, stride)],
            "pool": [(pool, 3, stride), (projection, 1)],
        }
        if stride == 2:
            ways = {"3x3": ways["3x3"], "double": ways["double"], "pool": [(pool, 3, stride)]}
        x = branches(x, ways, norm=norm, strided="same", name=f"inception_{block}")
    return x


STEM = ((32, 3, 2), (32, 3, 1, "valid"), (64, 3), ("max", 3, 2), (80, 1), (192, 3, 1, "valid"), ("max", 3, 2))


def pooled(projection: int):
    return [("average", 3, 1), (projection, 1)]


def square(projection: int):
    """35x35 blocks (arXiv:1512.00567, figure 5)."""
    return {
        "1x1": [(64, 1)],
        "5x5": [(48, 1), (64, 5)],
        "double": [(64, 1), (96, 3), (96, 3)],
        "pool": pooled(projection),
    }


def factorised(c: int):
    """17x17 blocks of 1x7 and 7x1 kernels with `c` filters between (figure 6)."""
    return {
        "1x1": [(192, 1)],
        "7x7": [(c, 1), (c, (1, 7)), (192, (7, 1))],
        "double": [(c, 1), (c, (7, 1)), (c, (1, 7)), (c, (7, 1)), (192, (1, 7))],
        "pool": pooled(192),
    }


FORKED: Branches = {  # 8x8 blocks (figure 7)
    "1x1": [(320, 1)],
    "3x3": [(384, 1), [(384, (1, 3)), (384, (3, 1))]],
    "double": [(448, 1), (384, 3), [(384, (1, 3)), (384, (3, 1))]],
    "pool": pooled(192),
}
V3: tuple[Branches, ...] = (  # table 1, with the widths of the authors' code, which the paper leaves out
    square(32),
    square(64),
    square(64),
    {"3x3": [(384, 3, 2)], "double": [(64, 1), (96, 3), (96, 3, 2)], "pool": [("max", 3, 2)]},
    factorised(128),
    factorised(160),
    factorised(160),
    factorised(192),
    {
        "3x3": [(192, 1), (320, 3, 2)],
        "7x7": [(192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2)],
        "pool": [("max", 3, 2)],
    },
    FORKED,
    FORKED,
)


def v3(x, *, norm: Norm = NORM):
    """Six convolutions and two pools, then eleven blocks: 299x299 -> 35x35 -> 17x17 -> 8x8."""
    x = sequential(x, STEM, norm=norm, name="stem")
    for number, ways in enumerate(V3):
        x = branches(x, ways, norm=norm, name=f"mixed{number}")
    return x


def side(x, classes: int, *, norm: Norm = NORM, dropout: float = 0.0, name: str):
    """The auxiliary classifier on the last 17x17 map (arXiv:1512.00567, section 4 and figure 8)."""
    x = average_pool(x, 5, stride=3, name=f"{name}_pool")
    x = conv(x, 128, 1, norm=norm, name=f"{name}_conv1")
    x = conv(x, 768, 5, padding="valid", norm=norm, name=f"{name}_conv2")
    x = blocks.dropout(apply(GlobalPool(), x, name=f"{name}_global"), dropout, name=f"{name}_dropout")
    return apply(Dense(classes), x, name=f"{name}_logits")


inception_v2 = Architecture(
    backbone=v2,
    reference="arXiv:1502.03167, figure 5",
    year=2015,
    params=11_188_288,
)
inception_v3 = Architecture(
    backbone=v3,
    head=partial(head, dropout=0.2),
    aux={"mixed7": side},
    input_shape=(299, 299, 3),
    reference="arXiv:1512.00567, table 1",
    year=2015,
    params=23_834_568,
    receptive_field=1311,
    min_input_size=75,
    variants={
        "keras": {
            "options": {"norm": BatchNorm(epsilon=1e-3, momentum=0.99, scale=False)},
            "head": head,
            "params": 23_817_352,
            "weight_mappings": IN_KERAS,
            "weights": KERAS,
        },
        "torchvision": {
            "head": partial(head, dropout=0.5),
            "overrides": {"mixed{0,1,2,4,5,6,7,9,10}_pool.count_include_pad": True},
            "weight_mappings": IN_TORCHVISION,
            "weights": TORCHVISION,
        },
    },
)
