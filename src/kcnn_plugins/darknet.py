"""DarkNet-53 (Redmon and Farhadi, 2018), the backbone of YOLOv3."""

from functools import partial

from kcnn import Architecture
from kcnn.blocks import Norm, apply, conv, drop_path_rates, residual_add
from kcnn.graph.ops import STANDARDIZED, LeakyRelu, Rescale
from kcnn_plugins.darknet_weights import TIMM_MAPPING

DARKNET53 = ((1, 64), (2, 128), (8, 256), (8, 512), (4, 1024))  # units, channels (arXiv:1804.02767, table 1)


def leaky_conv(x, filters: int, kernel: int, *, stride: int = 1, norm: Norm, slope: float, name: str):
    """Apply a convolution, normalization and a leaky rectifier."""
    x = conv(x, filters, kernel, stride=stride, padding="half", norm=norm, activation=None, name=name)
    return apply(LeakyRelu(slope), x, name=f"{name}_leaky_relu")


def backbone(x, *, table: tuple, slope: float = 0.1, norm: Norm = True, drop_path: float = 0.0):
    """Apply a 3x3 convolution, then stages: a 3x3 of stride 2, and units of 1x1 to half the channels, 3x3, and a sum.

    `slope` is that of the rectifiers for negative values, as in the authors' code; timm has 0.01.
    """
    layer = partial(leaky_conv, norm=norm, slope=slope)
    x = layer(x, 32, 3, name="stem")
    rates = drop_path_rates(drop_path, sum(count for count, _ in table))
    for stage, (count, filters) in enumerate(table, 1):
        x = layer(x, filters, 3, stride=2, name=f"stage{stage}_down")
        for number in range(1, count + 1):
            name = f"stage{stage}_unit{number}"
            y = layer(x, filters // 2, 1, name=f"{name}_a")
            y = layer(y, filters, 3, name=f"{name}_b")
            x = residual_add(x, y, drop_path=next(rates), name=name)
    return x


darknet53 = Architecture(
    backbone=backbone,
    input_shape=(256, 256, 3),
    reference="arXiv:1804.02767, table 1",
    year=2018,
    rescale=Rescale(1 / 255, 0.0),
    options={"table": DARKNET53},
    params=41_609_928,
    map_sizes=(256, 128, 64, 32, 16, 8),
    variants={
        "timm": {"options": {"slope": 0.01}, "rescale": STANDARDIZED, "weight_mappings": TIMM_MAPPING},
    },
)
