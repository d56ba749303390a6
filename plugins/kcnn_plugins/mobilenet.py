"""MobileNet v1, v2 and v3 (Howard et al., 2017; Sandler et al., 2018; Howard et al., 2019), at any width."""

from functools import partial

from kcnn import Architecture
from kcnn.blocks import apply, conv, drop_rates, dropped, head, inverted_residual, separable
from kcnn.ops import STANDARDISED, Act, BatchNorm, Dense, GlobalPool
from kcnn_plugins.mobilenet_weights import KERAS, LAYOUTS, TORCHVISION

V1 = (  # filters, stride (arXiv:1704.04861, table 1)
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)
V2 = (  # expansion, channels, repeats, stride (arXiv:1801.04381, table 2)
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
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
NORM = BatchNorm(epsilon=1e-3, momentum=0.99)  # as the authors' code has it


def scaled(filters: float) -> int:
    """The multiple of 8 nearest to `filters`, at least 8, never less than 90 % of it."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters else rounded


def v1(x, *, width: float = 1.0, act: str = "relu6", norm=NORM):
    """A convolution and 13 depthwise separable ones, all of `width` times the paper's filters.

    ReLU6 is the authors' code's, and what all published weights were trained with; the paper's text
    says ReLU.
    """
    x = conv(x, int(32 * width), 3, stride=2, norm=norm, act=act, name="stem")
    for unit, (filters, stride) in enumerate(V1, 1):
        x = separable(x, int(filters * width), 3, stride=stride, norm=norm, act=act, name=f"unit{unit}")
    return x


def v2(x, *, width: float = 1.0, norm=NORM, drop_path: float = 0.0):
    """A convolution, 17 inverted residuals and a last 1x1, which stays at 1280 for widths below 1."""
    x = conv(x, scaled(32 * width), 3, stride=2, norm=norm, act="relu6", name="stem")
    rates = drop_rates(drop_path, sum(repeats for _, _, repeats, _ in V2))
    for stage, (expand, filters, repeats, stride) in enumerate(V2, 1):
        for unit in range(repeats):
            x = inverted_residual(
                x,
                scaled(filters * width),
                expand * x.shape[-1],
                stride=1 if unit else stride,
                norm=norm,
                drop_path=next(rates),
                name=f"stage{stage}_unit{unit + 1}",
            )
    return conv(x, scaled(1280 * max(width, 1.0)), 1, norm=norm, act="relu6", name="last")


def v3(x, *, table: tuple, width: float = 1.0, minimalistic: bool = False, norm=NORM, drop_path: float = 0.0):
    """A convolution, the table's inverted residuals and a last 1x1 to six times its channels.

    `minimalistic` has 3x3 kernels, ReLU and no squeeze-and-excite throughout, for chips that lack
    the rest. The squeeze-and-excite that table 2 marks on the last 1x1 of the small network is
    left out, as in the authors' code: with it the paper's 2.5 M parameters would be 2.7 M.
    """
    x = conv(x, scaled(16 * width), 3, stride=2, norm=norm, act=RE if minimalistic else HS, name="stem")
    rates, before = drop_rates(drop_path, len(table)), 16
    for unit, (kernel, expand, filters, squeezed, act, stride) in enumerate(table, 1):
        expanded = scaled(x.shape[-1] * expand / before)
        x = inverted_residual(
            x,
            scaled(filters * width),
            expanded if unit > 1 else x.shape[-1],
            3 if minimalistic else kernel,
            stride=stride,
            squeeze=scaled(expanded / 4) if squeezed and not minimalistic else 0,
            act=RE if minimalistic else act,
            norm=norm,
            drop_path=next(rates),
            name=f"unit{unit}",
        )
        before = filters
    return conv(x, scaled(6 * x.shape[-1]), 1, norm=norm, act=RE if minimalistic else HS, name="last")


def v3_head(x, classes: int, *, units: int, width: float = 1.0, minimalistic: bool = False, dropout: float = 0.2):
    """Average, one dense layer of `units`, more for widths above 1, then logits (arXiv:1905.02244, figure 5)."""
    x = apply(Dense(scaled(units * max(width, 1.0)), init="he_uniform"), apply(GlobalPool(), x, name="pool"), name="fc")
    x = apply(Act(RE if minimalistic else HS), x, name="fc_act")
    return apply(Dense(classes), dropped(x, dropout, name="dropout"), name="logits")


def published(name: str, year: int, reference: str, params: int, variants: dict, **how) -> Architecture:
    return Architecture(
        reference=reference,
        year=year,
        params=params,
        layouts=LAYOUTS[name],
        weights=KERAS.get(name, ()),
        variants=variants,
        **how,
    )


def like_torchvision(name: str, norm: BatchNorm) -> dict:
    """Margins of kernel // 2 on every side, and the mean and deviation of ImageNet."""
    shared = {"changes": {"*.padding": "half"}, "options": {"norm": norm}, "rescale": STANDARDISED}
    return {**shared, "weights": TORCHVISION[name]}


def v3_of(name: str, table: tuple, units: int, params: int, minimalistic: int) -> Architecture:
    variants = {
        "minimalistic": {
            "options": {"minimalistic": True},
            "params": minimalistic,
            "weights": KERAS[f"{name}.minimalistic"],
        },
        "torchvision": like_torchvision(name, NORM),
    }
    return published(
        name,
        2019,
        f"arXiv:1905.02244, table {1 if table is LARGE else 2}",
        params,
        variants,
        body=v3,
        head=partial(v3_head, units=units),
        options={"table": table},
    )


mobilenet_v1 = published(
    "mobilenet_v1",
    2017,
    "arXiv:1704.04861, table 1",
    4_231_976,
    {
        "keras": {
            "options": {"dropout": 1e-3},
            "changes": {"unit{2,4,6,12}_depthwise.padding": ((0, 1), (0, 1))},  # differs from "same" on odd maps
            "weights": KERAS["mobilenet_v1"],
        }
    },
    body=v1,
)
mobilenet_v2 = published(
    "mobilenet_v2",
    2018,
    "arXiv:1801.04381, table 2",
    3_504_872,
    {"torchvision": like_torchvision("mobilenet_v2", BatchNorm())},
    body=v2,
    head=partial(head, dropout=0.2),
)
mobilenet_v3_large = v3_of("mobilenet_v3_large", LARGE, 1280, 5_483_032, 3_924_288)
mobilenet_v3_small = v3_of("mobilenet_v3_small", SMALL, 1024, 2_542_856, 2_044_736)
