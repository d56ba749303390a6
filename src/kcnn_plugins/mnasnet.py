"""MnasNet-B1 (Tan et al., 2018), at four widths: found by a search that measures latency on a phone."""

from functools import partial
from typing import Any

from kcnn import Architecture
from kcnn.architectures.publishers import map_timm_units
from kcnn.blocks import Norm, conv, drop_path_rates, head, inverted_residual, make_divisible
from kcnn.graph.ops import STANDARDIZED, BatchNorm
from kcnn_plugins.mnasnet_weights import TORCHVISION, TORCHVISION_MAPPING

B1 = (  # expansion, kernel, channels, repeats, stride (arXiv:1807.11626, table 2; the authors' code, tensorflow/tpu)
    (1, 3, 16, 1, 1),
    (3, 3, 24, 3, 2),
    (3, 5, 40, 3, 2),
    (6, 5, 80, 3, 2),
    (6, 3, 96, 2, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)
NORM = BatchNorm(epsilon=1e-3, momentum=0.99)  # as in the authors' code


def backbone(x, *, width: float = 1.0, norm: Norm = NORM, drop_path: float = 0.0):
    """Apply a convolution, the table's inverted residuals of `width` times its channels, and a last 1x1 of 1280."""
    x = conv(x, make_divisible(32 * width), 3, stride=2, norm=norm, name="stem")
    rates = drop_path_rates(drop_path, sum(repeats for *_, repeats, _ in B1))
    for stage, (expand, kernel, filters, repeats, stride) in enumerate(B1, 1):
        for unit in range(repeats):
            x = inverted_residual(
                x,
                make_divisible(filters * width),
                expand * x.shape[-1],
                kernel,
                stride=1 if unit else stride,
                activation="relu",
                norm=norm,
                drop_path=next(rates),
                name=f"stage{stage}_unit{unit + 1}",
            )
    return conv(x, 1280, 1, norm=norm, name="last")


TIMM = {0.5: "mnasnet_050", 0.75: "mnasnet_075", 1.0: "mnasnet_100"}  # the same networks as torchvision's


def make_architecture(width: float, params: int) -> Architecture:
    """Return the network of one width."""
    torchvision: dict[str, Any] = {
        "options": {"norm": BatchNorm(momentum=0.9997)},
        "overrides": {"*.padding": "half"},
        "weight_mappings": TORCHVISION_MAPPING | (map_timm_units(TIMM[width]) if width in TIMM else {}),
        "weights": TORCHVISION[width],
    }
    return Architecture(
        backbone=backbone,
        head=partial(head, dropout=0.2),
        reference="arXiv:1807.11626, table 2 (MnasNet-B1)",
        year=2018,
        options={"width": width},
        params=params,
        map_sizes=(112, 56, 28, 14, 7),
        rescale=STANDARDIZED,
        variants={"torchvision": torchvision},
    )


mnasnet0_5 = make_architecture(0.5, 2_218_512)
mnasnet0_75 = make_architecture(0.75, 3_170_208)
mnasnet1_0 = make_architecture(1.0, 4_383_312)
mnasnet1_3 = make_architecture(1.3, 6_282_256)
