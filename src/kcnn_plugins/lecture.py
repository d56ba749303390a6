"""First networks of a lecture: fully connected layers on pixels, two convolutions, and a stack of any depth."""

from functools import partial

from kcnn import Architecture, blocks
from kcnn.blocks import apply, conv, lenet_head, max_pool
from kcnn.graph.ops import Activation, Dense, Flatten

dense_head = partial(lenet_head, units=())


def fully_connected(x, *, units: tuple[int, ...] = (512, 512), activation: str = "relu"):
    """Connect every pixel to every unit, with a dense layer per entry of `units`."""
    x = apply(Flatten(), x, name="pixels")
    for number, width in enumerate(units, 1):
        x = apply(Dense(width, kernel_initializer="he_uniform"), x, name=f"fc{number}")
        x = apply(Activation(activation), x, name=f"fc{number}_{activation}")
    return x


def flat_head(x, classes: int, *, dropout: float = 0.0):
    """Apply one dense layer to flat features."""
    return apply(Dense(classes), blocks.dropout(x, dropout, name="dropout"), name="logits")


def two_convolutions(x):
    """Apply 5x5 to 16 maps, pool, 3x3 to 32 maps, pool: 28x28 -> 24 -> 12 -> 10 -> 5."""
    x = max_pool(conv(x, 16, 5, padding="valid", name="conv1"), 2, name="pool1")
    return max_pool(conv(x, 32, 3, padding="valid", name="conv2"), 2, name="pool2")


def convolutions(x, *, depth: int = 3, filters: int = 16, growth: float = 2.0, kernel: int = 3, norm: bool = True):
    """Apply `depth` times a convolution and a pool, each with `growth` times the filters of the one before."""
    for number in range(1, depth + 1):
        x = conv(x, round(filters * growth ** (number - 1)), kernel, norm=norm, name=f"conv{number}")
        x = max_pool(x, 2, name=f"pool{number}")
    return x


mlp = Architecture(
    backbone=fully_connected,
    head=flat_head,
    input_shape=(28, 28, 1),
    classes=10,
    reference="fully connected baseline: 784-512-512-10",
    params=784 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 10,
)
convnet = Architecture(
    backbone=two_convolutions,
    head=dense_head,
    input_shape=(28, 28, 1),
    classes=10,
    reference="two convolutions: 5x5-16, pool, 3x3-32, pool, 800 features",
    params=(5 * 5 * 1 + 1) * 16 + (3 * 3 * 16 + 1) * 32 + (5 * 5 * 32 + 1) * 10,
    map_sizes=(24, 12, 10, 5),
)
stack = Architecture(
    backbone=convolutions,
    input_shape=(28, 28, 1),
    classes=10,
    reference="a stack of convolutions to search in: 3x3-16, pool, 3x3-32, pool, 3x3-64, pool, global average",
    params=9 * (16 + 16 * 32 + 32 * 64) + 2 * (16 + 32 + 64) + (64 + 1) * 10,
    map_sizes=(28, 14, 7, 3),
)
