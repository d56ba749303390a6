"""The ResNets for CIFAR-10 and their plain twins (He et al., 2015, section 4.2): 6n + 2 layers."""

from kcnn import Architecture
from kcnn.blocks import Norm, conv, drop_path_rates, residual


def backbone(x, *, units: int, shortcut: str = "padding", norm: Norm = True, drop_path: float = 0.0):
    """Apply a 3x3 convolution, then three stages of `units` residual blocks of 16, 32 and 64 filters."""
    x = conv(x, 16, 3, padding="half", norm=norm, name="stem")
    rates = drop_path_rates(drop_path, 3 * units)
    for stage in range(3):
        for unit in range(units):
            stride = 2 if stage and not unit else 1
            name = f"stage{stage + 1}_unit{unit + 1}"
            x = residual(x, 16 << stage, stride=stride, norm=norm, shortcut=shortcut, drop_path=next(rates), name=name)
    return x


def make_architecture(
    layers: int, params: int, shortcut: str = "padding", projected: int | None = None
) -> Architecture:
    """Return the network of a number of layers; `projected` are the parameters with projections, option B."""
    option_b = {"b": {"options": {"shortcut": "projection"}, "params": projected}}
    return Architecture(
        backbone=backbone,
        input_shape=(32, 32, 3),
        classes=10,
        reference="arXiv:1512.03385, section 4.2",
        year=2015,
        options={"units": (layers - 2) // 6, "shortcut": shortcut},
        params=params,
        map_sizes=(32, 16, 8),
        variants=option_b if projected else {},
    )


resnet20 = make_architecture(20, 269_722, projected=272_474)
resnet32 = make_architecture(32, 464_154, projected=466_906)
resnet44 = make_architecture(44, 658_586, projected=661_338)
resnet56 = make_architecture(56, 853_018, projected=855_770)
resnet110 = make_architecture(110, 1_727_962, projected=1_730_714)
plain20 = make_architecture(20, 269_722, "none")
plain32 = make_architecture(32, 464_154, "none")
plain44 = make_architecture(44, 658_586, "none")
plain56 = make_architecture(56, 853_018, "none")
plain110 = make_architecture(110, 1_727_962, "none")
