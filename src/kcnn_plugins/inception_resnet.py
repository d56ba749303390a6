"""Inception-ResNet v1 and v2 (Szegedy et al., 2016)."""

from collections.abc import Mapping
from functools import partial

from kcnn import Architecture
from kcnn.blocks import Branches, Norm, apply, branches, conv, drop_path_rates, head, residual_add, sequential
from kcnn.graph.ops import Activation, BatchNorm, Conv, Pool, Rescale
from kcnn_plugins.inception_resnet_weights import KERAS, KERAS_MAPPING, TIMM_MAPPING

NORM = BatchNorm(epsilon=1e-3)
SUBSAMPLE = {"pool": Pool(3, 2)}


def square(c1: int, c3: int, d3: int, d4: int):
    """Return the branches of a 35x35 block: 1x1, 3x3, and two 3x3 (figures 10 and 16)."""
    return (
        {"1x1": Conv(c1, 1)},
        {"3x3_1": Conv(32, 1), "3x3_2": Conv(c3)},
        {"double_1": Conv(32, 1), "double_2": Conv(d3), "double_3": Conv(d4)},
    )


def factorized(c1: int, reduced: int, row: int, column: int):
    """Return the branches of a 17x17 block: 1x1, and a 7x7 as 1x7 and 7x1 (figures 11 and 17)."""
    return (
        {"1x1": Conv(c1, 1)},
        {"7x7_1": Conv(reduced, 1), "7x7_2": Conv(row, (1, 7)), "7x7_3": Conv(column, (7, 1))},
    )


def narrow(c1: int, reduced: int, row: int, column: int):
    """Return the branches of an 8x8 block: 1x1, and a 3x3 as 1x3 and 3x1 (figures 13 and 19)."""
    return (
        {"1x1": Conv(c1, 1)},
        {"3x3_1": Conv(reduced, 1), "3x3_2": Conv(row, (1, 3)), "3x3_3": Conv(column, (3, 1))},
    )


def reduction_a(k: int, l: int, m: int, n: int):  # noqa: E741 - the paper's letters
    """Return the branches from 35x35 to 17x17 (figure 7, with the filters of table 1)."""
    return (
        {"3x3": Conv(n, 3, 2, "valid")},
        {"double_1": Conv(k, 1), "double_2": Conv(l), "double_3": Conv(m, 3, 2, "valid")},
        SUBSAMPLE,
    )


def reduction_b(b2: int, d2: int, d3: int):
    """Return the branches from 17x17 to 8x8 (figures 12 and 18)."""
    return (
        {"3x3a_1": Conv(256, 1), "3x3a_2": Conv(384, 3, 2, "valid")},
        {"3x3b_1": Conv(256, 1), "3x3b_2": Conv(b2, 3, 2, "valid")},
        {"double_1": Conv(256, 1), "double_2": Conv(d2), "double_3": Conv(d3, 3, 2, "valid")},
        SUBSAMPLE,
    )


V1 = (  # name, branches, repeats, the scale of a residual or 0 for a block without one (figures 10 to 15)
    ("block_a", square(32, 32, 32, 32), 5, 0.17),
    ("reduction_a", reduction_a(192, 192, 256, 384), 1, 0),
    ("block_b", factorized(128, 128, 128, 128), 10, 0.1),
    ("reduction_b", reduction_b(256, 256, 256), 1, 0),
    ("block_c", narrow(192, 192, 192, 192), 5, 0.2),
)
MIXED = (
    {"1x1": Conv(96, 1)},
    {"5x5_1": Conv(48, 1), "5x5_2": Conv(64, 5)},
    {"double_1": Conv(64, 1), "double_2": Conv(96), "double_3": Conv(96)},
    {"pool": Pool(3, 1, "same", "average"), "pool_proj": Conv(64, 1)},
)
V2 = (  # the authors' code, which has more and narrower blocks than the paper's figures 16 to 19
    ("mixed", MIXED, 1, 0),
    ("block_a", square(32, 32, 48, 64), 10, 0.17),
    ("reduction_a", reduction_a(256, 256, 384, 384), 1, 0),
    ("block_b", factorized(192, 128, 160, 192), 20, 0.1),
    ("reduction_b", reduction_b(288, 288, 320), 1, 0),
    ("block_c", narrow(192, 192, 224, 256), 9, 0.2),
    ("block_last", narrow(192, 192, 224, 256), 1, 1.0),
)
STEM = {
    "stem1": Conv(32, 3, 2, "valid"),
    "stem2": Conv(32, 3, 1, "valid"),
    "stem3": Conv(64),
    "stem3_pool": Pool(3, 2),
    "stem4": Conv(80, 1),
    "stem5": Conv(192, 3, 1, "valid"),
}
STEM_V1 = {**STEM, "stem6": Conv(256, 3, 2, "valid")}  # figure 14
STEM_V2 = {**STEM, "stem5_pool": Pool(3, 2)}


def scaled_residual(
    x, table: Branches, scale: float, *, norm: Norm, drop_path: float, activation: str | None, name: str
):
    """Apply branches and a linear 1x1, times `scale`, and add them to `x` (figures 10 and 20)."""
    y = branches(x, table, norm=norm, name=f"{name}_mixed")
    y = conv(y, x.shape[-1], 1, activation=None, name=f"{name}_up")
    y = residual_add(x, apply(Rescale(scale, 0.0), y, name=f"{name}_scale"), drop_path=drop_path, name=name)
    return apply(Activation(activation), y, name=name) if activation else y


def backbone(x, *, table: tuple, stem: Mapping, last: int = 0, norm: Norm = NORM, drop_path: float = 0.0):
    """Apply the blocks of the table, residual where they have a scale; `last` are the filters of a closing 1x1."""
    x = sequential(x, stem, norm=norm)
    rates = drop_path_rates(drop_path, sum(repeats for _, _, repeats, scale in table if scale))
    for block, parts, repeats, scale in table:
        for number in range(1, repeats + 1):
            name = f"{block}{number}" if repeats > 1 else block
            if not scale:
                x = branches(x, parts, norm=norm, name=name)
                continue
            activation = None if block == "block_last" else "relu"
            rate = next(rates)
            x = scaled_residual(x, parts, scale, norm=norm, drop_path=rate, activation=activation, name=name)
    return conv(x, last, 1, norm=norm, name="last") if last else x


LIKE_KERAS = {
    "options": {"norm": BatchNorm(epsilon=1e-3, momentum=0.99, scale=False)},
    "head": head,
    "params": 55_813_192,
    "weight_mappings": KERAS_MAPPING,
    "weights": KERAS,
}
inception_resnet_v1 = Architecture(
    backbone=backbone,
    head=partial(head, dropout=0.2),
    input_shape=(299, 299, 3),
    reference="arXiv:1602.07261, figures 10 to 15",
    year=2016,
    options={"table": V1, "stem": STEM_V1},
    params=22_756_328,
    map_sizes=(149, 147, 73, 71, 35, 17, 8),
)
inception_resnet_v2 = Architecture(
    backbone=backbone,
    head=partial(head, dropout=0.2),
    input_shape=(299, 299, 3),
    reference="arXiv:1602.07261, figure 15, with the blocks of the authors' code",
    year=2016,
    options={"table": V2, "stem": STEM_V2, "last": 1536},
    params=55_843_464,
    map_sizes=(149, 147, 73, 71, 35, 17, 8),
    weight_mappings=TIMM_MAPPING,
    variants={"keras": LIKE_KERAS},
)
