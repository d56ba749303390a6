"""Inception v4 (Szegedy et al., 2016), with rows and columns of its kernels in the order of the authors' code."""

from functools import partial

from kcnn import Architecture
from kcnn.blocks import Branches, Norm, branches, head, sequential
from kcnn.graph.ops import BatchNorm, Conv, Pool
from kcnn_plugins.inception_v4_weights import MAPPINGS

ROW, COLUMN = (1, 7), (7, 1)
SUBSAMPLE = {"pool": Pool(3, 2)}


def pooled(projection: int):
    """Return a branch of a pool and a 1x1."""
    return {"pool": Pool(3, 1, "same", "average"), "pool_proj": Conv(projection, 1)}


STEM = {"stem1": Conv(32, 3, 2, "valid"), "stem2": Conv(32, 3, 1, "valid"), "stem3": Conv(64)}
FORKS: dict[str, Branches] = {  # arXiv:1602.07261, figure 3
    "stem4": (SUBSAMPLE, {"3x3": Conv(96, 3, 2, "valid")}),
    "stem5": (
        {"3x3_1": Conv(64, 1), "3x3_2": Conv(96, 3, 1, "valid")},
        {"7x7_1": Conv(64, 1), "7x7_2": Conv(64, ROW), "7x7_3": Conv(64, COLUMN), "7x7_4": Conv(96, 3, 1, "valid")},
    ),
    "stem6": ({"3x3": Conv(192, 3, 2, "valid")}, SUBSAMPLE),
}
A: Branches = (
    {"1x1": Conv(96, 1)},
    {"3x3_1": Conv(64, 1), "3x3_2": Conv(96)},
    {"double_1": Conv(64, 1), "double_2": Conv(96), "double_3": Conv(96)},
    pooled(96),
)
B: Branches = (
    {"1x1": Conv(384, 1)},
    {"7x7_1": Conv(192, 1), "7x7_2": Conv(224, ROW), "7x7_3": Conv(256, COLUMN)},
    {
        "double_1": Conv(192, 1),
        "double_2": Conv(192, COLUMN),
        "double_3": Conv(224, ROW),
        "double_4": Conv(224, COLUMN),
        "double_5": Conv(256, ROW),
    },
    pooled(128),
)
C: Branches = (
    {"1x1": Conv(256, 1)},
    {"3x3_1": Conv(384, 1), "fork": {"3x3_2a": Conv(256, (1, 3)), "3x3_2b": Conv(256, (3, 1))}},
    {
        "double_1": Conv(384, 1),
        "double_2": Conv(448, (3, 1)),
        "double_3": Conv(512, (1, 3)),
        "fork": {"double_4a": Conv(256, (1, 3)), "double_4b": Conv(256, (3, 1))},
    },
    pooled(256),
)
REDUCTION_A: Branches = (
    {"3x3": Conv(384, 3, 2, "valid")},
    {"double_1": Conv(192, 1), "double_2": Conv(224), "double_3": Conv(256, 3, 2, "valid")},
    SUBSAMPLE,
)
REDUCTION_B: Branches = (
    {"3x3_1": Conv(192, 1), "3x3_2": Conv(192, 3, 2, "valid")},
    {"7x7_1": Conv(256, 1), "7x7_2": Conv(256, ROW), "7x7_3": Conv(320, COLUMN), "7x7_4": Conv(320, 3, 2, "valid")},
    SUBSAMPLE,
)
TABLE = (  # name, branches, repeats (figure 9)
    ("inception_a", A, 4),
    ("reduction_a", REDUCTION_A, 1),
    ("inception_b", B, 7),
    ("reduction_b", REDUCTION_B, 1),
    ("inception_c", C, 3),
)


def backbone(x, *, norm: Norm = BatchNorm(epsilon=1e-3)):  # noqa: B008 - a frozen record
    """Apply a stem of forks, then three kinds of blocks: 299x299 -> 35x35 -> 17x17 -> 8x8."""
    x = sequential(x, STEM, norm=norm)
    for name, table in FORKS.items():
        x = branches(x, table, norm=norm, name=name)
    for name, table, repeats in TABLE:
        for number in range(1, repeats + 1):
            x = branches(x, table, norm=norm, name=f"{name}{number}" if repeats > 1 else name)
    return x


inception_v4 = Architecture(
    backbone=backbone,
    head=partial(head, dropout=0.2),
    input_shape=(299, 299, 3),
    reference="arXiv:1602.07261, figures 3 to 9",
    year=2016,
    params=42_679_816,
    map_sizes=(149, 147, 73, 71, 35, 17, 8),
    weight_mappings=MAPPINGS,
)
