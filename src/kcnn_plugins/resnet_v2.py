"""ResNet v2 (He et al., 2016): normalization and activation before each convolution; and BiT (Kolesnikov, 2019)."""

from kcnn import Architecture
from kcnn.blocks import Norm, apply, conv, drop_path_rates, max_pool, norm_act, preactivation
from kcnn.graph.ops import BatchNorm, GroupNorm, Pad
from kcnn_plugins.resnet_v2_weights import KERAS, KERAS_MAPPING, map_pytorch, map_timm


def backbone(
    x,
    *,
    repeats: tuple[int, ...],
    width: int = 1,
    stride_on: str = "1x1",
    active_stem: bool = True,
    late_stride: bool = False,
    zero_padding: bool = False,
    bias: bool = False,
    norm: Norm = True,
    drop_path: float = 0.0,
):
    """Apply stages of `repeats` pre-activation bottlenecks, `width` times as wide, and a last activation.

    The paper activates the stem's output before the first shortcut (section 4.1); `active_stem=False` leaves that to
    the first unit, after the pool. `late_stride` halves the map in the last unit of stages 1 to 3, as Keras does, not
    in the first of stages 2 to 4. `zero_padding` pads the pool with zeros, as Keras does.
    """
    stem = {"norm": norm} if active_stem else {"activation": None, "bias": bias}
    x = conv(x, 64 * width, 7, stride=2, padding="half", name="stem", **stem)
    x = apply(Pad(1), x, name="stem_margin") if zero_padding else x
    x = max_pool(x, 3, stride=2, padding="valid" if zero_padding else "half", name="stem_pool")
    rates = drop_path_rates(drop_path, sum(repeats))
    for stage, count in enumerate(repeats):
        for unit in range(count):
            late = stage < len(repeats) - 1 and unit == count - 1
            x = preactivation(
                x,
                64 * width << stage,
                stride=2 if (late if late_stride else stage and not unit) else 1,
                stride_on=stride_on,
                norm=norm,
                bias=bias,
                active=active_stem and not stage and not unit,
                drop_path=next(rates),
                name=f"stage{stage + 1}_unit{unit + 1}",
            )
    return norm_act(x, norm, "relu", "last")


def make_architecture(name: str, *repeats: int, params: int) -> Architecture:
    """Return the network with its variants."""
    count, weights = KERAS[name]
    like_keras = {
        "late_stride": True,
        "zero_padding": True,
        "bias": True,
        "norm": BatchNorm(epsilon=1.001e-5, momentum=0.99),
    }
    bare_stem = {"stride_on": "3x3", "active_stem": False}
    return Architecture(
        backbone=backbone,
        reference="arXiv:1603.05027, figure 4e, on table 1 of arXiv:1512.03385",
        year=2016,
        options={"repeats": repeats},
        params=params,
        map_sizes=(112, 56, 28, 14, 7),
        variants={
            "keras": {
                "options": {**bare_stem, **like_keras},
                "params": count,
                "weight_mappings": KERAS_MAPPING,
                "weights": weights,
            },
            "timm": {"options": bare_stem, "weight_mappings": map_pytorch(name[6:-3])},
        },
    )


def make_bit(layers: int, width: int, *repeats: int, params: int) -> Architecture:
    """Return a network of BiT: group normalization, and standardized kernels (arXiv:1912.11370, section 2.1).

    The place of the strides and the padding of the pool are those of the authors' code.
    """
    return Architecture(
        backbone=backbone,
        reference="arXiv:1912.11370, section 2.1, on figure 4e of arXiv:1603.05027",
        year=2019,
        options={
            "repeats": repeats,
            "width": width,
            "stride_on": "3x3",
            "active_stem": False,
            "zero_padding": True,
            "norm": GroupNorm(32),
        },
        overrides={"*.standardized": True},
        params=params,
        map_sizes=(112, 56, 28, 14, 7),
        weight_mappings=map_timm(f"resnetv2_{layers}x{width}_bit"),
    )


resnet50_v2 = make_architecture("resnet50_v2", 3, 4, 6, 3, params=25_549_352)
resnet101_v2 = make_architecture("resnet101_v2", 3, 4, 23, 3, params=44_541_480)
resnet152_v2 = make_architecture("resnet152_v2", 3, 8, 36, 3, params=60_185_128)
resnet50x1_bit = make_bit(50, 1, 3, 4, 6, 3, params=25_549_352)
resnet50x3_bit = make_bit(50, 3, 3, 4, 6, 3, params=217_319_080)
resnet101x1_bit = make_bit(101, 1, 3, 4, 23, 3, params=44_541_480)
resnet101x3_bit = make_bit(101, 3, 3, 4, 23, 3, params=387_934_888)
resnet152x2_bit = make_bit(152, 2, 3, 8, 36, 3, params=236_335_208)
resnet152x4_bit = make_bit(152, 4, 3, 8, 36, 3, params=936_533_224)
