"""Blocks: functions from a tensor, symbolic or Keras, to a tensor of the same kind.

`norm` is False, True (batch normalization), or the op to normalize with; a normalized convolution has no bias.
`activation` is the name of an activation, or None. Kernels before a rectifier are initialized by He's uniform
distribution (arXiv:1502.01852), also in networks older than it; `overrides={"*.kernel_initializer": ...}` sets any
other initializer of Keras.
"""

from kcnn.blocks.attention import squeeze_excite
from kcnn.blocks.basic import (
    Norm,
    average_pool,
    conv,
    depthwise,
    dropout,
    lrn,
    max_pool,
    norm_act,
)
from kcnn.blocks.heads import aux_classifier, head, lenet_head, wide_head
from kcnn.blocks.inception_modules import Branches, branches, inception, sequential
from kcnn.blocks.mobilenet import (
    depthwise_separable,
    fused_inverted_residual,
    inverted_residual,
    make_divisible,
    separable,
    universal_inverted_bottleneck,
)
from kcnn.blocks.reparameterized import parallel_conv
from kcnn.blocks.residual_units import (
    bottleneck,
    drop_path_rates,
    match_stride,
    preactivation,
    project_shortcut,
    residual,
    residual_add,
)
from kcnn.graph.tracing import apply, decide_by_shapes

__all__ = [
    "Branches",
    "Norm",
    "apply",
    "aux_classifier",
    "average_pool",
    "bottleneck",
    "branches",
    "conv",
    "decide_by_shapes",
    "depthwise",
    "depthwise_separable",
    "drop_path_rates",
    "dropout",
    "fused_inverted_residual",
    "head",
    "inception",
    "inverted_residual",
    "lenet_head",
    "lrn",
    "make_divisible",
    "match_stride",
    "max_pool",
    "norm_act",
    "parallel_conv",
    "preactivation",
    "project_shortcut",
    "residual",
    "residual_add",
    "separable",
    "sequential",
    "squeeze_excite",
    "universal_inverted_bottleneck",
    "wide_head",
]
