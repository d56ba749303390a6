"""ConvNeXt (Liu et al., 2022) and ConvNeXt V2 (Woo et al., 2023)."""

from kcnn import Architecture, blocks
from kcnn.blocks import apply, conv, depthwise, drop_path_rates, residual_add
from kcnn.graph.ops import STANDARDIZED, Dense, GlobalPool, GlobalResponseNorm, LayerNorm, LayerScale
from kcnn_plugins.convnext_weights import TORCHVISION, TORCHVISION_MAPPING, WEIGHTS, make_keras_mapping, map_timm

PAPER = "arXiv:2201.03545, section 3"
V2_PAPER = "arXiv:2301.00808, section 3 and appendix A.1"
TIMM = "timm's, with the blocks of arXiv:2201.03545"
NORM = LayerNorm(epsilon=1e-6)  # as in the authors' code


def block(x, *, response_norm: bool, layer_scale: float | None, drop_path: float, name: str):
    """Apply a 7x7 to each channel, a 1x1 to four times the channels and one back (arXiv:2201.03545, figure 4)."""
    filters = x.shape[-1]
    y = depthwise(x, 7, norm=False, activation=None, name=f"{name}_depthwise")
    y = apply(NORM, y, name=f"{name}_norm")
    y = conv(y, 4 * filters, 1, activation="gelu", name=f"{name}_expand")
    y = apply(GlobalResponseNorm(), y, name=f"{name}_response_norm") if response_norm else y
    y = conv(y, filters, 1, activation=None, name=f"{name}_project")
    y = apply(LayerScale(layer_scale), y, name=f"{name}_scale") if layer_scale is not None else y
    return residual_add(x, y, drop_path=drop_path, name=name)


def backbone(
    x,
    *,
    repeats: tuple[int, ...],
    filters: tuple[int, ...],
    response_norm: bool = False,
    layer_scale: float | None = 1e-6,
    drop_path: float = 0.0,
):
    """Apply stages of `repeats` blocks of `filters` channels, the first after a 4x4 of stride 4, then after a 2x2.

    Version 2 has `response_norm` in each block, and `layer_scale=None`: no layer scale (arXiv:2301.00808, figure 5).
    """
    rates = drop_path_rates(drop_path, sum(repeats))
    for stage, (count, channels) in enumerate(zip(repeats, filters, strict=True), 1):
        if stage == 1:
            x = conv(x, channels, 4, stride=4, padding="valid", activation=None, name="stem")
            x = apply(NORM, x, name="stem_norm")
        else:
            x = apply(NORM, x, name=f"stage{stage}_norm")
            x = conv(x, channels, 2, stride=2, padding="valid", activation=None, name=f"stage{stage}_down")
        for unit in range(1, count + 1):
            x = block(
                x,
                response_norm=response_norm,
                layer_scale=layer_scale,
                drop_path=next(rates),
                name=f"stage{stage}_unit{unit}",
            )
    return x


def head(x, classes: int, *, dropout: float = 0.0):
    """Average each channel over the map, normalize, then apply one dense layer."""
    x = apply(NORM, apply(GlobalPool(), x, name="pool"), name="head_norm")
    return apply(Dense(classes), blocks.dropout(x, dropout, name="dropout"), name="logits")


def make_architecture(
    size: str, *, repeats: tuple[int, ...], filters: int, params: int, reference: str = PAPER, drop_path: float = 0.0
) -> Architecture:
    """Return a ConvNeXt of `filters` channels in the first stage, twice as many in each that follows."""
    name = f"convnext_{size}"
    mappings = {"timm": map_timm(name)}
    if name in WEIGHTS:
        mappings["keras"] = make_keras_mapping(name)
    if name in TORCHVISION:
        mappings["torchvision"] = TORCHVISION_MAPPING
    return Architecture(
        backbone=backbone,
        head=head,
        reference=reference,
        year=2022,
        options={
            "repeats": repeats,
            "filters": tuple(filters << stage for stage in range(4)),
            "drop_path": drop_path,
        },
        params=params,
        map_sizes=(56, 28, 14, 7),
        rescale=STANDARDIZED,
        weight_mappings=mappings,
        weights=WEIGHTS.get(name, ()),
    )


def make_v2(size: str, *, repeats: tuple[int, ...], filters: int, params: int) -> Architecture:
    """Return a ConvNeXt V2; the weights that its authors publish are for non-commercial use (CC-BY-NC 4.0)."""
    return Architecture(
        backbone=backbone,
        head=head,
        reference=V2_PAPER,
        year=2023,
        options={
            "repeats": repeats,
            "filters": tuple(filters << stage for stage in range(4)),
            "response_norm": True,
            "layer_scale": None,
        },
        params=params,
        map_sizes=(56, 28, 14, 7),
        rescale=STANDARDIZED,
        weight_mappings={"timm": map_timm(f"convnextv2_{size}")},
    )


# Stochastic depth as trained on ImageNet-1K (arXiv:2201.03545, table 5); xlarge as pretrained on ImageNet-22K.
convnext_atto = make_architecture("atto", repeats=(2, 2, 6, 2), filters=40, params=3_695_520, reference=TIMM)
convnext_femto = make_architecture("femto", repeats=(2, 2, 6, 2), filters=48, params=5_217_784, reference=TIMM)
convnext_pico = make_architecture("pico", repeats=(2, 2, 6, 2), filters=64, params=9_045_672, reference=TIMM)
convnext_nano = make_architecture("nano", repeats=(2, 2, 8, 2), filters=80, params=15_593_560, reference=TIMM)
convnext_tiny = make_architecture("tiny", repeats=(3, 3, 9, 3), filters=96, params=28_589_128, drop_path=0.1)
convnext_small = make_architecture("small", repeats=(3, 3, 27, 3), filters=96, params=50_223_688, drop_path=0.4)
convnext_base = make_architecture("base", repeats=(3, 3, 27, 3), filters=128, params=88_591_464, drop_path=0.5)
convnext_large = make_architecture("large", repeats=(3, 3, 27, 3), filters=192, params=197_767_336, drop_path=0.5)
convnext_xlarge = make_architecture("xlarge", repeats=(3, 3, 27, 3), filters=256, params=350_196_968, drop_path=0.2)
convnext_v2_atto = make_v2("atto", repeats=(2, 2, 6, 2), filters=40, params=3_708_400)
convnext_v2_femto = make_v2("femto", repeats=(2, 2, 6, 2), filters=48, params=5_233_240)
convnext_v2_pico = make_v2("pico", repeats=(2, 2, 6, 2), filters=64, params=9_066_280)
convnext_v2_nano = make_v2("nano", repeats=(2, 2, 8, 2), filters=80, params=15_623_800)
convnext_v2_tiny = make_v2("tiny", repeats=(3, 3, 9, 3), filters=96, params=28_635_496)
convnext_v2_base = make_v2("base", repeats=(3, 3, 27, 3), filters=128, params=88_717_800)
convnext_v2_large = make_v2("large", repeats=(3, 3, 27, 3), filters=192, params=197_956_840)
convnext_v2_huge = make_v2("huge", repeats=(3, 3, 27, 3), filters=352, params=660_289_640)
