"""RepVGG (Ding et al., 2021): VGG's plain stacks of 3x3 convolutions, trained with a 1x1 and the input beside each."""

from kcnn import Architecture
from kcnn.blocks import Norm, drop_path_rates, parallel_conv
from kcnn.graph.ops import STANDARDIZED
from kcnn_plugins.repvgg_weights import map_timm

A, B = (1, 2, 4, 14, 1), (1, 4, 6, 16, 1)  # layers of each stage (arXiv:2101.03697, table 2)


def backbone(
    x,
    *,
    layers: tuple[int, ...],
    width: float,
    last_width: float,
    groups: int = 1,
    norm: Norm = True,
    drop_path: float = 0.0,
):
    """Apply stages of `layers` units, the first of each with stride 2.

    They have 64, 64, 128 and 256 filters, times `width`, and 512, times `last_width`; the first no more than 64. Every
    second unit after the first has `groups` groups (section 3.4).
    """
    widths = (min(64, int(64 * width)), *(int(filters * width) for filters in (64, 128, 256)), int(512 * last_width))
    number, rates = 0, drop_path_rates(drop_path, sum(layers))
    for stage, (count, filters) in enumerate(zip(layers, widths, strict=True), 1):
        for unit in range(1, count + 1):
            x = parallel_conv(
                x,
                filters,
                stride=2 if unit == 1 else 1,
                groups=groups if number and number % 2 == 0 else 1,
                drop_path=next(rates),
                norm=norm,
                name=f"stage{stage}_unit{unit}",
            )
            number += 1
    return x


def make_architecture(
    name: str, layers: tuple[int, ...], width: float, last_width: float, params: int, groups: int = 1
) -> Architecture:
    """Return a network of the paper's table 3."""
    return Architecture(
        backbone=backbone,
        reference="arXiv:2101.03697, tables 2 and 3",
        year=2021,
        rescale=STANDARDIZED,
        options={"layers": layers, "width": width, "last_width": last_width, "groups": groups},
        params=params,
        map_sizes=(112, 56, 28, 14, 7),
        weight_mappings=map_timm(name),
    )


# layers, widths of the first stages and the last one, parameters as trained
repvgg_a0 = make_architecture("repvgg_a0", A, 0.75, 2.5, 9_108_968)
repvgg_a1 = make_architecture("repvgg_a1", A, 1, 2.5, 14_092_264)
repvgg_a2 = make_architecture("repvgg_a2", A, 1.5, 2.75, 28_210_600)
repvgg_b0 = make_architecture("repvgg_b0", B, 1, 2.5, 15_817_960)
repvgg_b1 = make_architecture("repvgg_b1", B, 2, 4, 57_415_016)
repvgg_b1g4 = make_architecture("repvgg_b1g4", B, 2, 4, 39_966_056, groups=4)
repvgg_b2 = make_architecture("repvgg_b2", B, 2.5, 5, 89_022_376)
repvgg_b2g4 = make_architecture("repvgg_b2g4", B, 2.5, 5, 61_758_376, groups=4)
repvgg_b3 = make_architecture("repvgg_b3", B, 3, 5, 123_085_288)
repvgg_b3g4 = make_architecture("repvgg_b3g4", B, 3, 5, 83_825_128, groups=4)
