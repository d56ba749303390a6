"""MobileNet v1 and v2 (Howard et al., 2017; Sandler et al., 2018), at any width."""

from functools import partial

from kcnn import Architecture
from kcnn.blocks import Norm, conv, drop_path_rates, head, inverted_residual, make_divisible, separable
from kcnn.graph.ops import STANDARDIZED, BatchNorm
from kcnn_plugins.mobilenet_weights import (
    V1_KERAS,
    V1_MAPPINGS,
    V1_TIMM_MAPPING,
    V2_KERAS,
    V2_KERAS_MAPPING,
    V2_TORCHVISION,
    V2_TORCHVISION_MAPPING,
)

V1 = (  # filters, stride (arXiv:1704.04861, table 1)
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)
V2 = (  # expansion, channels, repeats, stride (arXiv:1801.04381, table 2)
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
# Epsilon as in the authors' code, whose momenta of 0.9997 (v1) and 0.997 (v2) need long training; 0.99 is Keras' in v1.
NORM = BatchNorm(epsilon=1e-3, momentum=0.99)


def v1(x, *, width: float = 1.0, activation: str = "relu6", norm: Norm = NORM):
    """Apply a convolution and 13 depthwise separable ones, all of `width` times the paper's filters.

    ReLU6 is the activation of the authors' code and of all published weights; the paper has ReLU.
    """
    x = conv(x, int(32 * width), 3, stride=2, norm=norm, activation=activation, name="stem")
    for unit, (filters, stride) in enumerate(V1, 1):
        x = separable(x, int(filters * width), 3, stride=stride, norm=norm, activation=activation, name=f"unit{unit}")
    return x


def v2(x, *, width: float = 1.0, norm: Norm = NORM, drop_path: float = 0.0):
    """Apply a convolution, 17 inverted residuals and a last 1x1, which stays at 1280 for widths below 1."""
    x = conv(x, make_divisible(32 * width), 3, stride=2, norm=norm, activation="relu6", name="stem")
    rates = drop_path_rates(drop_path, sum(repeats for _, _, repeats, _ in V2))
    for stage, (expand, filters, repeats, stride) in enumerate(V2, 1):
        for unit in range(repeats):
            x = inverted_residual(
                x,
                make_divisible(filters * width),
                expand * x.shape[-1],
                stride=1 if unit else stride,
                norm=norm,
                drop_path=next(rates),
                name=f"stage{stage}_unit{unit + 1}",
            )
    return conv(x, make_divisible(1280 * max(width, 1.0)), 1, norm=norm, activation="relu6", name="last")


mobilenet_v1 = Architecture(
    backbone=v1,
    reference="arXiv:1704.04861, table 1",
    year=2017,
    params=4_231_976,
    macs=569e6,
    map_sizes=(112, 56, 28, 14, 7),
    receptive_field=315,
    weight_mappings=V1_MAPPINGS,
    weights=V1_KERAS,
    variants={
        "keras": {
            "options": {"dropout": 1e-3},
            "overrides": {"unit{2,4,6,12}_depthwise.padding": ((0, 1), (0, 1))},  # differs from "same" on odd maps
            "weight_mappings": V1_MAPPINGS,
            "weights": V1_KERAS,
        },
        "timm": {
            "options": {"norm": BatchNorm()},
            "overrides": {"*.padding": "half"},
            "weight_mappings": V1_TIMM_MAPPING,
        },
    },
)
mobilenet_v2 = Architecture(
    backbone=v2,
    head=partial(head, dropout=0.2),
    reference="arXiv:1801.04381, table 2",
    year=2018,
    params=3_504_872,
    map_sizes=(112, 56, 28, 14, 7),
    weight_mappings=V2_KERAS_MAPPING,
    weights=V2_KERAS,
    variants={
        "torchvision": {
            "options": {"norm": BatchNorm()},
            "overrides": {"*.padding": "half"},
            "rescale": STANDARDIZED,
            "weight_mappings": V2_TORCHVISION_MAPPING,
            "weights": V2_TORCHVISION,
        }
    },
)
