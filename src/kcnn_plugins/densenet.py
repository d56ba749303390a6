"""DenseNet (Huang et al., 2016): each unit takes the maps of all units before it in its block."""

from kcnn import Architecture, blocks
from kcnn.blocks import Norm, apply, average_pool, conv, max_pool, norm_act
from kcnn.graph.ops import STANDARDIZED, BatchNorm, Concat
from kcnn_plugins.densenet_weights import KERAS, KERAS_MAPPING, TORCHVISION, map_keras_hub, map_pytorch

TABLE = {  # units of the four blocks, growth, parameters, version of the paper (arXiv:1608.06993, table 1)
    "densenet121": ((6, 12, 24, 16), 32, 7_978_856, ""),
    "densenet161": ((6, 12, 36, 24), 48, 28_681_000, "v3"),  # later versions have the network no more
    "densenet169": ((6, 12, 32, 32), 32, 14_149_480, ""),
    "densenet201": ((6, 12, 48, 32), 32, 20_013_928, ""),
}


def unit(x, growth: int, norm: Norm, dropout: float, name: str):
    """Append `growth` maps: 1x1 to 4 times as many, then 3x3 (section 3, "bottleneck layers")."""
    y = norm_act(x, norm, "relu", f"{name}_in")
    y = conv(y, 4 * growth, 1, norm=norm, name=f"{name}_a")
    y = conv(y, growth, 3, padding="half", bias=False, activation=None, name=f"{name}_b")
    return apply(Concat(), x, blocks.dropout(y, dropout, name=f"{name}_dropout"), name=f"{name}_concat")


def backbone(
    x, *, repeats: tuple[int, ...], growth: int = 32, compression: float = 0.5, norm: Norm = True, dropout: float = 0.0
):
    """Apply blocks of `repeats` units, and transitions that keep the fraction `compression` of the maps between them.

    `dropout` is the rate after the convolutions of a unit, for small data sets without augmentation (section 4.2).
    """
    x = conv(x, 2 * growth, 7, stride=2, padding="half", norm=norm, name="stem")
    x = max_pool(x, 3, stride=2, padding="half", name="stem_pool")
    for block, count in enumerate(repeats, 1):
        for number in range(1, count + 1):
            x = unit(x, growth, norm, dropout, f"block{block}_unit{number}")
        if block < len(repeats):
            x = norm_act(x, norm, "relu", f"transition{block}_in")
            filters = int(compression * x.shape[-1])
            x = conv(x, filters, 1, bias=False, activation=None, name=f"transition{block}")
            x = average_pool(x, name=f"transition{block}_pool")
    return norm_act(x, norm, "relu", "last")


def head(x, classes: int):
    """Average each channel over the map, then apply one dense layer."""
    return blocks.head(x, classes)


def make_architecture(name: str) -> Architecture:
    """Return the network, which is torchvision's and timm's as well, and the variants of Keras and KerasHub."""
    repeats, growth, params, version = TABLE[name]
    like_keras = {
        "options": {"norm": BatchNorm(epsilon=1.001e-5, momentum=0.99)},
        "weight_mappings": KERAS_MAPPING,
        "weights": KERAS.get(name, ()),
    }
    like_keras_hub = {  # whose weights come from PyTorch
        "options": {"norm": BatchNorm(epsilon=1.001e-5, momentum=0.99)},
        "overrides": {"stem.padding": "same", "stem_pool.padding": "same"},
        "weight_mappings": map_keras_hub(name),
    }
    return Architecture(
        backbone=backbone,
        head=head,
        reference=f"arXiv:1608.06993{version}, table 1",
        year=2016,
        options={"repeats": repeats, "growth": growth},
        params=params,
        map_sizes=(112, 56, 28, 14, 7),
        rescale=STANDARDIZED,
        weight_mappings=map_pytorch(name),
        weights=TORCHVISION[name],
        variants={"keras": like_keras, "keras_hub": like_keras_hub} if name in KERAS else {},
    )


densenet121, densenet161, densenet169, densenet201 = map(make_architecture, TABLE)
