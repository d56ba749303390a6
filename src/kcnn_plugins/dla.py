"""Deep layer aggregation (Yu et al., 2017): trees of residual blocks, joined by 1x1 convolutions."""

from kcnn import Architecture
from kcnn.blocks import Norm, apply, conv, drop_path_rates, max_pool, residual_add
from kcnn.graph.ops import STANDARDIZED, Activation, Concat
from kcnn_plugins.dla_weights import map_timm

# Depths of the trees of stages 3 to 6, their channels (arXiv:1707.06484, table 1)
DLA34 = ((1, 2, 2, 1), (64, 128, 256, 512))
DLA60 = ((1, 2, 3, 1), (128, 256, 512, 1024))
DLA102 = ((1, 3, 4, 1), (128, 256, 512, 1024))


def block(x, shortcut, filters: int, *, has_bottleneck: bool, stride: int, norm: Norm, drop_path: float, name: str):
    """Apply two 3x3 convolutions, or 1x1 to half the channels, 3x3 and 1x1, and add the shortcut."""
    if has_bottleneck:
        y = conv(x, filters // 2, 1, norm=norm, name=f"{name}_a")
        y = conv(y, filters // 2, 3, stride=stride, padding="half", norm=norm, name=f"{name}_b")
        y = conv(y, filters, 1, norm=norm, activation=None, name=f"{name}_c")
    else:
        y = conv(x, filters, 3, stride=stride, padding="half", norm=norm, name=f"{name}_a")
        y = conv(y, filters, 3, padding="half", norm=norm, activation=None, name=f"{name}_b")
    y = residual_add(shortcut, y, drop_path=drop_path, name=name)
    return apply(Activation("relu"), y, name=f"{name}_relu")


def aggregate(*inputs, filters: int, is_residual: bool, norm: Norm, name: str):
    """Concatenate, then apply a 1x1 convolution, and add the first input where it is residual (section 3.3)."""
    y = apply(Concat(), *inputs, name=f"{name}_concat")
    y = conv(y, filters, 1, norm=norm, activation=None, name=name)
    y = residual_add(inputs[0], y, name=name) if is_residual else y
    return apply(Activation("relu"), y, name=f"{name}_relu")


def tree(x, bottom, depth: int, filters: int, *, stride: int, children, rates, block_options, residual_root, name: str):
    """Apply 2 ** depth blocks, and aggregate them with `children`, the outputs of nodes above (figure 3).

    `bottom` is `x`, pooled by `stride`.
    """
    norm = block_options["norm"]
    if depth == 1:
        shortcut = bottom
        if bottom.shape[-1] != filters:
            shortcut = conv(bottom, filters, 1, norm=norm, activation=None, name=f"{name}_project")
        left = block(x, shortcut, filters, stride=stride, drop_path=next(rates), name=f"{name}_tree1", **block_options)
        right = block(left, left, filters, stride=1, drop_path=next(rates), name=f"{name}_tree2", **block_options)
        return aggregate(
            *(right, left, *children), filters=filters, is_residual=residual_root, norm=norm, name=f"{name}_root"
        )
    options = {"rates": rates, "block_options": block_options, "residual_root": residual_root}
    left = tree(x, bottom, depth - 1, filters, stride=stride, children=(), name=f"{name}_tree1", **options)
    return tree(
        *(left, left, depth - 1, filters), stride=1, children=(*children, left), name=f"{name}_tree2", **options
    )


def backbone(
    x,
    *,
    depths: tuple[int, ...],
    widths: tuple[int, ...],
    bottleneck: bool = True,
    residual_root: bool = False,
    norm: Norm = True,
    drop_path: float = 0.0,
):
    """Apply three convolutions, then a tree of each depth; those from the second on aggregate their input, too.

    Pools round the size up, as convolutions of stride 2 do: images need no multiple of 32 pixels.
    """
    x = conv(x, 16, 7, padding="half", norm=norm, name="stem")
    x = conv(x, 16, 3, padding="half", norm=norm, name="stage1")
    x = conv(x, 32, 3, stride=2, padding="half", norm=norm, name="stage2")
    rates = drop_path_rates(drop_path, sum(2**depth for depth in depths))
    for stage, (depth, filters) in enumerate(zip(depths, widths, strict=True), 3):
        bottom = max_pool(x, 2, stride=2, padding="ceil", name=f"stage{stage}_pool")
        x = tree(
            *(x, bottom, depth, filters),
            stride=2,
            children=(bottom,) if stage > 3 else (),
            rates=rates,
            block_options={"has_bottleneck": bottleneck, "norm": norm},
            residual_root=residual_root,
            name=f"stage{stage}",
        )
    return x


def make_architecture(name: str, table: tuple, params: int, **options) -> Architecture:
    """Return the network."""
    depths, widths = table
    return Architecture(
        backbone=backbone,
        reference="arXiv:1707.06484, table 1",
        year=2017,
        rescale=STANDARDIZED,
        options={"depths": depths, "widths": widths, **options},
        params=params,
        map_sizes=(224, 112, 56, 28, 14, 7),
        weight_mappings=map_timm(name),
    )


dla34 = make_architecture("dla34", DLA34, 15_742_104, bottleneck=False)
dla60 = make_architecture("dla60", DLA60, 22_036_632)
dla102 = make_architecture("dla102", DLA102, 33_268_888, residual_root=True)
