"""Channel attention: weights of the channels, computed from their means."""

from kcnn.blocks.basic import conv
from kcnn.graph.ops import GlobalPool, Multiply
from kcnn.graph.tracing import apply


def squeeze_excite(x, filters: int, *, activation: str = "relu", gate: str = "sigmoid", name: str):
    """Multiply each channel by a weight computed from the means of all channels (arXiv:1709.01507, figure 3).

    Args:
        x: (rows, columns, channels).
        filters: Channels between the two 1x1 convolutions.
        activation: Activation between them.
        gate: Activation of the weights.
        name: Name of the product and prefix of the other layers' names.

    Returns:
        A tensor of the same shape.
    """
    y = apply(GlobalPool(keepdims=True), x, name=f"{name}_pool")
    y = conv(y, filters, 1, activation=activation, name=f"{name}_reduce")
    y = conv(y, x.shape[-1], 1, activation=gate, name=f"{name}_expand")
    return apply(Multiply(), x, y, name=name)
