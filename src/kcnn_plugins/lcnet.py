"""PP-LCNet (Cui et al., 2021), at three widths: depthwise separable convolutions for CPUs."""

from kcnn import Architecture, blocks
from kcnn.architectures.publishers import map_timm_units
from kcnn.blocks import Norm, apply, conv, depthwise, make_divisible, squeeze_excite
from kcnn.graph.ops import STANDARDIZED, Activation, Dense, GlobalPool

TABLE = (  # stages: kernel, channels, squeeze-and-excite, stride (arXiv:2109.15099, table 1)
    ((3, 32, False, 1),),
    ((3, 64, False, 2), (3, 64, False, 1)),
    ((3, 128, False, 2), (3, 128, False, 1)),
    ((3, 256, False, 2), (5, 256, False, 1)),
    ((5, 256, False, 1),) * 4,
    ((5, 512, True, 2), (5, 512, True, 1)),
)
HS = "hard_swish"


def backbone(x, *, width: float = 1.0, norm: Norm = True):
    """Apply a convolution and 13 depthwise separable ones, of `width` times the table's channels."""
    x = conv(x, make_divisible(16 * width), 3, stride=2, padding="half", norm=norm, activation=HS, name="stem")
    for stage, units in enumerate(TABLE, 1):
        for unit, (kernel, filters, has_squeeze, stride) in enumerate(units, 1):
            name = f"stage{stage}_unit{unit}"
            x = depthwise(x, kernel, stride=stride, padding="half", norm=norm, activation=HS, name=f"{name}_depthwise")
            if has_squeeze:
                x = squeeze_excite(x, x.shape[-1] // 4, gate="hard_sigmoid", name=f"{name}_squeeze")
            x = conv(x, make_divisible(filters * width), 1, norm=norm, activation=HS, name=f"{name}_pointwise")
    return x


def lcnet_head(x, classes: int, *, units: int = 1280, dropout: float = 0.2):
    """Average each channel, then apply a dense layer and one of logits (section 3.4)."""
    x = apply(Dense(units, kernel_initializer="he_uniform"), apply(GlobalPool(), x, name="pool"), name="fc")
    x = apply(Activation(HS), x, name="fc_act")
    return apply(Dense(classes), blocks.dropout(x, dropout, name="dropout"), name="logits")


def make_architecture(width: float, params: int) -> Architecture:
    """Return the network of one width."""
    return Architecture(
        backbone=backbone,
        head=lcnet_head,
        reference="arXiv:2109.15099, table 1",
        year=2021,
        options={"width": width},
        params=params,
        map_sizes=(112, 56, 28, 14, 7),
        rescale=STANDARDIZED,
        weight_mappings=map_timm_units(f"lcnet_{round(100 * width):03}", reshaped=("fc",)),
    )


lcnet_0_5 = make_architecture(0.5, 1_880_856)
lcnet_0_75 = make_architecture(0.75, 2_358_288)
lcnet_1_0 = make_architecture(1.0, 2_953_800)
