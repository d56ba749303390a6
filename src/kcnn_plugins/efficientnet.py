"""EfficientNet (Tan and Le, 2019), EfficientNet-Lite and EfficientNetV2 (Tan and Le, 2021)."""

from collections.abc import Mapping
from functools import partial
from math import ceil
from typing import Any

from kcnn import Architecture
from kcnn.architectures.publishers import map_timm_units
from kcnn.blocks import (
    Norm,
    conv,
    drop_path_rates,
    fused_inverted_residual,
    head,
    inverted_residual,
    make_divisible,
)
from kcnn.graph.ops import STANDARDIZED, BatchNorm, Rescale
from kcnn_plugins.efficientnet_weights import (
    KERAS,
    KERAS_MAPPING,
    KERAS_V2_MAPPING,
    TORCHVISION,
    TORCHVISION_MAPPING,
    map_keras_hub,
)

V1 = (  # expansion, kernel, channels, layers, stride (arXiv:1905.11946, table 1)
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)
V2_S = (  # fused, expansion, stride, channels, layers (arXiv:2104.00298, table 4)
    (True, 1, 1, 24, 2),
    (True, 4, 2, 48, 4),
    (True, 4, 2, 64, 4),
    (False, 4, 2, 128, 6),
    (False, 6, 1, 160, 9),
    (False, 6, 2, 256, 15),
)
V2_M = (  # M, L, XL and the base of B0 to B3 as in the authors' code, google/automl
    (True, 1, 1, 24, 3),
    (True, 4, 2, 48, 5),
    (True, 4, 2, 80, 5),
    (False, 4, 2, 160, 7),
    (False, 6, 1, 176, 14),
    (False, 6, 2, 304, 18),
    (False, 6, 1, 512, 5),
)
V2_L = (
    (True, 1, 1, 32, 4),
    (True, 4, 2, 64, 7),
    (True, 4, 2, 96, 7),
    (False, 4, 2, 192, 10),
    (False, 6, 1, 224, 19),
    (False, 6, 2, 384, 25),
    (False, 6, 1, 640, 7),
)
V2_XL = (
    (True, 1, 1, 32, 4),
    (True, 4, 2, 64, 8),
    (True, 4, 2, 96, 8),
    (False, 4, 2, 192, 16),
    (False, 6, 1, 256, 24),
    (False, 6, 2, 512, 32),
    (False, 6, 1, 640, 8),
)
V2_BASE = (
    (True, 1, 1, 16, 1),
    (True, 4, 2, 32, 2),
    (True, 4, 2, 48, 2),
    (False, 4, 2, 96, 3),
    (False, 6, 1, 112, 5),
    (False, 6, 2, 192, 8),
)
NORM = BatchNorm(epsilon=1e-3, momentum=0.99)  # arXiv:1905.11946, section 5.2; epsilon as in the authors' code
V2_NORM = BatchNorm(epsilon=1e-3, momentum=0.9)  # as in the authors' code
LITE_RESCALE = Rescale(1 / 128, -127 / 128)  # as in the authors' code
V2_RESCALE = Rescale(1 / 128, -1.0)
HALF = {"*.padding": "half"}
LARGER = {  # timm's names of networks beyond B7 (arXiv:1911.09665 and 1911.04252)
    "tf_efficientnet_b8": {"width": 2.2, "depth": 3.6},
    "tf_efficientnet_l2": {"width": 4.3, "depth": 5.3},
}


def v1(x, *, width: float = 1.0, depth: float = 1.0, lite: bool = False, norm: Norm = NORM, drop_path: float = 0.2):
    """Apply a convolution, seven stages of inverted residuals and a last 1x1, scaled by `width` and `depth`.

    `lite` has ReLU6 and no squeeze-and-excite, and does not scale the stem, the depth of the first and last stages and
    the last 1x1, as the authors' code for mobile devices does.
    """
    activation = "relu6" if lite else "silu"
    ends = 1.0 if lite else width
    repeats = [
        ceil(layers * (1.0 if lite and stage in (1, 7) else depth)) for stage, (*_, layers, _) in enumerate(V1, 1)
    ]
    x = conv(x, make_divisible(32 * ends), 3, stride=2, norm=norm, activation=activation, name="stem")
    rates = drop_path_rates(drop_path, sum(repeats))
    for stage, ((expand, kernel, filters, _, stride), count) in enumerate(zip(V1, repeats, strict=True), 1):
        for unit in range(count):
            x = inverted_residual(
                x,
                make_divisible(filters * width),
                expand * x.shape[-1],
                kernel,
                stride=1 if unit else stride,
                squeeze=0 if lite else max(1, x.shape[-1] // 4),
                squeeze_activation=activation,
                gate="sigmoid",
                activation=activation,
                norm=norm,
                drop_path=next(rates),
                name=f"stage{stage}_unit{unit + 1}",
            )
    return conv(x, make_divisible(1280 * ends), 1, norm=norm, activation=activation, name="last")


def round_to_8(filters: float) -> int:
    """Return the multiple of 8 nearest to a number of filters, at least 8, as V2 scales its widths."""
    return max(8, int(filters + 4) // 8 * 8)


def v2(
    x, *, table: tuple, stem: int, width: float = 1.0, depth: float = 1.0, norm: Norm = V2_NORM, drop_path: float = 0.2
):
    """Apply a convolution, the table's stages of fused and other inverted residuals, and a last 1x1."""
    x = conv(x, round_to_8(stem * width), 3, stride=2, norm=norm, activation="silu", name="stem")
    repeats = [ceil(layers * depth) for *_, layers in table]
    rates = drop_path_rates(drop_path, sum(repeats))
    for stage, ((is_fused, expand, stride, filters, _), count) in enumerate(zip(table, repeats, strict=True), 1):
        for unit in range(count):
            block = fused_inverted_residual if is_fused else squeezed_residual
            x = block(
                x,
                round_to_8(filters * width),
                expand * x.shape[-1],
                stride=1 if unit else stride,
                norm=norm,
                drop_path=next(rates),
                name=f"stage{stage}_unit{unit + 1}",
            )
    return conv(x, round_to_8(1280 * width), 1, norm=norm, activation="silu", name="last")


def squeezed_residual(x, filters: int, expand: int, *, stride: int, norm: Norm, drop_path: float, name: str):
    """Apply an inverted residual with squeeze-and-excite to a quarter of the input's channels."""
    return inverted_residual(
        x,
        filters,
        expand,
        stride=stride,
        squeeze=max(1, x.shape[-1] // 4),
        squeeze_activation="silu",
        gate="sigmoid",
        activation="silu",
        norm=norm,
        drop_path=drop_path,
        name=name,
    )


def halve(side: int) -> tuple[int, ...]:
    """Return the rows of the maps after each of five convolutions of stride 2."""
    return tuple(ceil(side / 2**times) for times in range(1, 6))


def make_torchvision(name: str, norm: Norm = True, rescale: Rescale = STANDARDIZED) -> dict[str, Any]:
    """Return the fields of torchvision's variant: padding as in PyTorch, and normalization."""
    return {
        "options": {"norm": norm},
        "overrides": HALF,
        "rescale": rescale,
        "weight_mappings": TORCHVISION_MAPPING,
        "weights": TORCHVISION[name],
    }


def make_timm(model: str) -> dict[str, Any]:
    """Return the fields of timm's variant: trained in PyTorch, not converted from TensorFlow as its tf_ networks."""
    return {
        "options": {"norm": BatchNorm()},
        "overrides": HALF,
        "rescale": STANDARDIZED,
        "weight_mappings": map_timm_units(model) | map_keras_hub(model),
    }


def make_v1(number: int, width: float, depth: float, side: int, dropout: float, params: int) -> Architecture:
    """Return EfficientNet B0 to B7."""
    name = f"efficientnet_b{number}"
    variants = {"torchvision": make_torchvision(name, BatchNorm() if number < 5 else NORM)}
    if number < 5:  # the same network in timm and KerasHub
        variants["torchvision"]["weight_mappings"] = TORCHVISION_MAPPING | map_timm_units(name) | map_keras_hub(name)
    elif number == 5:
        variants["timm"] = make_timm(name)
    return Architecture(
        backbone=v1,
        head=partial(head, dropout=dropout),
        input_shape=(side, side, 3),
        reference="arXiv:1905.11946, table 1 and section 4",
        year=2019,
        options={"width": width, "depth": depth},
        params=params,
        map_sizes=halve(side),
        rescale=STANDARDIZED,
        weight_mappings=KERAS_MAPPING | map_timm_units(f"tf_{name}", with_options=LARGER if number == 7 else {}),
        weights=KERAS[name],
        variants=variants,
    )


def make_lite(number: int, width: float, depth: float, side: int, dropout: float, params: int) -> Architecture:
    """Return EfficientNet-Lite 0 to 4; Lite 3 and 4 at the input sizes of timm, where the authors have 280 and 300."""
    return Architecture(
        backbone=v1,
        head=partial(head, dropout=dropout),
        input_shape=(side, side, 3),
        reference="the authors' code (tensorflow/tpu, efficientnet/lite), with the blocks of arXiv:1905.11946",
        year=2020,
        options={"width": width, "depth": depth, "lite": True},
        params=params,
        map_sizes=halve(side),
        rescale=LITE_RESCALE,
        weight_mappings=map_timm_units(f"tf_efficientnet_lite{number}"),
        variants={"timm": make_timm("efficientnet_lite0")} if number == 0 else {},
    )


def make_v2(
    name: str,
    table: tuple,
    side: int,
    dropout: float,
    params: int,
    *,
    width: float = 1.0,
    depth: float = 1.0,
    stem: int | None = None,
    rescale: Rescale = V2_RESCALE,
    variants: Mapping[str, Any] | None = None,
) -> Architecture:
    """Return an EfficientNetV2."""
    return Architecture(
        backbone=v2,
        head=partial(head, dropout=dropout),
        input_shape=(side, side, 3),
        reference="arXiv:2104.00298, table 4" + ("" if table is V2_S else ", scaled as in the authors' code"),
        year=2021,
        options={"table": table, "stem": stem or table[0][3], "width": width, "depth": depth},
        params=params,
        map_sizes=halve(side),
        rescale=rescale,
        weight_mappings=KERAS_V2_MAPPING | map_timm_units(f"tf_{name.replace('_v2', 'v2')}"),
        weights=KERAS.get(name, ()),
        variants=variants or {},
    )


def make_v2_base(number: int, width: float, depth: float, side: int, dropout: float, params: int) -> Architecture:
    """Return EfficientNetV2-B0 to B3, which are scaled as EfficientNet is."""
    return make_v2(
        *(f"efficientnet_v2_b{number}", V2_BASE, side, dropout, params),
        width=width,
        depth=depth,
        stem=32,
        rescale=STANDARDIZED,
    )


efficientnet_b0 = make_v1(0, 1.0, 1.0, 224, 0.2, 5_288_548)
efficientnet_b1 = make_v1(1, 1.0, 1.1, 240, 0.2, 7_794_184)
efficientnet_b2 = make_v1(2, 1.1, 1.2, 260, 0.3, 9_109_994)
efficientnet_b3 = make_v1(3, 1.2, 1.4, 300, 0.3, 12_233_232)
efficientnet_b4 = make_v1(4, 1.4, 1.8, 380, 0.4, 19_341_616)
efficientnet_b5 = make_v1(5, 1.6, 2.2, 456, 0.4, 30_389_784)
efficientnet_b6 = make_v1(6, 1.8, 2.6, 528, 0.5, 43_040_704)
efficientnet_b7 = make_v1(7, 2.0, 3.1, 600, 0.5, 66_347_960)
efficientnet_lite0 = make_lite(0, 1.0, 1.0, 224, 0.2, 4_652_008)
efficientnet_lite1 = make_lite(1, 1.0, 1.1, 240, 0.2, 5_416_680)
efficientnet_lite2 = make_lite(2, 1.1, 1.2, 260, 0.3, 6_092_072)
efficientnet_lite3 = make_lite(3, 1.2, 1.4, 300, 0.3, 8_197_096)
efficientnet_lite4 = make_lite(4, 1.4, 1.8, 380, 0.3, 13_006_568)
efficientnet_v2_s = make_v2(
    *("efficientnet_v2_s", V2_S, 384, 0.2, 21_458_488),
    variants={"torchvision": make_torchvision("efficientnet_v2_s", V2_NORM)},
)
efficientnet_v2_m = make_v2(
    *("efficientnet_v2_m", V2_M, 480, 0.3, 54_139_356),
    variants={"torchvision": make_torchvision("efficientnet_v2_m", V2_NORM)},
)
efficientnet_v2_l = make_v2(
    *("efficientnet_v2_l", V2_L, 480, 0.4, 118_515_272),
    variants={"torchvision": make_torchvision("efficientnet_v2_l", V2_NORM, Rescale())},
)
efficientnet_v2_xl = make_v2("efficientnet_v2_xl", V2_XL, 512, 0.4, 208_119_808)
efficientnet_v2_b0 = make_v2_base(0, 1.0, 1.0, 224, 0.2, 7_139_704)
efficientnet_v2_b1 = make_v2_base(1, 1.0, 1.1, 240, 0.2, 8_141_052)
efficientnet_v2_b2 = make_v2_base(2, 1.1, 1.2, 260, 0.3, 10_096_086)
efficientnet_v2_b3 = make_v2_base(3, 1.2, 1.4, 300, 0.3, 14_358_406)
