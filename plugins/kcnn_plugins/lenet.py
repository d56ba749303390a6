"""LeNet-5 (LeCun et al., "Gradient-based learning applied to document recognition", Proc. IEEE 1998)."""

from dataclasses import dataclass
from functools import partial

from kcnn import Architecture, blocks
from kcnn.blocks import apply, average_pool, conv, lenet_head
from kcnn.graph import shape_inference
from kcnn.graph.ops import Conv, Dense, Flatten, Rescale

TABLE = (  # the maps of S2 that each map of C3 sees (table I)
    *((i, (i + 1) % 6, (i + 2) % 6) for i in range(6)),
    *(tuple(sorted((i + k) % 6 for k in range(4))) for i in range(6)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)


@dataclass(frozen=True)
class SparseConv:
    """A convolution in which map i sees only the input maps `table[i]`."""

    table: tuple[tuple[int, ...], ...]
    kernel: int = 5
    stride: int = 1
    padding: str | int = "valid"

    @property
    def dense(self) -> Conv:
        return Conv(len(self.table), self.kernel, self.stride, self.padding)

    @property
    def connections(self) -> int:
        return sum(map(len, self.table))

    def shape(self, x):
        if x[-1] <= max(map(max, self.table)):
            raise ValueError(f"its table names map {max(map(max, self.table))} of {x[-1]}, counted from 0")
        return shape_inference.output_shape(self.dense, x)

    def params(self, x):
        return self.kernel**2 * self.connections + len(self.table)

    def macs(self, x):
        rows, columns, _ = self.shape(x)
        return rows * columns * self.kernel**2 * self.connections

    def window(self, x):
        return self.dense

    def layer(self, name):
        from kcnn_plugins.lenet_layers import SparseConv2D

        return SparseConv2D(self.table, self.kernel, self.stride, self.padding, name=name)


@dataclass(frozen=True)
class ScaleShift:
    """One trainable coefficient and bias per map: what makes the paper's subsampling trainable."""

    def shape(self, x):
        return x

    def params(self, x):
        return 2 * x[-1]

    def layer(self, name):
        from kcnn_plugins.lenet_layers import ScaleShift as Layer

        return Layer(name=name)


@dataclass(frozen=True)
class ScaledTanh:
    """1.7159 tanh(2/3 x) (appendix A)."""

    def shape(self, x):
        return x

    def layer(self, name):
        from kcnn_plugins.lenet_layers import ScaledTanh as Layer

        return Layer(name=name)


@dataclass(frozen=True)
class RadialBasis:
    """Minus the squared distance to a fixed code of -1 and +1 per class (equation 7)."""

    classes: int

    def shape(self, x):
        return (self.classes,)

    def macs(self, x):
        return x[0] * self.classes

    def layer(self, name):
        from kcnn_plugins.lenet_layers import RadialBasis as Layer

        return Layer(self.classes, name=name)


def squash(x, name):
    return apply(ScaledTanh(), x, name=f"{name}_tanh")


def subsample(x, name):
    x = average_pool(x, 2, stride=2, name=f"{name}_mean")
    return squash(apply(ScaleShift(), x, name=name), name)


def paper(x):
    """C1, S2, sparse C3, S4, C5 (figure 2): 32x32 -> 28 -> 14 -> 10 -> 5 -> 1."""
    bare = partial(conv, kernel=5, padding="valid", activation=None)
    x = subsample(squash(bare(x, 6, name="c1"), "c1"), "s2")
    x = subsample(squash(apply(SparseConv(TABLE), x, name="c3"), "c3"), "s4")
    return squash(bare(x, 120, name="c5"), "c5")


def codes(x, classes: int, *, dropout: float = 0.0):
    """F6 and the radial basis functions; the codes are 7x12 bitmaps of the digits (see lenet_layers)."""
    x = squash(apply(Dense(84), apply(Flatten(), x, name="flatten"), name="f6"), "f6")
    return apply(RadialBasis(classes), blocks.dropout(x, dropout, name="dropout"), name="logits")


def modern(x, *, act: str = "tanh"):
    """The same maps with dense connections and plain average pools, as LeNet is taught today."""
    x = average_pool(conv(x, 6, 5, padding="valid", activation=act, name="c1"), 2, name="s2")
    x = average_pool(conv(x, 16, 5, padding="valid", activation=act, name="c3"), 2, name="s4")
    return conv(x, 120, 5, padding="valid", activation=act, name="c5")


lenet5 = Architecture(
    backbone=paper,
    head=codes,
    input_shape=(32, 32, 1),
    classes=10,
    reference="LeCun et al. 1998, figure 2 and section II-B",
    rescale=Rescale(1.275 / 255, -0.1),  # background -0.1, ink 1.175 (section II-B)
    year=1998,
    params=60_000,
    variants={"modern": {"backbone": modern, "head": lenet_head, "params": 61_706}},
)
