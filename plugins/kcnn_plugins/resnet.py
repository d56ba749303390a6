"""ResNet (He et al., 2015): residual blocks in four stages, as in table 1 of the paper."""

from kcnn import Architecture
from kcnn.blocks import bottleneck, conv, maxpool, residual
from kcnn.ops import BatchNorm, Rescale

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's RGB, pixels 0..1
TORCHVISION = Rescale(
    tuple(1 / (255 * d) for d in DEVIATION), tuple(-m / d for m, d in zip(MEAN, DEVIATION, strict=True))
)
KERAS = Rescale(1.0, (-123.68, -116.779, -103.939))  # Caffe's mean, on RGB; BGR is folded into the weights


def stem(x, norm, bias):
    x = conv(x, 64, 7, stride=2, padding="half", norm=norm, bias=bias, name="stem")
    return maxpool(x, 3, stride=2, padding="half", name="stem_pool")


def basic(x, *, repeats: tuple[int, ...], norm=True):
    """Stages of `repeats` residual blocks of 64, 128, ... filters; each stage but the first halves the map."""
    x = stem(x, norm, None)
    for stage, count in enumerate(repeats):
        for unit in range(count):
            stride = 2 if stage and not unit else 1
            x = residual(x, 64 << stage, stride=stride, norm=norm, name=f"stage{stage + 1}_unit{unit + 1}")
    return x


def deep(x, *, repeats: tuple[int, ...], stride_on: str = "1x1", bias: bool | None = None, norm=True):
    """Stages of `repeats` bottlenecks; `stride_on` "3x3" is torchvision's way, `bias=True` Keras'."""
    x = stem(x, norm, bias)
    for stage, count in enumerate(repeats):
        for unit in range(count):
            stride = 2 if stage and not unit else 1
            name = f"stage{stage + 1}_unit{unit + 1}"
            x = bottleneck(x, 64 << stage, stride=stride, stride_on=stride_on, norm=norm, bias=bias, name=name)
    return x


def shallow(*repeats: int, params: int) -> Architecture:
    return Architecture(
        body=basic,
        reference="arXiv:1512.03385, table 1",
        options={"repeats": repeats},
        params=params,
        variants={"torchvision": {"rescale": TORCHVISION}},
    )


def published(*repeats: int, params: int, keras: int) -> Architecture:
    like_keras = {"bias": True, "norm": BatchNorm(epsilon=1.001e-5, momentum=0.99)}
    return Architecture(
        body=deep,
        reference="arXiv:1512.03385, table 1",
        options={"repeats": repeats},
        params=params,
        variants={
            "torchvision": {"options": {"stride_on": "3x3"}, "rescale": TORCHVISION},
            "keras": {"options": like_keras, "rescale": KERAS, "params": keras},
        },
    )


resnet18 = shallow(2, 2, 2, 2, params=11_689_512)
resnet34 = shallow(3, 4, 6, 3, params=21_797_672)
resnet50 = published(3, 4, 6, 3, params=25_557_032, keras=25_583_592)
resnet101 = published(3, 4, 23, 3, params=44_549_160, keras=44_601_832)
resnet152 = published(3, 8, 36, 3, params=60_192_808, keras=60_268_520)
