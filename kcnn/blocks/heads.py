"""What stands on the features: from a map to logits."""

from kcnn.blocks import basic
from kcnn.blocks.basic import Norm, average_pool, conv
from kcnn.graph.ops import Activation, AdaptivePool, Dense, Flatten, GlobalPool
from kcnn.graph.tracing import apply


def head(x, classes: int, *, dropout: float = 0.0):
    """Average every channel over the map, then one dense layer of logits."""
    x = basic.dropout(apply(GlobalPool(), x, name="pool"), dropout, name="dropout")
    return apply(Dense(classes), x, name="logits")


def wide_head(
    x, classes: int, *, units: int = 4096, dropout: float = 0.5, pool: int | None = None, dropout_first: bool = False
):
    """Flatten, two dense layers with dropout, then logits: the head of AlexNet and VGG.

    `pool` averages any map to `pool` x `pool` before, as torchvision does; `dropout_first` drops
    before each of the two layers instead of behind it.
    """
    if pool:
        x = apply(AdaptivePool(pool), x, name="pool")
    x = apply(Flatten(), x, name="flatten")
    for name in ("fc6", "fc7"):
        x = basic.dropout(x, dropout if dropout_first else 0.0, name=f"{name}_dropout")
        x = apply(
            Activation("relu"), apply(Dense(units, kernel_initializer="he_uniform"), x, name=name), name=f"{name}_relu"
        )
        x = basic.dropout(x, 0.0 if dropout_first else dropout, name=f"{name}_dropout")
    return apply(Dense(classes), x, name="logits")


def lenet_head(x, classes: int, *, units: tuple[int, ...] = (84,), activation: str = "tanh", dropout: float = 0.0):
    """Flatten, a dense layer per entry of `units`, then logits: the head of small early networks."""
    x = apply(Flatten(), x, name="flatten")
    for number, width in enumerate(units, 6):
        x = apply(Activation(activation), apply(Dense(width), x, name=f"f{number}"), name=f"f{number}_{activation}")
    return apply(Dense(classes), basic.dropout(x, dropout, name="dropout"), name="logits")


def aux_classifier(x, classes: int, *, norm: Norm = False, dropout: float = 0.7, pool: int | None = None, name: str):
    """A classifier on the side: 5x5 average pool of stride 3, 1x1 to 128, 1024 units (arXiv:1409.4842, section 5).

    `pool` averages any map to `pool` x `pool` instead, as torchvision does.
    """
    where = f"{name}_pool"
    x = apply(AdaptivePool(pool), x, name=where) if pool else average_pool(x, 5, stride=3, name=where)
    x = conv(x, 128, 1, norm=norm, name=f"{name}_conv")
    x = apply(Flatten(), x, name=f"{name}_flatten")
    x = apply(
        Activation("relu"),
        apply(Dense(1024, kernel_initializer="he_uniform"), x, name=f"{name}_fc"),
        name=f"{name}_relu",
    )
    return apply(Dense(classes), basic.dropout(x, dropout, name=f"{name}_dropout"), name=f"{name}_logits")
