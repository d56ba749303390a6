"""ECA-ResNet-20: a residual network for small images with efficient channel attention (Wang et al., 2020)."""

from dataclasses import dataclass

from kcnn import Architecture
from kcnn.blocks import apply, conv
from kcnn.graph.ops import Activation, Add
from kcnn.graph.windows import WHOLE_INPUT


@dataclass(frozen=True)
class ChannelAttention:
    """Describe channel attention: each channel times a sigmoid of the means around it (arXiv:1910.03151, equation 9).

    kcnn calls the methods of an op. Those that are missing count as zero: there are no non-trainable parameters here.

    Args:
        kernel: Number of neighboring channels, odd.
    """

    kernel: int = 3

    def __post_init__(self):
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {self.kernel}")

    def shape(self, x):
        """Return the output shape for an input shape."""
        return x

    def params(self, x):
        """Return the number of trainable parameters."""
        return self.kernel

    def macs(self, x):
        """Return the multiply-accumulates for one image."""
        rows, columns, channels = x
        return self.kernel * channels + rows * columns * channels

    def window(self, x):
        """Return which pixels of the input each pixel of the output sees: all."""
        return WHOLE_INPUT

    def layer(self, name):
        """Return the Keras layer."""
        from kcnn_ownop.layers import ChannelAttention as Layer  # Keras is loaded when a model is built

        return Layer(self.kernel, name=name)


def attention_residual(x, filters: int, *, stride: int = 1, kernel: int = 3, name: str):
    """Apply a residual block with channel attention before the addition."""
    y = conv(x, filters, 3, stride=stride, padding="half", norm=True, name=f"{name}_a")
    y = conv(y, filters, 3, padding="half", norm=True, activation=None, name=f"{name}_b")
    y = apply(ChannelAttention(kernel), y, name=f"{name}_eca")
    if stride != 1 or x.shape[-1] != filters:
        x = conv(x, filters, 1, stride=stride, padding="half", norm=True, activation=None, name=f"{name}_skip")
    return apply(Activation("relu"), apply(Add(), x, y, name=f"{name}_add"), name=f"{name}_relu")


def backbone(x, *, units: int = 3, kernel: int = 3):
    """Apply three stages of `units` blocks with 16, 32 and 64 maps, as in ResNet-20 (arXiv:1512.03385, section 4.2)."""
    x = conv(x, 16, 3, norm=True, name="stem")
    for stage in range(3):
        for unit in range(units):
            stride = 2 if stage and not unit else 1
            x = attention_residual(
                x, 16 << stage, stride=stride, kernel=kernel, name=f"stage{stage + 1}_unit{unit + 1}"
            )
    return x


eca_resnet20 = Architecture(
    backbone=backbone,
    reference="arXiv:1910.03151, equation 9, in ResNet-20 of arXiv:1512.03385, section 4.2",
    year=2020,
    input_shape=(32, 32, 3),
    classes=10,
    params=272_501,
    map_sizes=(32, 16, 8),
)
