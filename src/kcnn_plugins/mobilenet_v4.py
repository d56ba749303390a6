"""MobileNet v4 (Qin et al., 2024), without attention: universal inverted bottlenecks."""

from functools import partial

from kcnn import Architecture, blocks
from kcnn.blocks import Norm, apply, conv, drop_path_rates, universal_inverted_bottleneck
from kcnn.graph.ops import STANDARDIZED, BatchNorm, Dense, Flatten, GlobalPool
from kcnn_plugins.mobilenet_v4_weights import map_timm

FUSED = None  # a 3x3 convolution in place of 1x1 and depthwise
SMALL = (  # stages: kernels of the depthwise convolutions, expansion, channels, stride (arXiv:2404.10518, appendix)
    ((FUSED, 32, 32, 2),),
    ((FUSED, 96, 64, 2),),
    (((5, 5), 192, 96, 2), *(((0, 3), 192, 96, 1),) * 4, ((3, 0), 384, 96, 1)),
    (
        ((3, 3), 576, 128, 2),
        ((5, 5), 512, 128, 1),
        ((0, 5), 512, 128, 1),
        ((0, 5), 384, 128, 1),
        ((0, 3), 512, 128, 1),
        ((0, 3), 512, 128, 1),
    ),
)
MEDIUM = (
    ((FUSED, 128, 48, 2),),
    (((3, 5), 192, 80, 2), ((3, 3), 160, 80, 1)),
    (
        ((3, 5), 480, 160, 2),
        ((3, 3), 640, 160, 1),
        ((3, 3), 640, 160, 1),
        ((3, 5), 640, 160, 1),
        ((3, 3), 640, 160, 1),
        ((3, 0), 640, 160, 1),
        ((0, 0), 320, 160, 1),
        ((3, 0), 640, 160, 1),
    ),
    (
        ((5, 5), 960, 256, 2),
        ((5, 5), 1024, 256, 1),
        ((3, 5), 1024, 256, 1),
        ((3, 5), 1024, 256, 1),
        ((0, 0), 1024, 256, 1),
        ((3, 0), 1024, 256, 1),
        ((3, 5), 512, 256, 1),
        ((5, 5), 1024, 256, 1),
        ((0, 0), 1024, 256, 1),
        ((0, 0), 1024, 256, 1),
        ((5, 0), 512, 256, 1),
    ),
)
LARGE = (
    ((FUSED, 96, 48, 2),),
    (((3, 5), 192, 96, 2), ((3, 3), 384, 96, 1)),
    (
        ((3, 5), 384, 192, 2),
        *(((3, 3), 768, 192, 1),) * 3,
        ((3, 5), 768, 192, 1),
        *(((5, 3), 768, 192, 1),) * 5,
        ((3, 0), 768, 192, 1),
    ),
    (
        ((5, 5), 768, 512, 2),
        *(((5, 5), 2048, 512, 1),) * 3,
        ((5, 0), 2048, 512, 1),
        ((5, 3), 2048, 512, 1),
        ((5, 0), 2048, 512, 1),
        ((5, 0), 2048, 512, 1),
        ((5, 3), 2048, 512, 1),
        ((5, 5), 2048, 512, 1),
        *(((5, 0), 2048, 512, 1),) * 3,
    ),
)
NORM = BatchNorm(epsilon=1e-3, momentum=0.997)  # as in the authors' code (tensorflow/models, official/vision)
SMALL_NORM = BatchNorm(epsilon=1e-6, momentum=0.95)


def v4(x, *, table: tuple, stem: int, active_fused: bool = False, norm: Norm = NORM, drop_path: float = 0.0):
    """Apply a convolution, the table's stages and a last 1x1 to 960 channels.

    `active_fused` activates the 1x1 of fused blocks, as the small network of the authors' code does.
    """
    x = conv(x, stem, 3, stride=2, norm=norm, name="stem")
    rates = drop_path_rates(drop_path, sum(map(len, table)))
    for stage, units in enumerate(table, 1):
        for unit, (kernels, expand, filters, stride) in enumerate(units, 1):
            name, rate = f"stage{stage}_unit{unit}", next(rates)
            if kernels is FUSED:
                x = conv(x, expand, 3, stride=stride, norm=norm, name=f"{name}_expand")
                x = conv(x, filters, 1, norm=norm, activation="relu" if active_fused else None, name=f"{name}_project")
            else:
                x = universal_inverted_bottleneck(
                    x, filters, expand, kernels, stride=stride, norm=norm, drop_path=rate, name=name
                )
    return conv(x, 960, 1, norm=norm, name="last")


def v4_head(x, classes: int, *, units: int = 1280, norm: Norm = NORM, dropout: float = 0.2):
    """Average each channel, then apply a normalized 1x1 convolution and a dense layer."""
    x = conv(apply(GlobalPool(keepdims=True), x, name="pool"), units, 1, norm=norm, name="fc")
    x = blocks.dropout(apply(Flatten(), x, name="flatten"), dropout, name="dropout")
    return apply(Dense(classes), x, name="logits")


def make_architecture(
    size: str,
    table: tuple,
    stem: int,
    side: int,
    dropout: float,
    params: int,
    *,
    active_fused: bool = False,
    norm: Norm = NORM,
) -> Architecture:
    """Return the network with timm's variant."""
    return Architecture(
        backbone=v4,
        head=partial(v4_head, dropout=dropout),
        input_shape=(side, side, 3),
        reference="arXiv:2404.10518, appendix, architecture specifications",
        year=2024,
        options={"table": table, "stem": stem, "active_fused": active_fused, "norm": norm},
        params=params,
        map_sizes=tuple(side >> times for times in range(1, 6)),
        rescale=STANDARDIZED,
        variants={
            "timm": {
                "options": {"norm": BatchNorm()},
                "overrides": {"*.padding": "half"},
                "weight_mappings": map_timm(f"mobilenetv4_conv_{size}"),
            }
        },
    )


mobilenet_v4_conv_small = make_architecture(
    *("small", SMALL, 32, 224, 0.3, 3_774_024), active_fused=True, norm=SMALL_NORM
)
mobilenet_v4_conv_medium = make_architecture("medium", MEDIUM, 32, 256, 0.2, 9_715_512)
mobilenet_v4_conv_large = make_architecture("large", LARGE, 24, 384, 0.2, 32_590_864)
