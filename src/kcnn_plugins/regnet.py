"""RegNet X and Y (Radosavovic et al., 2020): four stages whose widths a quantized linear function gives."""

from typing import Any

from kcnn import Architecture
from kcnn.blocks import Norm, apply, conv, drop_path_rates, project_shortcut, residual_add, squeeze_excite
from kcnn.graph.ops import STANDARDIZED, Activation
from kcnn_plugins.regnet_weights import TIMM_SIZES, TORCHVISION, map_timm, map_torchvision

X = {  # units and channels of each stage, channels of a group, parameters (arXiv:2003.13678, figure 15)
    "200mf": ((1, 1, 4, 7), (24, 56, 152, 368), 8, 2_684_792),
    "400mf": ((1, 2, 7, 12), (32, 64, 160, 384), 16, 5_157_512),
    "600mf": ((1, 3, 5, 7), (48, 96, 240, 528), 24, 6_196_040),
    "800mf": ((1, 3, 7, 5), (64, 128, 288, 672), 16, 7_259_656),
    "1_6gf": ((2, 4, 10, 2), (72, 168, 408, 912), 24, 9_190_136),
    "3_2gf": ((2, 6, 15, 2), (96, 192, 432, 1008), 48, 15_296_552),
    "4gf": ((2, 5, 14, 2), (80, 240, 560, 1360), 40, 22_118_248),
    "6_4gf": ((2, 4, 10, 1), (168, 392, 784, 1624), 56, 26_209_256),
    "8gf": ((2, 5, 15, 1), (80, 240, 720, 1920), 120, 39_572_648),
    "12gf": ((2, 5, 11, 1), (224, 448, 896, 2240), 112, 46_106_056),
    "16gf": ((2, 6, 13, 1), (256, 512, 896, 2048), 128, 54_278_536),
    "32gf": ((2, 7, 13, 1), (336, 672, 1344, 2520), 168, 107_811_560),
}
Y = {  # figure 16
    "200mf": ((1, 1, 4, 7), (24, 56, 152, 368), 8, 3_162_996),
    "400mf": ((1, 3, 6, 6), (48, 104, 208, 440), 8, 4_344_144),
    "600mf": ((1, 3, 7, 4), (48, 112, 256, 608), 16, 6_055_160),
    "800mf": ((1, 3, 8, 2), (64, 128, 320, 768), 16, 6_263_168),
    "1_6gf": ((2, 6, 17, 2), (48, 120, 336, 888), 24, 11_202_430),
    "3_2gf": ((2, 5, 13, 1), (72, 216, 576, 1512), 24, 19_436_338),
    "4gf": ((2, 6, 12, 2), (128, 192, 512, 1088), 64, 20_646_656),
    "6_4gf": ((2, 7, 14, 2), (144, 288, 576, 1296), 72, 30_583_252),
    "8gf": ((2, 4, 10, 1), (168, 448, 896, 2016), 56, 39_180_068),
    "12gf": ((2, 5, 11, 1), (224, 448, 896, 2240), 112, 51_822_544),
    "16gf": ((2, 4, 11, 1), (224, 448, 1232, 3024), 112, 83_590_140),
    "32gf": ((2, 5, 12, 1), (232, 696, 1392, 3712), 232, 145_046_770),
    "128gf": ((2, 7, 17, 1), (528, 1056, 2904, 7392), 264, 644_812_894),  # of SWAG (arXiv:2201.08371)
}
# torchvision rounds a width halfway between two multiples of the group up, the authors to the even multiple
ROUNDED_UP = {
    "x_400mf": ((32, 64, 160, 400), 5_495_976),
    "y_800mf": ((64, 144, 320, 784), 6_432_512),
    "y_8gf": ((224, 448, 896, 2016), 39_381_472),
}


def unit(x, filters: int, *, group_width: int, stride: int, squeeze: int, norm: Norm, drop_path: float, name: str):
    """Apply a bottleneck that is as wide as its output, with the stride and the groups on its 3x3 (figure 4)."""
    y = conv(x, filters, 1, norm=norm, name=f"{name}_a")
    groups = filters // min(group_width, filters)
    y = conv(y, filters, 3, stride=stride, padding="half", groups=groups, norm=norm, name=f"{name}_b")
    y = squeeze_excite(y, squeeze, name=f"{name}_squeeze") if squeeze else y
    y = conv(y, filters, 1, norm=norm, activation=None, name=f"{name}_c")
    skip = project_shortcut(x, y, stride=stride, norm=norm, name=f"{name}_skip")
    return apply(Activation("relu"), residual_add(skip, y, drop_path=drop_path, name=name), name=name)


def backbone(
    x,
    *,
    depths: tuple[int, ...],
    widths: tuple[int, ...],
    group_width: int,
    squeeze_ratio: float = 0.0,
    norm: Norm = True,
    drop_path: float = 0.0,
):
    """Apply a 3x3 convolution of stride 2, then stages of `depths` units, the first of each with stride 2.

    Squeeze-and-excitation reduces to `squeeze_ratio` times the channels of a unit's input.
    """
    x = conv(x, 32, 3, stride=2, padding="half", norm=norm, name="stem")
    rates = drop_path_rates(drop_path, sum(depths))
    for stage, (depth, filters) in enumerate(zip(depths, widths, strict=True), 1):
        for number in range(1, depth + 1):
            x = unit(
                x,
                filters,
                group_width=group_width,
                stride=2 if number == 1 else 1,
                squeeze=round(squeeze_ratio * x.shape[-1]),
                norm=norm,
                drop_path=next(rates),
                name=f"stage{stage}_unit{number}",
            )
    return x


def make_architecture(space: str, size: str) -> Architecture:
    """Return the network with its variants."""
    name = f"{space}_{size}"
    depths, widths, group_width, params = (X if space == "x" else Y)[size]
    timm = map_timm(f"regnet{space}_{TIMM_SIZES[size]}")
    torchvision = map_torchvision() if name in TORCHVISION else {}
    published: dict[str, Any] = {"weight_mappings": {**torchvision, **timm}, "weights": TORCHVISION.get(name, ())}
    variants = {}
    if name in ROUNDED_UP:
        wider, count = ROUNDED_UP[name]
        published["weight_mappings"] |= map_timm(f"regnet{space}_{TIMM_SIZES[size]}_tv")
        variants["torchvision"] = {"options": {"widths": wider}, "params": count, **published}
        published = {"weight_mappings": timm}
    return Architecture(
        backbone=backbone,
        reference="arXiv:2201.08371" if size == "128gf" else f"arXiv:2003.13678, figure {15 if space == 'x' else 16}",
        year=2022 if size == "128gf" else 2020,
        rescale=STANDARDIZED,
        options={
            "depths": depths,
            "widths": widths,
            "group_width": group_width,
            "squeeze_ratio": 0.25 if space == "y" else 0.0,
        },
        params=params,
        map_sizes=(112, 56, 28, 14, 7),
        variants=variants,
        **published,
    )


regnet_x_200mf = make_architecture("x", "200mf")
regnet_x_400mf = make_architecture("x", "400mf")
regnet_x_600mf = make_architecture("x", "600mf")
regnet_x_800mf = make_architecture("x", "800mf")
regnet_x_1_6gf = make_architecture("x", "1_6gf")
regnet_x_3_2gf = make_architecture("x", "3_2gf")
regnet_x_4gf = make_architecture("x", "4gf")
regnet_x_6_4gf = make_architecture("x", "6_4gf")
regnet_x_8gf = make_architecture("x", "8gf")
regnet_x_12gf = make_architecture("x", "12gf")
regnet_x_16gf = make_architecture("x", "16gf")
regnet_x_32gf = make_architecture("x", "32gf")
regnet_y_200mf = make_architecture("y", "200mf")
regnet_y_400mf = make_architecture("y", "400mf")
regnet_y_600mf = make_architecture("y", "600mf")
regnet_y_800mf = make_architecture("y", "800mf")
regnet_y_1_6gf = make_architecture("y", "1_6gf")
regnet_y_3_2gf = make_architecture("y", "3_2gf")
regnet_y_4gf = make_architecture("y", "4gf")
regnet_y_6_4gf = make_architecture("y", "6_4gf")
regnet_y_8gf = make_architecture("y", "8gf")
regnet_y_12gf = make_architecture("y", "12gf")
regnet_y_16gf = make_architecture("y", "16gf")
regnet_y_32gf = make_architecture("y", "32gf")
regnet_y_128gf = make_architecture("y", "128gf")
