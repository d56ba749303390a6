"""VoVNet v2 (Lee et al., 2019): layers whose outputs are concatenated once, and effective squeeze-and-excitation."""

from kcnn import Architecture
from kcnn.blocks import Norm, apply, conv, drop_path_rates, max_pool, residual_add
from kcnn.graph.ops import STANDARDIZED, Concat, Depthwise, GlobalPool, Multiply
from kcnn_plugins.vovnet_weights import map_timm

STAGES = ((128, 256), (160, 512), (192, 768), (224, 1024))  # channels of a layer, of a unit (arXiv:1904.09730, table 1)


def conv3(x, filters: int, *, stride: int = 1, is_depthwise: bool, norm: Norm, name: str):
    """Apply a 3x3 convolution, or a depthwise one and a 1x1 without anything between them."""
    if not is_depthwise:
        return conv(x, filters, 3, stride=stride, padding="half", norm=norm, name=name)
    x = apply(Depthwise(3, stride, "half", bias=False), x, name=f"{name}_depthwise")
    return conv(x, filters, 1, norm=norm, name=name)


def excite(x, *, name: str):
    """Multiply each channel by a weight from one 1x1 convolution of the means (arXiv:1911.06667, eSE)."""
    y = apply(GlobalPool(keepdims=True), x, name=f"{name}_pool")
    y = conv(y, x.shape[-1], 1, activation="hard_sigmoid", name=f"{name}_fc")
    return apply(Multiply(), x, y, name=name)


def unit(x, width: int, filters: int, *, layers: int, has_excite: bool, is_depthwise: bool, norm: Norm, name: str):
    """Apply 3x3 convolutions, concatenate the input and all their outputs, and apply a 1x1 (figure 1b)."""
    outputs = [x]
    if is_depthwise and x.shape[-1] != width:
        x = conv(x, width, 1, norm=norm, name=f"{name}_reduce")
    for layer in range(1, layers + 1):
        x = conv3(x, width, is_depthwise=is_depthwise, norm=norm, name=f"{name}_layer{layer}")
        outputs.append(x)
    x = conv(apply(Concat(), *outputs, name=f"{name}_concat"), filters, 1, norm=norm, name=f"{name}_aggregate")
    return excite(x, name=f"{name}_excite") if has_excite else x


def backbone(
    x,
    *,
    repeats: tuple[int, ...],
    layers: int,
    stem: tuple[int, ...],
    depthwise: bool = False,
    norm: Norm = True,
    drop_path: float = 0.0,
):
    """Apply three convolutions, then stages of `repeats` units of `layers` convolutions.

    The last unit of each stage has effective squeeze-and-excitation; units after the first add their input.
    """
    x = conv(x, stem[0], 3, stride=2, padding="half", norm=norm, name="stem1")
    x = conv3(x, stem[1], is_depthwise=depthwise, norm=norm, name="stem2")
    x = conv3(x, stem[2], stride=2, is_depthwise=depthwise, norm=norm, name="stem3")
    rates = drop_path_rates(drop_path, sum(repeats))
    for stage, ((width, filters), count) in enumerate(zip(STAGES, repeats, strict=True), 1):
        if stage > 1:
            x = max_pool(x, 3, stride=2, padding="ceil", name=f"stage{stage}_pool")
        for number in range(1, count + 1):
            name, rate = f"stage{stage}_unit{number}", next(rates)
            y = unit(
                *(x, width, filters),
                layers=layers,
                has_excite=number == count,
                is_depthwise=depthwise,
                norm=norm,
                name=name,
            )
            x = residual_add(x, y, drop_path=rate, name=name) if number > 1 else y
    return x


def make_architecture(name: str, *repeats: int, params: int, **options) -> Architecture:
    """Return the network."""
    return Architecture(
        backbone=backbone,
        reference="arXiv:1911.06667, VoVNetV2, on arXiv:1904.09730, table 1",
        year=2019,
        rescale=STANDARDIZED,
        options={"repeats": repeats, **options},
        params=params,
        map_sizes=(112, 56, 28, 14, 7),
        weight_mappings=map_timm(name),
    )


ese_vovnet19b_dw = make_architecture(
    "ese_vovnet19b_dw", 1, 1, 1, 1, params=6_543_080, layers=3, stem=(64, 64, 64), depthwise=True
)
ese_vovnet39b = make_architecture("ese_vovnet39b", 1, 1, 2, 2, params=24_568_936, layers=5, stem=(64, 64, 128))
