"""SqueezeNet (Iandola et al., 2016): few 1x1 filters feed many, and a classifier that is a convolution."""

from kcnn import Architecture, blocks
from kcnn.blocks import apply, conv, max_pool
from kcnn.graph.ops import STANDARDIZED, Concat, GlobalPool, Rescale
from kcnn_plugins.squeezenet_weights import TORCHVISION, make_torchvision_mapping

SCALING = Rescale(1.0, (-123.0, -117.0, -104.0))  # of the authors' code
FIRES = (  # squeeze 1x1, expand 1x1, expand 3x3 of fire2 to fire9 (arXiv:1602.07360, table 1)
    (16, 64, 64),
    (16, 64, 64),
    (32, 128, 128),
    (32, 128, 128),
    (48, 192, 192),
    (48, 192, 192),
    (64, 256, 256),
    (64, 256, 256),
)


def fire(x, squeeze: int, expand1: int, expand3: int, name: str):
    """Apply a 1x1 to few filters, then concatenate a 1x1 and a 3x3 from them (figure 1)."""
    x = conv(x, squeeze, 1, name=f"{name}_squeeze")
    return apply(
        Concat(),
        conv(x, expand1, 1, name=f"{name}_expand1"),
        conv(x, expand3, 3, padding="half", name=f"{name}_expand3"),
        name=name,
    )


def backbone(x, *, stem: tuple[int, int], pools: tuple[int, ...]):
    """Apply a convolution of `stem` (filters, kernel) and eight fire modules; a pool follows each layer in `pools`."""
    filters, kernel = stem
    x = conv(x, filters, kernel, stride=2, padding="valid", name="conv1")
    for number in range(1, len(FIRES) + 2):
        if number > 1:
            x = fire(x, *FIRES[number - 2], name=f"fire{number}")
        if number in pools:
            x = max_pool(x, 3, stride=2, padding="ceil", name=f"pool{number}")
    return x


def head(x, classes: int, *, dropout: float = 0.5):
    """Convolve each position to the classes, activate, and average over the map (table 1, conv10)."""
    x = conv(blocks.dropout(x, dropout, name="dropout"), classes, 1, name="logits")
    return apply(GlobalPool(), x, name="pool")


def make_architecture(
    name: str, reference: str, params: int, sizes: tuple[int, ...], stem: tuple[int, int], pools: tuple[int, ...]
) -> Architecture:
    """Return the network, with input scaling as in the authors' code, and torchvision's variant, which has another."""
    return Architecture(
        backbone=backbone,
        head=head,
        reference=reference,
        year=2016,
        options={"stem": stem, "pools": pools},
        params=params,
        map_sizes=sizes,
        rescale=SCALING,
        variants={
            "torchvision": {
                "rescale": STANDARDIZED,
                "weight_mappings": make_torchvision_mapping(pools),
                "weights": TORCHVISION[name],
            },
        },
    )


squeezenet1_0 = make_architecture(
    *("squeezenet1_0", "arXiv:1602.07360, table 1", 1_248_424),
    (109, 54, 27, 13),  # the paper has 111 and 55, for which an image of 227 pixels is needed, not its 224
    stem=(96, 7),
    pools=(1, 4, 8),
)
squeezenet1_1 = make_architecture(
    *("squeezenet1_1", "the authors' code (forresti/SqueezeNet), with the modules of arXiv:1602.07360", 1_235_496),
    (111, 55, 27, 13),
    stem=(64, 3),
    pools=(1, 3, 5),
)
