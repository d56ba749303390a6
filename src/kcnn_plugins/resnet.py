"""ResNet (He et al., 2015), its plain twins, and what grew from it.

ResNeXt (Xie et al., 2016), wide ResNet (Zagoruyko, 2016), SE-ResNet (Hu et al., 2017) and ResNet-D (He et al., 2018).
"""

from typing import Any

from kcnn import Architecture
from kcnn.blocks import bottleneck, conv, drop_path_rates, max_pool, residual
from kcnn.graph.ops import CENTERED, STANDARDIZED, BatchNorm
from kcnn_plugins.resnet_weights import (
    KERAS,
    KERAS_MAPPING,
    TIMM,
    TORCHVISION,
    map_keras_hub,
    map_timm,
    map_torchvision,
    to_senet,
    to_timm,
    to_timm_deep_stem,
)

PAPER = "arXiv:1512.03385, table 1"
LIKE_KERAS = {"bias": True, "norm": BatchNorm(epsilon=1.001e-5, momentum=0.99)}


def stem(x, norm, bias=None, is_deep=False, pool_padding="half"):
    """Apply a 7x7 convolution, or three 3x3 ones (arXiv:1812.01187, figure 2b), and a 3x3 pool: stride 4 in all."""
    if is_deep:
        x = conv(x, 32, 3, stride=2, padding="half", norm=norm, bias=bias, name="stem1")
        x = conv(x, 32, 3, norm=norm, bias=bias, name="stem2")
        x = conv(x, 64, 3, norm=norm, bias=bias, name="stem3")
    else:
        x = conv(x, 64, 7, stride=2, padding="half", norm=norm, bias=bias, name="stem")
    return max_pool(x, 3, stride=2, padding=pool_padding, name="stem_pool")


def basic(
    x,
    *,
    repeats: tuple[int, ...],
    shortcut: str = "projection",
    deep_stem: bool = False,
    pool_shortcut: bool = False,
    pool_padding: str = "half",
    reduction: int = 0,
    norm=True,
    drop_path: float = 0.0,
):
    """Apply stages of `repeats` residual blocks of 64, 128, ... filters; each but the first halves the map.

    `deep_stem` and `pool_shortcut` are ResNet-D's (arXiv:1812.01187, figure 2). `reduction` is that of squeeze-and-
    excitation (arXiv:1709.01507, section 3.2), 0 for none.
    """
    x = stem(x, norm, None, deep_stem, pool_padding)
    rates = drop_path_rates(drop_path, sum(repeats))
    for stage, count in enumerate(repeats):
        for unit in range(count):
            x = residual(
                x,
                64 << stage,
                stride=2 if stage and not unit else 1,
                norm=norm,
                shortcut=shortcut,
                pool_shortcut=pool_shortcut,
                squeeze=max((64 << stage) // reduction, 1) if reduction else 0,
                drop_path=next(rates),
                name=f"stage{stage + 1}_unit{unit + 1}",
            )
    return x


def deep(
    x,
    *,
    repeats: tuple[int, ...],
    groups: int = 1,
    group_width: int = 64,
    stride_on: str = "1x1",
    deep_stem: bool = False,
    pool_shortcut: bool = False,
    pool_padding: str = "half",
    reduction: int = 0,
    bias: bool | None = None,
    norm=True,
    drop_path: float = 0.0,
):
    """Apply stages of `repeats` bottlenecks; torchvision has `stride_on="3x3"`, Keras `bias=True`.

    Their 3x3 convolutions have `groups` groups of `group_width` filters in the first stage, twice as many in each
    that follows (arXiv:1611.05431, table 1). Other options are those of `basic`.
    """
    x = stem(x, norm, bias, deep_stem, pool_padding)
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
                pool_shortcut=pool_shortcut,
                squeeze=max((256 << stage) // reduction, 1) if reduction else 0,
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
    elif name in TIMM:
        variants["timm"] = {"rescale": STANDARDIZED, "weight_mappings": map_timm(to_timm, name)}
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


def se_resnet(name: str, *repeats: int, params: int, backbone=deep, groups: int = 1) -> Architecture:
    """Return an SE-ResNet or SE-ResNeXt (arXiv:1709.01507), with the stem's pool of the authors' Caffe files.

    timm calls files converted from those "legacy". Its own have ResNet's pool, and the stride on the 3x3. Its networks
    of basic blocks differ from the paper: one activates before squeezing, the other squeezes to 8 channels at least.
    """
    options: dict[str, Any] = {"repeats": repeats, "reduction": 16, "pool_padding": "ceil"}
    if groups > 1:
        options |= {"groups": groups, "group_width": 4, "stride_on": "3x3"}
    published: dict[str, Any] = {}
    if backbone is deep:
        timm = {"options": {"pool_padding": "half", "stride_on": "3x3"}, "weight_mappings": map_timm(to_timm, name)}
        published = {"weight_mappings": map_timm(to_senet, f"legacy_{name}"), "variants": {"timm": timm}}
    return Architecture(
        backbone=backbone,
        reference="arXiv:1709.01507, table 1" if backbone is deep else "arXiv:1709.01507, figure 3",
        year=2017,
        rescale=STANDARDIZED,
        options=options,
        params=params,
        map_sizes=(112, 56, 28, 14, 7),
        **published,
    )


def resnet_d(name: str, *repeats: int, params: int, backbone=deep) -> Architecture:
    """Return a ResNet-D (arXiv:1812.01187, figure 2): a deep stem, and no projection that skips pixels."""
    moved = {"stride_on": "3x3"} if backbone is deep else {}
    keras_hub = map_keras_hub(f"resnet_vd_{name[6:-1]}") if backbone is deep else {}  # its 18 and 34 project at once
    return Architecture(
        backbone=backbone,
        reference="arXiv:1812.01187, figure 2, on table 1 of arXiv:1512.03385",
        year=2018,
        rescale=STANDARDIZED,
        options={"repeats": repeats, "deep_stem": True, "pool_shortcut": True, **moved},
        params=params,
        map_sizes=(112, 56, 28, 14, 7),
        weight_mappings=map_timm(to_timm_deep_stem, name) | keras_hub,
    )


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
resnext101_32x4d = resnext(
    *("resnext101_32x4d", 3, 4, 23, 3),
    params=44_177_704,
    groups=32,
    group_width=4,
    reference="arXiv:1611.05431, table 4",
    year=2016,
)
resnext101_64x4d = resnext(
    *("resnext101_64x4d", 3, 4, 23, 3),
    params=83_455_272,
    groups=64,
    group_width=4,
    reference="arXiv:1611.05431, table 4",
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
seresnet18 = se_resnet("seresnet18", 2, 2, 2, 2, params=11_778_592, backbone=basic)
seresnet34 = se_resnet("seresnet34", 3, 4, 6, 3, params=21_958_868, backbone=basic)
seresnet50 = se_resnet("seresnet50", 3, 4, 6, 3, params=28_088_024)
seresnet101 = se_resnet("seresnet101", 3, 4, 23, 3, params=49_326_872)
seresnet152 = se_resnet("seresnet152", 3, 8, 36, 3, params=66_821_848)
seresnext50_32x4d = se_resnet("seresnext50_32x4d", 3, 4, 6, 3, params=27_559_896, groups=32)
seresnext101_32x4d = se_resnet("seresnext101_32x4d", 3, 4, 23, 3, params=48_955_416, groups=32)
resnet18d = resnet_d("resnet18d", 2, 2, 2, 2, params=11_708_744, backbone=basic)
resnet34d = resnet_d("resnet34d", 3, 4, 6, 3, params=21_816_904, backbone=basic)
resnet50d = resnet_d("resnet50d", 3, 4, 6, 3, params=25_576_264)
resnet101d = resnet_d("resnet101d", 3, 4, 23, 3, params=44_568_392)
resnet152d = resnet_d("resnet152d", 3, 8, 36, 3, params=60_212_040)
