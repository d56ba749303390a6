"""Builders: each takes a tensor, drawn or Keras, and returns one of the same kind.

`norm` is False, True (batch normalisation), or the op to normalise with; a normalised
convolution has no bias. `act` is the name of an activation, or None. Kernels in front of a
rectifier start with He's variance (arXiv:1502.01852), drawn evenly, whatever a paper of before
2015 drew them from; `changes={"*.init": ...}` gives them any other of Keras' initialisers.
"""

from kcnn.blocks.heads import auxiliary, head, lenet_head, wide_head
from kcnn.blocks.inception import Ways, branches, chain, inception
from kcnn.blocks.mobile import inverted_residual, scaled, separable, squeeze_excite
from kcnn.blocks.plain import (
    Norm,
    averagepool,
    conv,
    depthwise,
    dropped,
    finish,
    lrn,
    maxpool,
)
from kcnn.blocks.residual import bottleneck, drop_rates, join, preactivation, residual
from kcnn.sketch import apply

__all__ = [
    "Norm",
    "Ways",
    "apply",
    "auxiliary",
    "averagepool",
    "bottleneck",
    "branches",
    "chain",
    "conv",
    "depthwise",
    "drop_rates",
    "dropped",
    "finish",
    "head",
    "inception",
    "inverted_residual",
    "join",
    "lenet_head",
    "lrn",
    "maxpool",
    "preactivation",
    "residual",
    "scaled",
    "separable",
    "squeeze_excite",
    "wide_head",
]
