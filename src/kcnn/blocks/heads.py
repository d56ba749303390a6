"""Heads: from feature maps to logits."""

from kcnn.blocks import basic
from kcnn.blocks.basic import Norm, average_pool, conv
from kcnn.graph.ops import Activation, AdaptivePool, Dense, Flatten, GlobalPool
from kcnn.graph.tracing import apply


def head(x, classes: int, *, dropout: float = 0.0):
    """Average each channel over the map, then apply one dense layer.

    Args:
        x: (rows, columns, channels).
        classes: Number of classes.
        dropout: Rate before the dense layer.

    Returns:
        Logits (classes,).
    """
    x = basic.dropout(apply(GlobalPool(), x, name="pool"), dropout, name="dropout")
    return apply(Dense(classes), x, name="logits")


def wide_head(
    x, classes: int, *, units: int = 4096, dropout: float = 0.5, pool: int | None = None, dropout_first: bool = False
):
    """Flatten, then apply two dense layers with dropout and one of logits: the head of AlexNet and VGG.

    Args:
        x: (rows, columns, channels).
        classes: Number of classes.
        units: Units of the two dense layers.
        dropout: Rate at each of them.
        pool: Rows and columns to average any map to, as torchvision does; None for none.
        dropout_first: Whether dropout comes before each of them, not after.

    Returns:
        Logits (classes,).
    """
    if pool:
        x = apply(AdaptivePool(pool), x, name="pool")
    x = apply(Flatten(), x, name="flatten")
    for name in ("fc6", "fc7"):
        x = basic.dropout(x, dropout if dropout_first else 0.0, name=f"{name}_dropout")
        x = _dense_relu(x, units, name)
        x = basic.dropout(x, 0.0 if dropout_first else dropout, name=f"{name}_dropout")
    return apply(Dense(classes), x, name="logits")


def lenet_head(x, classes: int, *, units: tuple[int, ...] = (84,), activation: str = "tanh", dropout: float = 0.0):
    """Flatten, then apply dense layers and one of logits: the head of small early networks.

    Args:
        x: (rows, columns, channels).
        classes: Number of classes.
        units: Units of each dense layer.
        activation: Name of their activation.
        dropout: Rate before the logits.

    Returns:
        Logits (classes,).
    """
    x = apply(Flatten(), x, name="flatten")
    for number, width in enumerate(units, 6):
        x = apply(Activation(activation), apply(Dense(width), x, name=f"f{number}"), name=f"f{number}_{activation}")
    return apply(Dense(classes), basic.dropout(x, dropout, name="dropout"), name="logits")


def aux_classifier(x, classes: int, *, norm: Norm = False, dropout: float = 0.7, pool: int | None = None, name: str):
    """Apply an auxiliary classifier: average pool, 1x1 to 128 channels, 1024 units (arXiv:1409.4842, section 5).

    Args:
        x: (rows, columns, channels).
        classes: Number of classes.
        norm: As of `norm_act`.
        dropout: Rate before the logits.
        pool: Rows and columns to average any map to, as torchvision does; None for a 5x5 pool of stride 3.
        name: Prefix of the layers' names.

    Returns:
        Logits (classes,).
    """
    pool_name = f"{name}_pool"
    x = apply(AdaptivePool(pool), x, name=pool_name) if pool else average_pool(x, 5, stride=3, name=pool_name)
    x = conv(x, 128, 1, norm=norm, name=f"{name}_conv")
    x = apply(Flatten(), x, name=f"{name}_flatten")
    x = apply(Dense(1024, kernel_initializer="he_uniform"), x, name=f"{name}_fc")
    x = apply(Activation("relu"), x, name=f"{name}_relu")
    return apply(Dense(classes), basic.dropout(x, dropout, name=f"{name}_dropout"), name=f"{name}_logits")


def _dense_relu(x, units: int, name: str):
    x = apply(Dense(units, kernel_initializer="he_uniform"), x, name=name)
    return apply(Activation("relu"), x, name=f"{name}_relu")
