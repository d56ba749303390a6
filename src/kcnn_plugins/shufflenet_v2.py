"""ShuffleNet v2 (Ma et al., 2018): half of the channels pass by each unit, and a shuffle mixes the halves."""

from kcnn import Architecture
from kcnn.blocks import Norm, apply, conv, depthwise, match_stride, max_pool
from kcnn.graph.ops import STANDARDIZED, ChannelShuffle, ChannelSlice, Concat
from kcnn_plugins.shufflenet_v2_weights import TORCHVISION, TORCHVISION_MAPPING

REPEATS = (4, 8, 4)  # units of stages 2, 3 and 4 (arXiv:1807.11164, table 5)
CHANNELS = {  # of stages 2, 3 and 4, and of the last 1x1 (table 5)
    "x0_5": (48, 96, 192, 1024),
    "x1_0": (116, 232, 464, 1024),
    "x1_5": (176, 352, 704, 1024),
    "x2_0": (244, 488, 976, 2048),
}


def branch(x, filters: int, stride: int, norm: Norm, name: str):
    """Apply a 1x1, a depthwise 3x3 without activation and a 1x1."""
    x = conv(x, filters, 1, norm=norm, name=f"{name}_a")
    x = depthwise(x, 3, stride=stride, padding="half", norm=norm, activation=None, name=f"{name}_b")
    return conv(x, filters, 1, norm=norm, name=f"{name}_c")


def unit(x, norm: Norm, name: str):
    """Apply the branch to the second half of the channels, then shuffle both halves (figure 3c)."""
    half = x.shape[-1] // 2
    first = apply(ChannelSlice(0, half), x, name=f"{name}_first")
    second = apply(ChannelSlice(half), x, name=f"{name}_second")
    x = apply(Concat(), first, branch(second, second.shape[-1], 1, norm, name), name=f"{name}_concat")
    return apply(ChannelShuffle(2), x, name=name)


def downsampling_unit(x, filters: int, norm: Norm, name: str):
    """Apply the branch, and a depthwise 3x3 and a 1x1 beside it, to all channels (figure 3d)."""
    y = branch(x, filters // 2, 2, norm, name)
    x = depthwise(x, 3, stride=match_stride(x, y, 2), padding="half", norm=norm, activation=None, name=f"{name}_skip_a")
    x = conv(x, filters // 2, 1, norm=norm, name=f"{name}_skip_b")
    return apply(ChannelShuffle(2), apply(Concat(), x, y, name=f"{name}_concat"), name=name)


def backbone(x, *, channels: tuple[int, ...], repeats: tuple[int, ...] = REPEATS, norm: Norm = True):
    """Apply a 3x3 convolution and a pool, stages 2 to 4, each with half of the size, and a last 1x1."""
    x = conv(x, 24, 3, stride=2, padding="half", norm=norm, name="stem")
    x = max_pool(x, 3, stride=2, padding="half", name="stem_pool")
    *stages, last = channels
    for stage, (filters, count) in enumerate(zip(stages, repeats, strict=True), 2):
        x = downsampling_unit(x, filters, norm, f"stage{stage}_unit1")
        for number in range(2, count + 1):
            x = unit(x, norm, f"stage{stage}_unit{number}")
    return conv(x, last, 1, norm=norm, name="last")


def make_architecture(size: str, params: int) -> Architecture:
    """Return the network of a size; the paper gives no input scaling, and torchvision's is that of its weights."""
    return Architecture(
        backbone=backbone,
        reference="arXiv:1807.11164, table 5",
        year=2018,
        options={"channels": CHANNELS[size]},
        params=params,
        map_sizes=(112, 56, 28, 14, 7),
        rescale=STANDARDIZED,
        weight_mappings=TORCHVISION_MAPPING,
        weights=TORCHVISION[size],
    )


shufflenet_v2_x0_5 = make_architecture("x0_5", 1_366_792)
shufflenet_v2_x1_0 = make_architecture("x1_0", 2_278_604)
shufflenet_v2_x1_5 = make_architecture("x1_5", 3_503_624)
shufflenet_v2_x2_0 = make_architecture("x2_0", 7_393_996)
