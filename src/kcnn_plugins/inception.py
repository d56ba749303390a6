"""Inception v2 (Ioffe & Szegedy, 2015) and v3 (Szegedy et al., 2015): factorized kernels, batch normalization."""

from functools import partial

from kcnn import Architecture, blocks
from kcnn.blocks import Branches, Norm, apply, average_pool, branches, conv, head, max_pool, sequential
from kcnn.graph.ops import BatchNorm, Conv, Dense, GlobalPool, Pool
from kcnn_plugins.inception_weights import KERAS, KERAS_MAPPING, TORCHVISION, TORCHVISION_MAPPING

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
    """Apply a separable 7x7 of depth multiplier 8, a 3x3, then ten blocks whose 5x5 are two 3x3."""
    channels = x.shape[-1]
    x = conv(x, 8 * channels, 7, stride=2, groups=channels, bias=False, activation=None, name="stem_depthwise")
    x = max_pool(conv(x, 64, 1, norm=norm, name="stem"), 3, stride=2, padding="same", name="pool1")
    x = conv(conv(x, 64, 1, norm=norm, name="conv2_reduce"), 192, 3, norm=norm, name="conv2")
    x = max_pool(x, 3, stride=2, padding="same", name="pool2")
    for block, (c1, r3, c3, rd, cd, pool, projection, stride) in V2.items():
        table: Branches = (
            {"1x1": Conv(c1, 1)},
            {"3x3_1": Conv(r3, 1), "3x3_2": Conv(c3, 3, stride)},
            {"double_1": Conv(rd, 1), "double_2": Conv(cd), "double_3": Conv(cd, 3, stride)},
            {"pool": Pool(3, stride, "same", pool), "pool_proj": Conv(projection, 1)},
        )
        if stride == 2:
            table = (table[1], table[2], {"pool": Pool(3, 2, "same", pool)})
        x = branches(x, table, norm=norm, name=f"inception_{block}")
    return x


STEM = {
    "stem1": Conv(32, 3, 2, "valid"),
    "stem2": Conv(32, 3, 1, "valid"),
    "stem3": Conv(64),
    "stem3_pool": Pool(3, 2),
    "stem4": Conv(80, 1),
    "stem5": Conv(192, 3, 1, "valid"),
    "stem5_pool": Pool(3, 2),
}
ROW, COLUMN = (1, 7), (7, 1)


def pooled(projection: int):
    """Return a branch of a pool and a 1x1."""
    return {"pool": Pool(3, 1, "same", "average"), "pool_proj": Conv(projection, 1)}


def square(projection: int):
    """Return the branches of a 35x35 block (arXiv:1512.00567, figure 5)."""
    return (
        {"1x1": Conv(64, 1)},
        {"5x5_1": Conv(48, 1), "5x5_2": Conv(64, 5)},
        {"double_1": Conv(64, 1), "double_2": Conv(96), "double_3": Conv(96)},
        pooled(projection),
    )


def factorized(c: int):
    """Return the branches of a 17x17 block: 1x7 and 7x1 kernels with `c` filters between (figure 6)."""
    return (
        {"1x1": Conv(192, 1)},
        {"7x7_1": Conv(c, 1), "7x7_2": Conv(c, ROW), "7x7_3": Conv(192, COLUMN)},
        {
            "double_1": Conv(c, 1),
            "double_2": Conv(c, COLUMN),
            "double_3": Conv(c, ROW),
            "double_4": Conv(c, COLUMN),
            "double_5": Conv(192, ROW),
        },
        pooled(192),
    )


FORKED: Branches = (  # 8x8 blocks (figure 7)
    {"1x1": Conv(320, 1)},
    {"3x3_1": Conv(384, 1), "fork": {"3x3_2a": Conv(384, (1, 3)), "3x3_2b": Conv(384, (3, 1))}},
    {
        "double_1": Conv(448, 1),
        "double_2": Conv(384),
        "fork": {"double_3a": Conv(384, (1, 3)), "double_3b": Conv(384, (3, 1))},
    },
    pooled(192),
)
V3: tuple[Branches, ...] = (  # table 1, with the widths of the authors' code, which the paper leaves out
    square(32),
    square(64),
    square(64),
    (
        {"3x3": Conv(384, 3, 2, "valid")},
        {"double_1": Conv(64, 1), "double_2": Conv(96), "double_3": Conv(96, 3, 2, "valid")},
        {"pool": Pool(3, 2)},
    ),
    factorized(128),
    factorized(160),
    factorized(160),
    factorized(192),
    (
        {"3x3_1": Conv(192, 1), "3x3_2": Conv(320, 3, 2, "valid")},
        {
            "7x7_1": Conv(192, 1),
            "7x7_2": Conv(192, ROW),
            "7x7_3": Conv(192, COLUMN),
            "7x7_4": Conv(192, 3, 2, "valid"),
        },
        {"pool": Pool(3, 2)},
    ),
    FORKED,
    FORKED,
)


def v3(x, *, norm: Norm = NORM):
    """Apply six convolutions and two pools, then eleven blocks: 299x299 -> 35x35 -> 17x17 -> 8x8."""
    x = sequential(x, STEM, norm=norm)
    for number, table in enumerate(V3):
        x = branches(x, table, norm=norm, name=f"mixed{number}")
    return x


def v3_aux(x, classes: int, *, norm: Norm = NORM, dropout: float = 0.0, name: str):
    """Apply the auxiliary classifier to the last 17x17 map (arXiv:1512.00567, section 4 and figure 8)."""
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
    map_sizes=(112, 56, 28, 14, 7),
)
inception_v3 = Architecture(
    backbone=v3,
    head=partial(head, dropout=0.2),
    aux={"mixed7": v3_aux},
    input_shape=(299, 299, 3),
    reference="arXiv:1512.00567, table 1",
    year=2015,
    params=23_834_568,
    map_sizes=(149, 147, 73, 71, 35, 17, 8),
    receptive_field=1311,
    min_input_size=75,
    variants={
        "keras": {
            "options": {"norm": BatchNorm(epsilon=1e-3, momentum=0.99, scale=False)},
            "head": head,
            "params": 23_817_352,
            "weight_mappings": KERAS_MAPPING,
            "weights": KERAS,
        },
        "torchvision": {
            "head": partial(head, dropout=0.5),
            "overrides": {"mixed{0,1,2,4,5,6,7,9,10}_pool.count_include_pad": True},
            "weight_mappings": TORCHVISION_MAPPING,
            "weights": TORCHVISION,
        },
    },
)
