"""Xception (Chollet, 2016): Inception's branches taken to the extreme, one for each channel."""

from functools import partial

from kcnn import Architecture
from kcnn.blocks import Norm, apply, conv, depthwise_separable, drop_path_rates, head, max_pool, residual_add
from kcnn.graph.ops import Activation, BatchNorm
from kcnn_plugins.xception_weights import KERAS, KERAS_MAPPINGS, TIMM_MAPPING

BLOCKS = (  # filters of the separable convolutions, stride (arXiv:1610.02357, figure 5)
    ((128, 128), 2),
    ((256, 256), 2),
    ((728, 728), 2),
    *(((728, 728, 728), 1),) * 8,
    ((728, 1024), 2),
)
LAST = (1536, 2048)


NORM = BatchNorm(epsilon=1e-3, momentum=0.99)  # as in the author's code, Keras' defaults


def backbone(x, *, norm: Norm = NORM, drop_path: float = 0.0):
    """Apply two convolutions, twelve residual blocks of separable convolutions, and two more of these."""
    x = conv(x, 32, 3, stride=2, padding="valid", norm=norm, name="stem1")
    x = conv(x, 64, 3, padding="valid", norm=norm, name="stem2")
    rates = drop_path_rates(drop_path, len(BLOCKS))
    for number, (table, stride) in enumerate(BLOCKS, 1):
        name, y = f"block{number}", x
        for position, filters in enumerate(table, 1):
            if number > 1 or position > 1:  # the stem is activated already
                y = apply(Activation("relu"), y, name=f"{name}_sep{position}_relu")
            y = depthwise_separable(y, filters, norm=norm, name=f"{name}_sep{position}")
        if stride > 1:
            y = max_pool(y, 3, stride=stride, padding="same", name=f"{name}_pool")
            x = conv(x, table[-1], 1, stride=stride, norm=norm, activation=None, name=f"{name}_skip")
        x = residual_add(x, y, drop_path=next(rates), name=name)
    for position, filters in enumerate(LAST, 1):
        x = depthwise_separable(x, filters, norm=norm, name=f"last{position}")
        x = apply(Activation("relu"), x, name=f"last{position}_relu")
    return x


xception = Architecture(
    backbone=backbone,
    head=partial(head, dropout=0.5),  # section 4.3
    input_shape=(299, 299, 3),
    reference="arXiv:1610.02357, figure 5",
    year=2016,
    params=22_855_952,
    map_sizes=(149, 147, 74, 37, 19, 10),
    weight_mappings=KERAS_MAPPINGS,
    weights=KERAS,
    variants={
        "timm": {
            "options": {"norm": BatchNorm()},
            "overrides": {"block*_pool.padding": "half"},
            "weight_mappings": TIMM_MAPPING,
        },
    },
)
