"""ConvMixer (Trockman and Kolter, 2022): patches, then depthwise and pointwise convolutions at one size."""

from kcnn import Architecture
from kcnn.blocks import Norm, apply, drop_path_rates, norm_act, residual_add
from kcnn.graph.ops import STANDARDIZED, Activation, Conv, Depthwise
from kcnn_plugins.convmixer_weights import map_timm


def activated(x, op, activation: str, norm: Norm, name: str):
    """Apply a convolution with bias, an activation, and a normalization after it."""
    x = apply(Activation(activation), apply(op, x, name=name), name=f"{name}_{activation}")
    return norm_act(x, norm, None, name)


def backbone(
    x,
    *,
    width: int,
    depth: int,
    kernel: int,
    patch: int = 7,
    activation: str = "gelu",
    norm: Norm = True,
    drop_path: float = 0.0,
):
    """Embed patches in `width` channels, then mix `depth` times over positions and over channels (figure 2)."""
    x = activated(x, Conv(width, patch, patch, "valid"), activation, norm, "stem")
    rates = drop_path_rates(drop_path, depth)
    for number in range(1, depth + 1):
        y = activated(x, Depthwise(kernel, 1, "half"), activation, norm, f"block{number}_depthwise")
        x = residual_add(x, y, drop_path=next(rates), name=f"block{number}")
        x = activated(x, Conv(width, 1), activation, norm, f"block{number}_pointwise")
    return x


def make_architecture(width: int, depth: int, kernel: int, activation: str, params: int) -> Architecture:
    """Return ConvMixer-width/depth, which is timm's as well."""
    return Architecture(
        backbone=backbone,
        reference="arXiv:2201.09792, table 1",
        year=2022,
        options={"width": width, "depth": depth, "kernel": kernel, "activation": activation},
        params=params,
        map_sizes=(32,),
        rescale=STANDARDIZED,
        weight_mappings=map_timm(f"convmixer_{width}_{depth}"),
    )


convmixer_1536_20 = make_architecture(1536, 20, 9, "gelu", 51_625_960)
convmixer_768_32 = make_architecture(768, 32, 7, "relu", 21_110_248)
