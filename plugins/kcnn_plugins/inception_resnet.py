"""Inception v4, Inception-ResNet v1 and v2 (Szegedy et al., 2016), with kernels as in the authors' code."""

from functools import partial
from typing import Any

from kcnn import Architecture
from kcnn.blocks import Norm, Ways, apply, branches, conv, drop_rates, head, join, maxpool
from kcnn.ops import Act, BatchNorm, Rescale
from kcnn_plugins.inception_resnet_weights import KERAS, LAYOUTS, V4_LAYOUTS

NORM = BatchNorm(epsilon=1e-3)
ROW, COLUMN = (1, 7), (7, 1)
SUBSAMPLE = [("max", 3, 2)]


def pooled(projection: int):
    return [("average", 3, 1), (projection, 1)]


STEM_V4: dict[str, Ways] = {  # arXiv:1602.07261, figure 3
    "stem4": {"pool": SUBSAMPLE, "3x3": [(96, 3, 2)]},
    "stem5": {
        "3x3": [(64, 1), (96, 3, 1, "valid")],
        "7x7": [(64, 1), (64, ROW), (64, COLUMN), (96, 3, 1, "valid")],
    },
    "stem6": {"3x3": [(192, 3, 2)], "pool": SUBSAMPLE},
}
A: Ways = {
    "1x1": [(96, 1)],
    "3x3": [(64, 1), (96, 3)],
    "double": [(64, 1), (96, 3), (96, 3)],
    "pool": pooled(96),
}
B: Ways = {
    "1x1": [(384, 1)],
    "7x7": [(192, 1), (224, ROW), (256, COLUMN)],
    "double": [(192, 1), (192, COLUMN), (224, ROW), (224, COLUMN), (256, ROW)],
    "pool": pooled(128),
}
C: Ways = {
    "1x1": [(256, 1)],
    "3x3": [(384, 1), [(256, (1, 3)), (256, (3, 1))]],
    "double": [(384, 1), (448, (3, 1)), (512, (1, 3)), [(256, (1, 3)), (256, (3, 1))]],
    "pool": pooled(256),
}
LATE: Ways = {
    "3x3": [(192, 1), (192, 3, 2)],
    "7x7": [(256, 1), (256, ROW), (320, COLUMN), (320, 3, 2)],
    "pool": SUBSAMPLE,
}


def reduction(k: int, l: int, m: int, n: int):  # noqa: E741 - the paper's letters
    """35x35 to 17x17 (figure 7, with the filters of table 1)."""
    return {"3x3": [(n, 3, 2)], "double": [(k, 1), (l, 3), (m, 3, 2)], "pool": SUBSAMPLE}


V4: tuple[tuple[str, Ways, int], ...] = (  # name, branches, repeats (figure 9)
    ("inception_a", A, 4),
    ("reduction_a", reduction(192, 224, 256, 384), 1),
    ("inception_b", B, 7),
    ("reduction_b", LATE, 1),
    ("inception_c", C, 3),
)
V1_BLOCKS = (  # name, branches, repeats, the scale of a residual or 0 for a block that is none (figures 10 to 15)
    ("block_a", {"1x1": [(32, 1)], "3x3": [(32, 1), (32, 3)], "double": [(32, 1), (32, 3), (32, 3)]}, 5, 0.17),
    ("reduction_a", reduction(192, 192, 256, 384), 1, 0),
    ("block_b", {"1x1": [(128, 1)], "7x7": [(128, 1), (128, ROW), (128, COLUMN)]}, 10, 0.1),
    (
        "reduction_b",
        {
            "3x3a": [(256, 1), (384, 3, 2)],
            "3x3b": [(256, 1), (256, 3, 2)],
            "double": [(256, 1), (256, 3), (256, 3, 2)],
            "pool": SUBSAMPLE,
        },
        1,
        0,
    ),
    ("block_c", {"1x1": [(192, 1)], "3x3": [(192, 1), (192, (1, 3)), (192, (3, 1))]}, 5, 0.2),
)
V2_BLOCKS = (  # the authors' code, which has more and narrower blocks than the paper's figures 16 to 19
    (
        "mixed",
        {"1x1": [(96, 1)], "5x5": [(48, 1), (64, 5)], "double": [(64, 1), (96, 3), (96, 3)], "pool": pooled(64)},
        1,
        0,
    ),
    ("block_a", {"1x1": [(32, 1)], "3x3": [(32, 1), (32, 3)], "double": [(32, 1), (48, 3), (64, 3)]}, 10, 0.17),
    ("reduction_a", reduction(256, 256, 384, 384), 1, 0),
    ("block_b", {"1x1": [(192, 1)], "7x7": [(128, 1), (160, ROW), (192, COLUMN)]}, 20, 0.1),
    (
        "reduction_b",
        {
            "3x3a": [(256, 1), (384, 3, 2)],
            "3x3b": [(256, 1), (288, 3, 2)],
            "double": [(256, 1), (288, 3), (320, 3, 2)],
            "pool": SUBSAMPLE,
        },
        1,
        0,
    ),
    ("block_c", {"1x1": [(192, 1)], "3x3": [(192, 1), (224, (1, 3)), (256, (3, 1))]}, 9, 0.2),
    ("block_last", {"1x1": [(192, 1)], "3x3": [(192, 1), (224, (1, 3)), (256, (3, 1))]}, 1, 1.0),
)


def stem(x, rows, norm: Norm):
    """Convolutions (filters, kernel, stride, padding); a word among them is a 3x3 max pool of stride 2."""
    number = 0
    for row in rows:
        if row == "pool":
            x = maxpool(x, 3, stride=2, name=f"stem{number}_pool")
            continue
        number += 1
        filters, kernel, stride, padding = row
        x = conv(x, filters, kernel, stride=stride, padding=padding, norm=norm, name=f"stem{number}")
    return x


OPENING = (32, 3, 2, "valid"), (32, 3, 1, "valid"), (64, 3, 1, "same")
STEM_V1 = (*OPENING, "pool", (80, 1, 1, "valid"), (192, 3, 1, "valid"), (256, 3, 2, "valid"))  # figure 14
STEM_V2 = (*OPENING, "pool", (80, 1, 1, "valid"), (192, 3, 1, "valid"), "pool")


def v4(x, *, norm: Norm = NORM):
    """A stem of forks, then three kinds of blocks: 299x299 -> 35x35 -> 17x17 -> 8x8."""
    x = stem(x, OPENING, norm)
    for name, ways in STEM_V4.items():
        x = branches(x, ways, norm=norm, name=name)
    for name, ways, repeats in V4:
        for number in range(1, repeats + 1):
            x = branches(x, ways, norm=norm, name=f"{name}{number}")
    return x


def scaled_residual(x, ways, scale: float, *, norm: Norm, drop_path: float, act: str | None, name: str):
    """Branches, a linear 1x1 of `x`'s channels, times `scale`, added to `x` (figures 10 and 20)."""
    y = branches(x, ways, norm=norm, name=f"{name}_mixed")
    y = conv(y, x.shape[-1], 1, act=None, name=f"{name}_up")
    y = join(x, apply(Rescale(scale, 0.0), y, name=f"{name}_scale"), drop_path=drop_path, name=name)
    return apply(Act(act), y, name=name) if act else y


def residual_body(x, *, table: tuple, stem_rows: tuple, last: int = 0, norm: Norm = NORM, drop_path: float = 0.0):
    """Blocks of the table, residual where they have a scale; `last` are the filters of a closing 1x1."""
    x = stem(x, stem_rows, norm)
    rates = drop_rates(drop_path, sum(repeats for _, _, repeats, scale in table if scale))
    for block, ways, repeats, scale in table:
        for number in range(1, repeats + 1):
            name = f"{block}{number}" if repeats > 1 else block
            if not scale:
                x = branches(x, ways, norm=norm, name=name)
                continue
            act = None if block == "block_last" else "relu"
            x = scaled_residual(x, ways, scale, norm=norm, drop_path=next(rates), act=act, name=name)
    return conv(x, last, 1, norm=norm, name="last") if last else x


def published(body: Any, params: int, figures: str, layouts: Any, variants: Any = None, **options: Any) -> Architecture:
    return Architecture(
        body=body,
        head=partial(head, dropout=0.2),
        input_shape=(299, 299, 3),
        reference=f"arXiv:1602.07261, {figures}",
        year=2016,
        options=options,
        params=params,
        layouts=layouts,
        variants=variants or {},
    )


LIKE_KERAS = {
    "options": {"norm": BatchNorm(epsilon=1e-3, momentum=0.99, scale=False)},
    "head": head,
    "params": 55_813_192,
    "weights": KERAS,
}
inception_v4 = published(v4, 42_679_816, "figures 3 to 9", V4_LAYOUTS)
inception_resnet_v1 = published(residual_body, 22_756_328, "figures 10 to 15", {}, table=V1_BLOCKS, stem_rows=STEM_V1)
inception_resnet_v2 = published(
    residual_body,
    55_843_464,
    "figure 15, with the authors' code's blocks",
    LAYOUTS,
    {"keras": LIKE_KERAS},
    table=V2_BLOCKS,
    stem_rows=STEM_V2,
    last=1536,
)
