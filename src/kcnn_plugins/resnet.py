"""ResNet (He et al., 2015), its plain twins, ResNeXt (Xie et al., 2016) and wide ResNets (Zagoruyko, 2016)."""

from typing import Any

from kcnn import Architecture
from kcnn.blocks import bottleneck, conv, drop_path_rates, max_pool, residual
from kcnn.graph.ops import CENTERED, STANDARDIZED, BatchNorm
from kcnn_plugins.resnet_weights import KERAS, KERAS_MAPPING, TORCHVISION, map_torchvision

PAPER = "arXiv:1512.03385, table 1"
LIKE_KERAS = {"bias": True, "norm": BatchNorm(epsilon=1.001e-5, momentum=0.99)}


def stem(x, norm, bias):
    """Apply a 7x7 convolution and a 3x3 pool, each of stride 2."""
    x = conv(x, 64, 7, stride=2, padding="half", norm=norm, bias=bias, name="stem")
    return max_pool(x, 3, stride=2, padding="half", name="stem_pool")


def basic(x, *, repeats: tuple[int, ...], shortcut: str = "projection", norm=True, drop_path: float = 0.0):
    """Apply stages of `repeats` residual blocks of 64, 128, ... filters; each but the first halves the map."""
    x = stem(x, norm, None)
    rates = drop_path_rates(drop_path, sum(repeats))
    for stage, count in enumerate(repeats):
        for unit in range(count):
            stride = 2 if stage and not unit else 1
            name = f"stage{stage + 1}_unit{unit + 1}"
            x = residual(x, 64 << stage, stride=stride, norm=norm, shortcut=shortcut, drop_path=next(rates), name=name)
    return x


def deep(
    x,
    *,
    repeats: tuple[int, ...],
    groups: int = 1,
    group_width: int = 64,
    stride_on: str = "1x1",
    bias: bool | None = None,
    norm=True,
    drop_path: float = 0.0,
):
    """Apply stages of `repeats` bottlenecks; torchvision has `stride_on="3x3"`, Keras `bias=True`.

    Their 3x3 convolutions have `groups` groups of `group_width` filters in the first stage, twice as many in each
    that follows (arXiv:1611.05431, table 1).
    """
    x = stem(x, norm, bias)
    rates = drop_path_rates(drop_path, sum(repeats))
    for stage, count in enumerate(repeats):
        for unit in range(count):
            x = bottleneck(
                x,
                64 << stage,
                bottleneck_filters=groups * group_width << stage,
                groups=groups,
                stride=2 if stage and not unit else 1,
                stride_on=stride_on,
                norm=norm,
                bias=bias,
                drop_path=next(rates),
                name=f"stage{stage + 1}_unit{unit + 1}",
            )
    return x


def make_architecture(
    name: str, *repeats: int, params: int, backbone=deep, reference=PAPER, year=2015, **options
) -> Architecture:
    """Return the network with its variants."""
    variants: dict[str, dict[str, Any]] = {}
    if name in TORCHVISION:
        moved = {"stride_on": "3x3"} if backbone is deep else {}
        variants["torchvision"] = {
            "options": moved,
            "rescale": STANDARDIZED,
            "weight_mappings": map_torchvision(name),
            "weights": TORCHVISION[name],
        }
    if name in KERAS:
        count, weights = KERAS[name]
        variants["keras"] = {
            "options": LIKE_KERAS,
            "rescale": CENTERED,
            "params": count,
            "weight_mappings": KERAS_MAPPING,
            "weights": weights,
        }
    return Architecture(
        backbone=backbone,
        reference=reference,
        year=year,
        options={"repeats": repeats, **options},
        params=params,
        map_sizes=(112, 56, 28, 14, 7),
        variants=variants,
    )


def plain(*repeats: int, params: int) -> Architecture:
    """Return a plain twin: the same convolutions without shortcuts."""
    return make_architecture("plain", *repeats, params=params, backbone=basic, shortcut="none")


def resnext(
    name: str, *repeats: int, params: int, groups: int, group_width: int, reference: str, year: int
) -> Architecture:
    """Return a ResNeXt (arXiv:1611.05431, table 1)."""
    options = {"groups": groups, "group_width": group_width, "stride_on": "3x3"}
    return make_architecture(name, *repeats, params=params, reference=reference, year=year, **options)


def wide_resnet(name: str, *repeats: int, params: int, reference: str, year: int) -> Architecture:
    """Return a ResNet whose bottlenecks are twice as wide (arXiv:1605.07146, table 8)."""
    options = {"group_width": 128, "stride_on": "3x3"}
    return make_architecture(name, *repeats, params=params, reference=reference, year=year, **options)


resnet18 = make_architecture("resnet18", 2, 2, 2, 2, params=11_689_512, backbone=basic)
resnet34 = make_architecture("resnet34", 3, 4, 6, 3, params=21_797_672, backbone=basic)
resnet50 = make_architecture("resnet50", 3, 4, 6, 3, params=25_557_032)
resnet101 = make_architecture("resnet101", 3, 4, 23, 3, params=44_549_160)
resnet152 = make_architecture("resnet152", 3, 8, 36, 3, params=60_192_808)
plain18 = plain(2, 2, 2, 2, params=11_515_688)
plain34 = plain(3, 4, 6, 3, params=21_623_848)
resnext50_32x4d = resnext(
    *("resnext50_32x4d", 3, 4, 6, 3),
    params=25_028_904,
    groups=32,
    group_width=4,
    reference="arXiv:1611.05431, table 1",
    year=2016,
)
resnext101_32x8d = resnext(
    *("resnext101_32x8d", 3, 4, 23, 3),
    params=88_791_336,
    groups=32,
    group_width=8,
    reference="torchvision's, with the blocks of arXiv:1611.05431",
    year=2019,
)
wide_resnet50_2 = wide_resnet(
    "wide_resnet50_2", 3, 4, 6, 3, params=68_883_240, reference="arXiv:1605.07146, table 8", year=2016
)
wide_resnet101_2 = wide_resnet(
    *("wide_resnet101_2", 3, 4, 23, 3),
    params=126_886_696,
    reference="torchvision's, with the blocks of arXiv:1605.07146",
    year=2019,
)
