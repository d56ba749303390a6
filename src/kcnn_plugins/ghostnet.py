"""GhostNet (Han et al., 2019), at any width: half of the channels are made from the others by a cheap 3x3."""

from kcnn import Architecture, blocks
from kcnn.blocks import (
    Norm,
    apply,
    conv,
    depthwise,
    drop_path_rates,
    make_divisible,
    match_stride,
    residual_add,
    squeeze_excite,
)
from kcnn.graph.ops import STANDARDIZED, Activation, Concat, Dense, GlobalPool
from kcnn_plugins.ghostnet_weights import map_timm

TABLE = (  # kernel, expansion, channels, squeeze-and-excite, stride (arXiv:1911.11907, table 1; kernels: authors' code)
    (3, 16, 16, False, 1),
    (3, 48, 24, False, 2),
    (3, 72, 24, False, 1),
    (5, 72, 40, True, 2),
    (5, 120, 40, True, 1),
    (3, 240, 80, False, 2),
    (3, 200, 80, False, 1),
    (3, 184, 80, False, 1),
    (3, 184, 80, False, 1),
    (3, 480, 112, True, 1),
    (3, 672, 112, True, 1),
    (5, 672, 160, True, 2),
    (5, 960, 160, False, 1),
    (5, 960, 160, True, 1),
    (5, 960, 160, False, 1),
    (5, 960, 160, True, 1),
)


def ghost(x, filters: int, *, activation: str | None = "relu", norm: Norm = True, name: str):
    """Apply a 1x1 to half of the channels, and a depthwise 3x3 to these for the other half (figure 2b)."""
    x = conv(x, filters // 2, 1, norm=norm, activation=activation, name=name)
    cheap = depthwise(x, 3, padding="half", norm=norm, activation=activation, name=f"{name}_cheap")
    return apply(Concat(), x, cheap, name=f"{name}_concat")


def ghost_bottleneck(
    x, filters: int, expand: int, kernel: int, *, stride: int, squeeze: int, norm: Norm, drop_path: float, name: str
):
    """Apply a ghost module up, a strided depthwise convolution, and a linear ghost module down (figure 3).

    Where the shapes differ the shortcut is a depthwise convolution and a 1x1.
    """
    y = ghost(x, expand, norm=norm, name=f"{name}_expand")
    if stride > 1:
        y = depthwise(y, kernel, stride=stride, padding="half", norm=norm, activation=None, name=f"{name}_depthwise")
    if squeeze:
        y = squeeze_excite(y, squeeze, gate="hard_sigmoid", name=f"{name}_squeeze")
    y = ghost(y, filters, activation=None, norm=norm, name=f"{name}_project")
    if x.shape != y.shape or stride > 1:
        step = match_stride(x, y, stride)
        x = depthwise(x, kernel, stride=step, padding="half", norm=norm, activation=None, name=f"{name}_skip_a")
        x = conv(x, y.shape[-1], 1, norm=norm, activation=None, name=f"{name}_skip_b")
    return residual_add(x, y, drop_path=drop_path, name=name)


def backbone(x, *, width: float = 1.0, norm: Norm = True, drop_path: float = 0.0):
    """Apply a 3x3 convolution, the table's bottlenecks and a last 1x1, with `width` times the paper's channels."""
    x = conv(x, make_divisible(16 * width, 4), 3, stride=2, padding="half", norm=norm, name="stem")
    rates = drop_path_rates(drop_path, len(TABLE))
    for number, (kernel, expand, filters, has_squeeze, stride) in enumerate(TABLE, 1):
        expanded = make_divisible(expand * width, 4)
        x = ghost_bottleneck(
            x,
            make_divisible(filters * width, 4),
            expanded,
            kernel,
            stride=stride,
            squeeze=make_divisible(expanded / 4, 4) if has_squeeze else 0,
            norm=norm,
            drop_path=next(rates),
            name=f"unit{number}",
        )
    return conv(x, make_divisible(960 * width, 4), 1, norm=norm, name="last")


def ghost_head(x, classes: int, *, dropout: float = 0.2):
    """Average, then apply a dense layer of 1280 units and logits."""
    x = apply(GlobalPool(), x, name="pool")
    x = apply(Activation("relu"), apply(Dense(1280, kernel_initializer="he_uniform"), x, name="fc"), name="fc_act")
    return apply(Dense(classes), blocks.dropout(x, dropout, name="dropout"), name="logits")


def make_architecture(width: float, params: int) -> Architecture:
    """Return the network of a width."""
    return Architecture(
        backbone=backbone,
        head=ghost_head,
        reference="arXiv:1911.11907, table 1",
        year=2019,
        options={"width": width},
        params=params,
        map_sizes=(112, 56, 28, 14, 7),
        rescale=STANDARDIZED,
        weight_mappings=map_timm(f"ghostnet_{round(100 * width):03}"),
    )


ghostnet_0_5 = make_architecture(0.5, 2_587_292)
ghostnet_1_0 = make_architecture(1.0, 5_182_508)
ghostnet_1_3 = make_architecture(1.3, 7_358_820)
