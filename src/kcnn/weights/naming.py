"""Whose names of layers a file of weights has: kcnn's, or those of a mapping of the architecture."""

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from kcnn.architectures.architecture import WeightMapping
from kcnn.graph.ops import Rescale
from kcnn.weights.formats import CONVOLUTION, SEPARABLE, Arrays, StoredWeights
from kcnn.weights.input_channels import scales_and_offsets


@dataclass(frozen=True)
class LayerNaming:
    """The naming under which a file has the most layers of a network.

    Attributes:
        name: "kcnn", or a key of the architecture's `weight_mappings`.
        mapping: The mapping; None for kcnn's own names.
        layers: Arrays by layer and variable, as in the file.
        names: Each of the network's layers by its name in the file.
        hits: Number of layers that the file has.
    """

    name: str
    mapping: WeightMapping | None
    layers: Mapping[str, Arrays]
    names: Mapping[str, str]
    hits: int


def recognize_naming(
    stored: StoredWeights, mappings: Mapping[str, WeightMapping], layers: Sequence[str], prefix: str
) -> LayerNaming:
    """Return how a file names the layers of a network.

    Args:
        stored: The content of the file.
        mappings: How files of other libraries name the layers.
        layers: The layers with weights of the network, in order.
        prefix: Prefix of the model's layers.

    Raises:
        ValueError: The file has none of the layers.
    """
    own = {layer: layer if layer in stored.layers else prefix + layer for layer in layers}
    best = LayerNaming("kcnn", None, stored.layers, own, sum(name in stored.layers for name in own.values()))
    for name, mapping in mappings.items():
        naming = _apply_mapping(name, mapping, stored, layers)
        if naming and naming.hits > best.hits:
            best = naming
    if not best.hits:
        first = ", ".join(list(stored.layers)[:4]) or "nothing"
        raise ValueError(
            f"it has {first}, ..., and no layer of this network (which has {', '.join(layers[:3])}, ...) "
            f"by the names of {', '.join(['kcnn', *mappings])}"
        )
    return best


def _apply_mapping(
    name: str, mapping: WeightMapping, stored: StoredWeights, layers: Sequence[str]
) -> LayerNaming | None:
    """The naming of one mapping; None where it knows no name for a layer that the network has by its options."""
    try:
        candidates = mapping.names(layers)
    except (LookupError, ValueError):
        return None
    tuples = {layer: (names,) if isinstance(names, str) else names for layer, names in candidates.items()}
    arrays = stored.count_from_zero() if mapping.numbered else stored.layers
    arrays = _split_separable(arrays, {choice for choices in tuples.values() for choice in choices})
    names = {}
    for layer, choices in tuples.items():
        names[layer] = next((choice for choice in choices if choice in arrays), choices[0])
    return LayerNaming(name, mapping, arrays, names, sum(choice in arrays for choice in names.values()))


def _split_separable(layers: Mapping[str, Arrays], named: Set[str]) -> dict[str, Arrays]:
    """The layers, with Keras' separable convolutions that no name means as X_depthwise and X_pointwise."""
    split: dict[str, Arrays] = {}
    for layer, arrays in layers.items():
        if layer in named or not set(SEPARABLE[:2]) <= set(arrays):
            split[layer] = arrays
            continue
        depthwise, pointwise, *bias = arrays.values()
        split[f"{layer}_depthwise"] = {"kernel": depthwise}
        split[f"{layer}_pointwise"] = dict(zip(CONVOLUTION, (pointwise, *bias), strict=False))
    return split


def drop_normalization(naming: LayerNaming, rescale: Rescale) -> LayerNaming:
    """The naming without Keras' layer that normalizes pixels, which must do what the network's own scaling does.

    The files of EfficientNet in keras.applications have the deviation in place of the variance.
    """
    if naming.mapping is None or not naming.mapping.normalization:
        return naming
    layers = dict(naming.layers)
    for layer in naming.layers:
        if re.fullmatch(r"normalization(_\d+)?", layer):
            mean, variance = (np.ravel(array) for array in list(layers.pop(layer).values())[:2])
            scale, offset = scales_and_offsets(rescale, len(mean))
            deviation = 1 / (255 * scale)
            is_same = [np.allclose(variance, expected, rtol=0.01) for expected in (deviation, deviation**2)]
            if not (any(is_same) and np.allclose(mean, -offset * deviation, atol=1e-3)):
                raise ValueError(
                    f"its layer {layer!r} has mean {mean.round(3).tolist()} and variance {variance.round(3).tolist()} "
                    f"of pixels 0..1; this network normalizes by mean {(-offset * deviation).round(3).tolist()} and "
                    f"standard deviation {deviation.round(3).tolist()}"
                )
    return replace(naming, layers=layers)
