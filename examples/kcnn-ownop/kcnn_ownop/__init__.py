"""ECA-ResNet-20: a residual network for small pictures with efficient channel attention (Wang et al., 2020)."""

from dataclasses import dataclass

from kcnn import Architecture
from kcnn.blocks import apply, conv
from kcnn.graph.ops import Activation, Add


@dataclass(frozen=True)
class ChannelAttention:
    """Each channel times a sigmoid of itself and its `kernel` - 1 neighbours, averaged over the map.

    arXiv:1910.03151, equation 9. What kcnn asks an op of somebody else's are its methods; those that it lacks are
    nothing: no state here.
    """

    kernel: int = 3

    def __post_init__(self):
        if self.kernel % 2 == 0:
            raise ValueError(f"the kernel over channels is odd, so that it has a middle, not {self.kernel}")

    def shape(self, x):
        return x

    def params(self, x):
        return self.kernel

    def macs(self, x):
        rows, columns, channels = x
        return self.kernel * channels + rows * columns * channels

    def window(self, x):
        return "whole"  # every output pixel sees the whole map

    def layer(self, name):
        from kcnn_ownop.layers import ChannelAttention as Layer  # Keras is loaded when a model is built

        return Layer(self.kernel, name=name)


def attended(x, filters: int, *, stride: int = 1, kernel: int = 3, name: str):
    """A residual block whose way is weighed by channel attention before it is added."""
    y = conv(x, filters, 3, stride=stride, padding="half", norm=True, name=f"{name}_a")
    y = conv(y, filters, 3, padding="half", norm=True, activation=None, name=f"{name}_b")
    y = apply(ChannelAttention(kernel), y, name=f"{name}_eca")
    if stride != 1 or x.shape[-1] != filters:
        x = conv(x, filters, 1, stride=stride, padding="half", norm=True, activation=None, name=f"{name}_skip")
    return apply(Activation("relu"), apply(Add(), x, y, name=f"{name}_add"), name=f"{name}_relu")


def body(x, *, units: int = 3, kernel: int = 3):
    """Three stages of `units` blocks with 16, 32 and 64 maps, as ResNet-20 has them (arXiv:1512.03385, section 4.2)."""
    x = conv(x, 16, 3, norm=True, name="stem")
    for stage in range(3):
        for unit in range(units):
            stride = 2 if stage and not unit else 1
            x = attended(x, 16 << stage, stride=stride, kernel=kernel, name=f"stage{stage + 1}_unit{unit + 1}")
    return x


eca_resnet20 = Architecture(
    backbone=body,
    reference="arXiv:1910.03151, equation 9, in ResNet-20 of arXiv:1512.03385, section 4.2",
    year=2020,
    input_shape=(32, 32, 3),
    classes=10,
    params=272_501,
)
