"""MobileNet v3 (Howard et al., 2019), at any width: squeeze-and-excitation and hard-swish."""

from functools import partial

from kcnn import Architecture, blocks
from kcnn.blocks import Norm, apply, conv, drop_path_rates, inverted_residual, make_divisible
from kcnn.graph.ops import STANDARDIZED, Activation, BatchNorm, Dense, GlobalPool
from kcnn_plugins.mobilenet_v3_weights import (
    KERAS,
    KERAS_MAPPING,
    TORCHVISION,
    TORCHVISION_MAPPING,
    map_keras_hub,
    map_timm,
)

RE, HS = "relu", "hard_swish"
LARGE = (  # kernel, expansion, channels, squeeze-and-excite, activation, stride (arXiv:1905.02244, table 1)
    (3, 16, 16, False, RE, 1),
    (3, 64, 24, False, RE, 2),
    (3, 72, 24, False, RE, 1),
    (5, 72, 40, True, RE, 2),
    (5, 120, 40, True, RE, 1),
    (5, 120, 40, True, RE, 1),
    (3, 240, 80, False, HS, 2),
    (3, 200, 80, False, HS, 1),
    (3, 184, 80, False, HS, 1),
    (3, 184, 80, False, HS, 1),
    (3, 480, 112, True, HS, 1),
    (3, 672, 112, True, HS, 1),
    (5, 672, 160, True, HS, 2),
    (5, 960, 160, True, HS, 1),
    (5, 960, 160, True, HS, 1),
)
SMALL = (  # table 2
    (3, 16, 16, True, RE, 2),
    (3, 72, 24, False, RE, 2),
    (3, 88, 24, False, RE, 1),
    (5, 96, 40, True, HS, 2),
    (5, 240, 40, True, HS, 1),
    (5, 240, 40, True, HS, 1),
    (5, 120, 48, True, HS, 1),
    (5, 144, 48, True, HS, 1),
    (5, 288, 96, True, HS, 2),
    (5, 576, 96, True, HS, 1),
    (5, 576, 96, True, HS, 1),
)
NORM = BatchNorm(epsilon=1e-3, momentum=0.99)  # section 6.1.1; epsilon as in the authors' code


def v3(
    x,
    *,
    table: tuple,
    width: float = 1.0,
    stem_width: float | None = None,
    minimalistic: bool = False,
    scale_table: bool = False,
    norm: Norm = NORM,
    drop_path: float = 0.0,
):
    """Apply a convolution, the table's inverted residuals and a last 1x1 to six times its channels.

    `minimalistic` has 3x3 kernels and ReLU and no squeeze-and-excite, for chips that lack the rest. The
    squeeze-and-excite that table 2 marks on the last 1x1 of the small network is left out, as in the authors' code:
    with it the paper's 2.5 M parameters would be 2.7 M. An expansion is the table's multiple of the input channels, as
    in that code; `scale_table` scales the table's own numbers by the width, as torchvision does. `stem_width` is the
    first convolution's, where it differs.
    """
    first = make_divisible(16 * (width if stem_width is None else stem_width))
    x = conv(x, first, 3, stride=2, norm=norm, activation=RE if minimalistic else HS, name="stem")
    rates, before = drop_path_rates(drop_path, len(table)), 16
    for unit, (kernel, expand, filters, has_squeeze, activation, stride) in enumerate(table, 1):
        expanded = make_divisible(expand * width if scale_table else x.shape[-1] * expand / before)
        x = inverted_residual(
            x,
            make_divisible(filters * width),
            expanded if unit > 1 else x.shape[-1],
            3 if minimalistic else kernel,
            stride=stride,
            squeeze=make_divisible(expanded / 4) if has_squeeze and not minimalistic else 0,
            activation=RE if minimalistic else activation,
            norm=norm,
            drop_path=next(rates),
            name=f"unit{unit}",
        )
        before = filters
    return conv(x, make_divisible(6 * x.shape[-1]), 1, norm=norm, activation=RE if minimalistic else HS, name="last")


def v3_head(
    x,
    classes: int,
    *,
    units: int,
    width: float = 1.0,
    minimalistic: bool = False,
    scale_table: bool = False,
    dropout: float = 0.2,
):
    """Average, then apply a dense layer, wider for widths above 1, and logits (arXiv:1905.02244, figure 5)."""
    units = make_divisible(units * (width if scale_table else max(width, 1.0)))
    x = apply(Dense(units, kernel_initializer="he_uniform"), apply(GlobalPool(), x, name="pool"), name="fc")
    x = apply(Activation(RE if minimalistic else HS), x, name="fc_act")
    return apply(Dense(classes), blocks.dropout(x, dropout, name="dropout"), name="logits")


def make_architecture(size: str, table: tuple, number: int, units: int, params: int, minimalistic: int) -> Architecture:
    """Return the network with its variants."""
    return Architecture(
        backbone=v3,
        head=partial(v3_head, units=units),
        reference=f"arXiv:1905.02244, table {number}",
        year=2019,
        options={"table": table},
        params=params,
        map_sizes=(112, 56, 28, 14, 7),
        weight_mappings=KERAS_MAPPING | map_timm(size, is_tensorflow=True),
        weights=KERAS[size],
        variants={
            "minimalistic": {
                "options": {"minimalistic": True},
                "params": minimalistic,
                "weight_mappings": KERAS_MAPPING | map_timm(size, is_tensorflow=True, minimal=True),
                "weights": KERAS[f"{size}_minimalistic"],
            },
            "timm": {
                "options": {"norm": BatchNorm()},
                "overrides": {"*.padding": "half"},
                "rescale": STANDARDIZED,
                "weight_mappings": map_timm(size, is_tensorflow=False) | map_keras_hub(f"mobilenet_v3_{size}_100"),
            },
            "torchvision": {
                "options": {"scale_table": True},
                "overrides": {"*.padding": "half"},
                "rescale": STANDARDIZED,
                "weight_mappings": TORCHVISION_MAPPING,
                "weights": TORCHVISION[size],
            },
        },
    )


mobilenet_v3_large = make_architecture("large", LARGE, 1, 1280, 5_483_032, 3_924_288)
mobilenet_v3_small = make_architecture("small", SMALL, 2, 1024, 2_542_856, 2_044_736)
