"""MobileOne (Vasu et al., 2022): depthwise and 1x1 convolutions, trained with linear branches beside each."""

from kcnn import Architecture
from kcnn.blocks import Norm, drop_path_rates, parallel_conv
from kcnn.graph.ops import STANDARDIZED
from kcnn_plugins.mobileone_weights import map_timm

UNITS = ((64, 2), (128, 8), (256, 10), (512, 1))  # filters and units of a stage (arXiv:2206.04040, section 3.3)


def backbone(x, *, widths: tuple[float, ...], branches: int = 1, norm: Norm = True, drop_path: float = 0.0):
    """Apply a 3x3 convolution of stride 2, then stages of units, the first of each with stride 2.

    A unit is a depthwise 3x3 and a 1x1, each the sum of `branches` convolutions and what is beside them. `widths`
    multiply the filters of the stages; the first convolution has no more than 64.
    """
    x = parallel_conv(x, min(64, int(64 * widths[0])), stride=2, norm=norm, name="stem")
    rates = drop_path_rates(drop_path, 2 * sum(units for _, units in UNITS))
    for stage, ((filters, units), width) in enumerate(zip(UNITS, widths, strict=True), 1):
        for unit in range(1, units + 1):
            channels, name = x.shape[-1], f"stage{stage}_unit{unit}"
            stride = 2 if unit == 1 else 1
            x = parallel_conv(
                *(x, channels),
                stride=stride,
                groups=channels,
                repeats=branches,
                drop_path=next(rates),
                norm=norm,
                name=f"{name}_depthwise",
            )
            x = parallel_conv(
                *(x, int(filters * width), 1),
                repeats=branches,
                drop_path=next(rates),
                norm=norm,
                name=f"{name}_pointwise",
            )
    return x


def make_architecture(name: str, *widths: float, params: int, branches: int = 1) -> Architecture:
    """Return a network of the paper."""
    return Architecture(
        backbone=backbone,
        reference="arXiv:2206.04040, section 3.3",
        year=2022,
        rescale=STANDARDIZED,
        options={"widths": widths, "branches": branches},
        params=params,
        map_sizes=(112, 56, 28, 14, 7),
        weight_mappings=map_timm(name),
    )


mobileone_s0 = make_architecture("mobileone_s0", 0.75, 1.0, 1.0, 2.0, params=5_293_272, branches=4)
mobileone_s1 = make_architecture("mobileone_s1", 1.5, 1.5, 2.0, 2.5, params=4_825_192)
mobileone_s2 = make_architecture("mobileone_s2", 1.5, 2.0, 2.5, 4.0, params=7_884_648)
mobileone_s3 = make_architecture("mobileone_s3", 2.0, 2.5, 3.0, 4.0, params=10_170_600)
