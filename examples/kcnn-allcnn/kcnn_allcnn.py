"""All-CNN-C (Springenberg et al., 2014): nothing but convolutions; those of stride 2 take the place of pools."""

from kcnn import Architecture, blocks
from kcnn.architectures import publishers
from kcnn.blocks import apply, conv, max_pool
from kcnn.graph.ops import GlobalPool

ORDER = ("stage1_1", "stage1_2", "stage1_half", "stage2_1", "stage2_2", "stage2_half", "last1", "last2", "logits")


def backbone(x, *, before: int = 2, pool: bool = False, width: float = 1.0, dropout: float = 0.5):
    """Apply two stages of `before` convolutions and one of stride 2, or a pool, then a 3x3 and a 1x1.

    `width` multiplies all filters. `dropout` is the rate after each stage (section 3.2).
    """
    for stage, filters in enumerate((96, 192), 1):
        filters = int(width * filters)
        for number in range(1, before + 1):
            x = conv(x, filters, name=f"stage{stage}_{number}")
        if pool:
            x = max_pool(x, 3, padding="same", name=f"stage{stage}_half")
        else:
            x = conv(x, filters, stride=2, name=f"stage{stage}_half")
        x = blocks.dropout(x, dropout, name=f"stage{stage}_dropout")
    x = conv(x, filters, padding="valid", name="last1")
    return conv(x, filters, 1, name="last2")


def head(x, classes: int):
    """Convolve each position to the classes, then average over the map."""
    x = conv(x, classes, 1, name="logits")
    return apply(GlobalPool(), x, name="pool")


def to_pytorch(layer: str):
    """Rename stage1_1 to features.0: PyTorch counts the activations and the dropout as well."""
    return {name: f"features.{index}" for name, index in zip(ORDER, (0, 2, 4, 7, 9, 11, 14, 16, 18), strict=True)}[
        layer
    ]


all_cnn_c = Architecture(
    backbone=backbone,
    head=head,
    input_shape=(32, 32, 3),
    classes=10,
    reference="arXiv:1412.6806, table 2",
    year=2014,
    params=1_369_738,  # the paper has 1.4 million (table 3)
    map_sizes=(32, 16, 8, 6),
    weight_mappings={"pytorch": publishers.make_mapping(to_pytorch)},
    variants={
        "strided": {"options": {"before": 1}, "params": 954_730},
        "convpool": {"options": {"before": 3, "pool": True}},
    },
)
