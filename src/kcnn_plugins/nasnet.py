"""NASNet-A (Zoph et al., 2017): two kinds of cells that a search found, of separable convolutions and pools."""

from functools import partial

from kcnn import Architecture
from kcnn.blocks import Norm, apply, conv, decide_by_shapes, depthwise_separable, drop_path_rates, head, norm_act
from kcnn.graph.ops import Activation, Add, BatchNorm, Concat, Crop, DropPath, Pad, Pool
from kcnn_plugins.nasnet_weights import KERAS, KERAS_MAPPING, TIMM_MAPPING

PREVIOUS, CURRENT = 0, 1  # the inputs of a cell; what its blocks add up to follows
NORMAL = (  # (operation, kernel, input) left, and right (arXiv:1707.07012, figure 4)
    (("separable", 5, CURRENT), ("separable", 3, PREVIOUS)),
    (("separable", 5, PREVIOUS), ("separable", 3, PREVIOUS)),
    (("average", 3, CURRENT), ("identity", 1, PREVIOUS)),
    (("average", 3, PREVIOUS), ("average", 3, PREVIOUS)),
    (("separable", 3, CURRENT), ("identity", 1, CURRENT)),
)
REDUCTION = (
    (("separable", 5, CURRENT), ("separable", 7, PREVIOUS)),
    (("max", 3, CURRENT), ("separable", 7, PREVIOUS)),
    (("average", 3, CURRENT), ("separable", 5, PREVIOUS)),
    (("average", 3, 2), ("identity", 1, 3)),
    (("separable", 3, 2), ("max", 3, CURRENT)),
)
NORM = BatchNorm(epsilon=1e-3, momentum=0.9997)  # as in the authors' code


def activated_conv(x, filters: int, norm: Norm, name: str):
    """Activate, then apply a 1x1 and a normalization."""
    x = apply(Activation("relu"), x, name=f"{name}_relu")
    return conv(x, filters, 1, norm=norm, activation=None, name=name)


def fit(previous, current, filters: int, norm: Norm, name: str):
    """Bring the output of the last but one cell to the size of the last one's, or to the same number of maps.

    Where the size differs, half of the maps are taken from even positions, and half from odd ones.
    """
    if previous is current:
        return previous
    if decide_by_shapes(lambda a, b: a[-3:-1] == b[-3:-1], previous, current):
        return activated_conv(previous, filters, norm, name) if previous.shape[-1] != filters else previous
    x = apply(Activation("relu"), previous, name=f"{name}_relu")
    shifted = apply(Pad(((0, 1), (0, 1))), x, name=f"{name}_pad")
    shifted = apply(Crop(((1, 0), (1, 0))), shifted, name=f"{name}_crop")
    halves = (
        conv(y, filters // 2, 1, stride=2, padding="valid", bias=False, activation=None, name=f"{name}_{parity}")
        for y, parity in ((x, "even"), (shifted, "odd"))
    )
    return norm_act(apply(Concat(), *halves, name=f"{name}_concat"), norm, None, name)


def operate(x, operation: str, kernel: int, filters: int, stride: int, norm: Norm, margin, name: str):
    """Apply an operation of a cell; a separable convolution is applied twice, each time after an activation."""
    if operation == "separable":
        for number in (1, 2):
            x = apply(Activation("relu"), x, name=f"{name}_{number}_relu")
            step = stride if number == 1 else 1
            x = depthwise_separable(x, filters, kernel, stride=step, norm=norm, name=f"{name}_{number}")
        return x
    if operation == "identity":
        return x
    if margin is not None and stride > 1:
        return apply(Pool(kernel, stride, "valid", operation), margin, name=name)
    return apply(Pool(kernel, stride, "same", operation), x, name=name)


def cell(
    current, previous, filters: int, *, is_reduction: bool, zero_padding: bool, norm: Norm, drop_path: float, name: str
):
    """Apply the five blocks of a cell, and concatenate what no block has used (a normal cell, its input as well)."""
    start = activated_conv(current, filters, norm, f"{name}_conv")
    tensors = [fit(previous, current, filters, norm, f"{name}_previous"), start]
    margin = pad_as_keras(start, f"{name}_margin") if is_reduction and zero_padding else None
    for number, sides in enumerate(REDUCTION if is_reduction else NORMAL, 1):
        terms = []
        for side, (operation, kernel, source) in zip(("left", "right"), sides, strict=True):
            full = f"{name}_block{number}_{side}"
            stride = 2 if is_reduction and source in (PREVIOUS, CURRENT) else 1
            y = operate(tensors[source], operation, kernel, filters, stride, norm, margin, full)
            if drop_path and operation != "identity":
                y = apply(DropPath(drop_path), y, name=f"{full}_drop_path")
            terms.append(y)
        tensors.append(apply(Add(), *terms, name=f"{name}_block{number}"))
    ends = tensors[3:] if is_reduction else [tensors[PREVIOUS], *tensors[2:]]
    return apply(Concat(), *ends, name=name)


def pad_as_keras(x, name: str):
    """Pad with zeros what a window of 3 pixels and stride 2 sees beyond the borders."""
    sides = decide_by_shapes(lambda shape: tuple(((size or 0) % 2, 1) for size in shape[-3:-1]), x)
    return apply(Pad(sides), x, name=name)


def backbone(
    x,
    *,
    repeats: int,
    filters: int,
    stem: int,
    skip_reduction: bool = False,
    zero_padding: bool = False,
    norm: Norm = NORM,
    drop_path: float = 0.0,
):
    """Apply a convolution, two reduction cells, and three stages of `repeats` normal cells with reductions between.

    A stage has twice the `filters` of the one before. `skip_reduction` gives the first cell after a reduction the
    output of the last but one cell before it, as in the large network. `zero_padding` pads the pools of reductions
    with zeros, which then count, as Keras does. The paper raises the rate of its stochastic depth in the course of
    training; `drop_path` is constant.
    """
    x = conv(x, stem, 3, stride=2, padding="valid", norm=norm, activation=None, name="stem")
    rates = drop_path_rates(drop_path, 3 * repeats + 4)
    make = partial(cell, zero_padding=zero_padding, norm=norm)
    previous = x
    for number, divisor in ((1, 4), (2, 2)):
        name = f"stem_cell{number}"
        y = make(x, previous, filters // divisor, is_reduction=True, drop_path=next(rates), name=name)
        previous, x = x, y
    for stage in range(3):
        width = filters << stage
        if stage:
            y = make(x, previous, width, is_reduction=True, drop_path=next(rates), name=f"reduction{stage}")
            previous, x = (previous if skip_reduction else x), y
        for number in range(1, repeats + 1):
            name = f"stage{stage + 1}_cell{number}"
            y = make(x, previous, width, is_reduction=False, drop_path=next(rates), name=name)
            previous, x = x, y
    return apply(Activation("relu"), x, name="last_relu")


LIKE_KERAS = {"options": {"zero_padding": True}, "weight_mappings": KERAS_MAPPING}
LIKE_TIMM = {
    "overrides": {"{stem_cell,reduction}*_block3_left.count_include_pad": True},
    "weight_mappings": TIMM_MAPPING,
}
nasnet_mobile = Architecture(
    backbone=backbone,
    head=partial(head, dropout=0.5),
    reference="arXiv:1707.07012, figure 4 and table 3",
    year=2017,
    options={"repeats": 4, "filters": 44, "stem": 32},
    params=5_289_978,
    map_sizes=(111, 56, 28, 14, 7),
    variants={"keras": {**LIKE_KERAS, "weights": KERAS["mobile"]}},
)
nasnet_large = Architecture(
    backbone=backbone,
    head=partial(head, dropout=0.5),
    input_shape=(331, 331, 3),
    reference="arXiv:1707.07012, figure 4 and table 2",
    year=2017,
    options={"repeats": 6, "filters": 168, "stem": 96, "skip_reduction": True},
    params=88_753_150,
    map_sizes=(165, 83, 42, 21, 11),
    variants={"keras": {**LIKE_KERAS, "weights": KERAS["large"]}, "timm": LIKE_TIMM},
)
