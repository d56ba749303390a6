"""Inception-ResNet v1 and v2 (Szegedy et al., 2016)."""

from functools import partial

from kcnn import Architecture
from kcnn.blocks import Norm, apply, branches, conv, drop_path_rates, head, residual_add, sequential
from kcnn.graph.ops import Activation, BatchNorm, Rescale
from kcnn_plugins.inception_resnet_weights import IN_KERAS, IN_TIMM, KERAS

NORM = BatchNorm(epsilon=1e-3)
ROW, COLUMN = (1, 7), (7, 1)
SUBSAMPLE = [("max", 3, 2)]


def pooled(projection: int):
    return [("average", 3, 1), (projection, 1)]


def reduction(k: int, l: int, m: int, n: int):  # noqa: E741 - the paper's letters
    """35x35 to 17x17 (figure 7, with the filters of table 1)."""
    return {"3x3": [(n, 3, 2)], "double": [(k, 1), (l, 3), (m, 3, 2)], "pool": SUBSAMPLE}


V1 = (  # name, branches, repeats, the scale of a residual or 0 for a block that is none (figures 10 to 15)
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
V2 = (  # the authors' code, which has more and narrower blocks than the paper's figures 16 to 19
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


OPENING = (32, 3, 2), (32, 3, 1, "valid"), (64, 3), ("max", 3, 2), (80, 1), (192, 3, 1, "valid")
STEM_V1 = (*OPENING, (256, 3, 2))  # figure 14
STEM_V2 = (*OPENING, ("max", 3, 2))


def scaled_residual(x, ways, scale: float, *, norm: Norm, drop_path: float, act: str | None, name: str):
    """Branches, a linear 1x1 of `x`'s channels, times `scale`, added to `x` (figures 10 and 20)."""
    y = branches(x, ways, norm=norm, name=f"{name}_mixed")
    y = conv(y, x.shape[-1], 1, activation=None, name=f"{name}_up")
    y = residual_add(x, apply(Rescale(scale, 0.0), y, name=f"{name}_scale"), drop_path=drop_path, name=name)
    return apply(Activation(act), y, name=name) if act else y


def body(x, *, table: tuple, stem: tuple, last: int = 0, norm: Norm = NORM, drop_path: float = 0.0):
    """Blocks of the table, residual where they have a scale; `last` are the filters of a closing 1x1."""
    x = sequential(x, stem, norm=norm, name="stem")
    rates = drop_path_rates(drop_path, sum(repeats for _, _, repeats, scale in table if scale))
    for block, ways, repeats, scale in table:
        for number in range(1, repeats + 1):
            name = f"{block}{number}" if repeats > 1 else block
            if not scale:
                x = branches(x, ways, norm=norm, name=name)
                continue
            act = None if block == "block_last" else "relu"
            x = scaled_residual(x, ways, scale, norm=norm, drop_path=next(rates), act=act, name=name)
    return conv(x, last, 1, norm=norm, name="last") if last else x


LIKE_KERAS = {
    "options": {"norm": BatchNorm(epsilon=1e-3, momentum=0.99, scale=False)},
    "head": head,
    "params": 55_813_192,
    "weight_mappings": IN_KERAS,
    "weights": KERAS,
}
inception_resnet_v1 = Architecture(
    backbone=body,
    head=partial(head, dropout=0.2),
    input_shape=(299, 299, 3),
    reference="arXiv:1602.07261, figures 10 to 15",
    year=2016,
    options={"table": V1, "stem": STEM_V1},
    params=22_756_328,
)
inception_resnet_v2 = Architecture(
    backbone=body,
    head=partial(head, dropout=0.2),
    input_shape=(299, 299, 3),
    reference="arXiv:1602.07261, figure 15, with the blocks of the authors' code",
    year=2016,
    options={"table": V2, "stem": STEM_V2, "last": 1536},
    params=55_843_464,
    weight_mappings=IN_TIMM,
    variants={"keras": LIKE_KERAS},
)
