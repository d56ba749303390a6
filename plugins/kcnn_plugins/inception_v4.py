"""Inception v4 (Szegedy et al., 2016), with rows and columns of its kernels in the order of the authors' code."""

from functools import partial

from kcnn import Architecture
from kcnn.blocks import Branches, Norm, branches, head, sequential
from kcnn.graph.ops import BatchNorm
from kcnn_plugins.inception_v4_weights import LAYOUTS

ROW, COLUMN = (1, 7), (7, 1)
SUBSAMPLE = [("max", 3, 2)]


def pooled(projection: int):
    return [("average", 3, 1), (projection, 1)]


FORKS: dict[str, Branches] = {  # arXiv:1602.07261, figure 3
    "stem4": {"pool": SUBSAMPLE, "3x3": [(96, 3, 2)]},
    "stem5": {
        "3x3": [(64, 1), (96, 3, 1, "valid")],
        "7x7": [(64, 1), (64, ROW), (64, COLUMN), (96, 3, 1, "valid")],
    },
    "stem6": {"3x3": [(192, 3, 2)], "pool": SUBSAMPLE},
}
A: Branches = {
    "1x1": [(96, 1)],
    "3x3": [(64, 1), (96, 3)],
    "double": [(64, 1), (96, 3), (96, 3)],
    "pool": pooled(96),
}
B: Branches = {
    "1x1": [(384, 1)],
    "7x7": [(192, 1), (224, ROW), (256, COLUMN)],
    "double": [(192, 1), (192, COLUMN), (224, ROW), (224, COLUMN), (256, ROW)],
    "pool": pooled(128),
}
C: Branches = {
    "1x1": [(256, 1)],
    "3x3": [(384, 1), [(256, (1, 3)), (256, (3, 1))]],
    "double": [(384, 1), (448, (3, 1)), (512, (1, 3)), [(256, (1, 3)), (256, (3, 1))]],
    "pool": pooled(256),
}
REDUCTION_A: Branches = {"3x3": [(384, 3, 2)], "double": [(192, 1), (224, 3), (256, 3, 2)], "pool": SUBSAMPLE}
REDUCTION_B: Branches = {
    "3x3": [(192, 1), (192, 3, 2)],
    "7x7": [(256, 1), (256, ROW), (320, COLUMN), (320, 3, 2)],
    "pool": SUBSAMPLE,
}
TABLE = (  # name, branches, repeats (figure 9)
    ("inception_a", A, 4),
    ("reduction_a", REDUCTION_A, 1),
    ("inception_b", B, 7),
    ("reduction_b", REDUCTION_B, 1),
    ("inception_c", C, 3),
)


def body(x, *, norm: Norm = BatchNorm(epsilon=1e-3)):  # noqa: B008 - a frozen record
    """A stem of forks, then three kinds of blocks: 299x299 -> 35x35 -> 17x17 -> 8x8."""
    x = sequential(x, ((32, 3, 2), (32, 3, 1, "valid"), (64, 3)), norm=norm, name="stem")
    for name, ways in FORKS.items():
        x = branches(x, ways, norm=norm, name=name)
    for name, ways, repeats in TABLE:
        for number in range(1, repeats + 1):
            x = branches(x, ways, norm=norm, name=f"{name}{number}" if repeats > 1 else name)
    return x


inception_v4 = Architecture(
    backbone=body,
    head=partial(head, dropout=0.2),
    input_shape=(299, 299, 3),
    reference="arXiv:1602.07261, figures 3 to 9",
    year=2016,
    params=42_679_816,
    weight_mappings=LAYOUTS,
)
