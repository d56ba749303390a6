"""Builders: each takes a tensor, drawn or Keras, and returns one of the same kind.

`norm` is False, True (batch normalisation), or the op to normalise with; a normalised
convolution has no bias. `act` is the name of an activation, or None. Kernels in front of a
rectifier start with He's variance (arXiv:1502.01852), drawn evenly, whatever a paper of before
2015 drew them from; `changes={"*.init": ...}` gives them any other of Keras' initialisers.
"""

from kcnn.blocks.heads import aux_classifier, head, lenet_head, wide_head
from kcnn.blocks.inception import Branches, branches, sequential, inception
from kcnn.blocks.mobile import inverted_residual, make_divisible, separable, squeeze_excite
from kcnn.blocks.plain import (
    Norm,
    average_pool,
    conv,
    depthwise,
    dropout,
    norm_act,
    lrn,
    max_pool,
)
from kcnn.blocks.residual import bottleneck, drop_path_rates, residual_add, preactivation, residual
from kcnn.sketch import apply

__all__ = [
    "Norm",
    "Branches",
    "apply",
    "aux_classifier",
    "average_pool",
    "bottleneck",
    "branches",
    "sequential",
    "conv",
    "depthwise",
    "drop_path_rates",
    "dropout",
    "norm_act",
    "head",
    "inception",
    "inverted_residual",
    "residual_add",
    "lenet_head",
    "lrn",
    "max_pool",
    "preactivation",
    "residual",
    "make_divisible",
    "separable",
    "squeeze_excite",
    "wide_head",
]
