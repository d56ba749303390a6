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
    """Describe a convolution in which map i sees only the input maps `table[i]`."""

    table: tuple[tuple[int, ...], ...]
    kernel: int = 5
    stride: int = 1
    padding: str | int = "valid"

    @property
    def dense(self) -> Conv:
        """The convolution of the same geometry in which every map sees all."""
        return Conv(len(self.table), self.kernel, self.stride, self.padding)

    @property
    def connections(self) -> int:
        """Number of pairs of an input map and a map that sees it."""
        return sum(map(len, self.table))

    def shape(self, x):
        """Return the output shape for an input shape."""
        if x[-1] <= max(map(max, self.table)):
            raise ValueError(f"the table has map {max(map(max, self.table))}, but the input has {x[-1]} (from 0)")
        return shape_inference.output_shape(self.dense, x)

    def params(self, x):
        """Return the number of trainable parameters."""
        return self.kernel**2 * self.connections + len(self.table)

    def macs(self, x):
        """Return the multiply-accumulates for one image."""
        rows, columns, _ = self.shape(x)
        return rows * columns * self.kernel**2 * self.connections

    def window(self, x):
        """Return the op whose window this one has."""
        return self.dense

    def layer(self, name):
        """Return the Keras layer."""
        from kcnn_plugins.lenet_layers import SparseConv2D

        return SparseConv2D(self.table, self.kernel, self.stride, self.padding, name=name)


@dataclass(frozen=True)
class ScaleShift:
    """Describe one trainable coefficient and bias per map, which make the paper's subsampling trainable."""

    def shape(self, x):
        """Return the output shape for an input shape."""
        return x

    def params(self, x):
        """Return the number of trainable parameters."""
        return 2 * x[-1]

    def layer(self, name):
        """Return the Keras layer."""
        from kcnn_plugins.lenet_layers import ScaleShift as Layer

        return Layer(name=name)


@dataclass(frozen=True)
class ScaledTanh:
    """Describe 1.7159 tanh(2/3 x) (appendix A)."""

    def shape(self, x):
        """Return the output shape for an input shape."""
        return x

    def layer(self, name):
        """Return the Keras layer."""
        from kcnn_plugins.lenet_layers import ScaledTanh as Layer

        return Layer(name=name)


@dataclass(frozen=True)
class RadialBasis:
    """Describe minus the squared distance to a fixed code of -1 and +1 per class (equation 7)."""

    classes: int

    def shape(self, x):
        """Return the output shape for an input shape."""
        return (self.classes,)

    def macs(self, x):
        """Return the multiply-accumulates for one image."""
        return x[0] * self.classes

    def layer(self, name):
        """Return the Keras layer."""
        from kcnn_plugins.lenet_layers import RadialBasis as Layer

        return Layer(self.classes, name=name)


def scaled_tanh(x, name):
    """Apply the paper's activation."""
    return apply(ScaledTanh(), x, name=f"{name}_tanh")


def subsample(x, name):
    """Apply a 2x2 mean, a trainable scale and shift per map, and the activation (section II-B)."""
    x = average_pool(x, 2, stride=2, name=f"{name}_mean")
    return scaled_tanh(apply(ScaleShift(), x, name=name), name)


def original(x):
    """Apply C1, S2, sparse C3, S4, C5 (figure 2): 32x32 -> 28 -> 14 -> 10 -> 5 -> 1."""
    linear_conv = partial(conv, kernel=5, padding="valid", activation=None)
    x = subsample(scaled_tanh(linear_conv(x, 6, name="c1"), "c1"), "s2")
    x = subsample(scaled_tanh(apply(SparseConv(TABLE), x, name="c3"), "c3"), "s4")
    return scaled_tanh(linear_conv(x, 120, name="c5"), "c5")


def rbf_head(x, classes: int, *, dropout: float = 0.0):
    """Apply F6 and the radial basis functions; the codes are 7x12 bitmaps of the digits (see lenet_layers)."""
    x = scaled_tanh(apply(Dense(84), apply(Flatten(), x, name="flatten"), name="f6"), "f6")
    return apply(RadialBasis(classes), blocks.dropout(x, dropout, name="dropout"), name="logits")


def modern(x, *, activation: str = "tanh"):
    """Apply the same maps with dense connections and average pools, as LeNet is taught today."""
    x = average_pool(conv(x, 6, 5, padding="valid", activation=activation, name="c1"), 2, name="s2")
    x = average_pool(conv(x, 16, 5, padding="valid", activation=activation, name="c3"), 2, name="s4")
    return conv(x, 120, 5, padding="valid", activation=activation, name="c5")


lenet5 = Architecture(
    backbone=original,
    head=rbf_head,
    input_shape=(32, 32, 1),
    classes=10,
    reference="LeCun et al. 1998, figure 2 and section II-B",
    rescale=Rescale(1.275 / 255, -0.1),  # background -0.1, ink 1.175 (section II-B)
    year=1998,
    params=60_000,
    map_sizes=(28, 14, 10, 5),
    variants={"modern": {"backbone": modern, "head": lenet_head, "params": 61_706}},
)
