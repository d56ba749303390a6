"""Convolutions of parallel linear branches, which are one convolution after training."""

from kcnn.blocks.basic import Norm, conv, depthwise, norm_act
from kcnn.graph.ops import Activation, Add, DropPath
from kcnn.graph.tracing import apply


def parallel_conv(
    x,
    filters: int,
    kernel: int = 3,
    *,
    stride: int = 1,
    groups: int = 1,
    repeats: int = 1,
    drop_path: float = 0.0,
    norm: Norm = True,
    activation: str | None = "relu",
    name: str,
):
    """Add convolutions, a 1x1 and the input, each normalized, and apply an activation (arXiv:2101.03697, figure 2).

    The 1x1 is left out where `kernel` is 1; the input where the shape changes. `kcnn.optimize_for_inference` makes one
    convolution of all.

    Args:
        x: (rows, columns, channels).
        filters: Number of output channels.
        kernel: Pixels a side.
        stride: Pixels.
        groups: Number of groups of channels; as many as channels and filters for depthwise convolutions.
        repeats: Number of convolutions of `kernel` (arXiv:2206.04040, figure 3); more than one are numbered.
        drop_path: Rate of stochastic depth of the convolutions, where the input is added.
        norm: As of `norm_act`.
        activation: Name of the activation, or None.
        name: Prefix of the layers' names: `name_conv`, `name_1x1`, `name_identity_bn`, `name_add`.

    Returns:
        (rows, columns, filters).
    """
    is_depthwise = groups == x.shape[-1] == filters

    def branch(kernel: int, part: str):
        if is_depthwise:
            return depthwise(
                x, kernel, stride=stride, padding="half", norm=norm, activation=None, name=f"{name}_{part}"
            )
        return conv(
            *(x, filters, kernel),
            stride=stride,
            padding="half",
            groups=groups,
            norm=norm,
            activation=None,
            name=f"{name}_{part}",
        )

    numbers = range(1, repeats + 1)
    branches = [branch(kernel, f"conv{number}" if repeats > 1 else "conv") for number in numbers]
    if kernel > 1:
        branches.append(branch(1, "1x1"))
    if stride == 1 and x.shape[-1] == filters:
        if drop_path:
            y = apply(Add(), *branches, name=f"{name}_branches") if len(branches) > 1 else branches[0]
            branches = [apply(DropPath(drop_path), y, name=f"{name}_drop_path")]
        branches.append(norm_act(x, norm, None, f"{name}_identity"))
    y = apply(Add(), *branches, name=f"{name}_add") if len(branches) > 1 else branches[0]
    return apply(Activation(activation), y, name=f"{name}_{activation}") if activation else y
