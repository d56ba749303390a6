"""MobileNet v1 and v2 (Howard et al., 2017; Sandler et al., 2018), at any width."""

from functools import partial

from kcnn import Architecture
from kcnn.blocks import conv, head, inverted_residual, separable

V1 = (  # filters, stride (arXiv:1704.04861, table 1)
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)
V2 = (  # expansion, channels, repeats, stride (arXiv:1801.04381, table 2)
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
relu6 = partial(conv, norm=True, act="relu6")


def scaled(filters: float) -> int:
    """The multiple of 8 nearest to `filters`, at least 8, never less than 90 % of it."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters else rounded


def v1(x, *, width: float = 1.0):
    """A convolution and 13 depthwise separable ones, all of `width` times the paper's filters."""
    x = conv(x, int(32 * width), 3, stride=2, norm=True, name="stem")
    for unit, (filters, stride) in enumerate(V1, 1):
        x = separable(x, int(filters * width), 3, stride=stride, name=f"unit{unit}")
    return x


def v2(x, *, width: float = 1.0):
    """A convolution, 17 inverted residuals and a last 1x1, which stays at 1280 for widths below 1."""
    x = relu6(x, scaled(32 * width), 3, stride=2, name="stem")
    for stage, (expand, filters, repeats, stride) in enumerate(V2, 1):
        for unit in range(repeats):
            x = inverted_residual(
                x,
                scaled(filters * width),
                expand,
                stride=1 if unit else stride,
                name=f"stage{stage}_unit{unit + 1}",
            )
    return relu6(x, scaled(1280 * max(width, 1.0)), 1, name="last")


mobilenet_v1 = Architecture(body=v1, reference="arXiv:1704.04861, table 1", params=4_231_976)
mobilenet_v2 = Architecture(
    body=v2, head=partial(head, dropout=0.2), reference="arXiv:1801.04381, table 2", params=3_504_872
)
