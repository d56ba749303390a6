"""Pretrained weights of torchvision and keras.applications: URLs, and how their layers are named.

URLs, checksums and accuracies are theirs. torchvision's file names end in the first eight digits of
the file's SHA-256; Keras states an MD5, or nothing for MobileNet v1 and v2.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kcnn.architectures.architecture import WeightMapping, Weights

PYTORCH = "https://download.pytorch.org/models/"
KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/"


def torchvision_weights(file: str, accuracy: float | None, **fields: Any) -> Weights:
    """Return the Weights of a state dict of torchvision.

    Args:
        file: File name.
        accuracy: Published top-1 accuracy (torchvision.models, "acc@1").
        **fields: Further fields of Weights.

    Returns:
        The weights.
    """
    digits = file.removesuffix(".pth").rpartition("-")[2]
    return Weights(
        url=PYTORCH + file,
        checksum=f"sha256:{digits}",
        source="torchvision",
        mapping="torchvision",
        accuracy=accuracy,
        citation="torchvision.models",
        license="BSD-3-Clause, torchvision's",
        **fields,
    )


def both_torchvision_weights(first: tuple[str, float], second: tuple[str, float], **fields: Any) -> tuple[Weights, ...]:
    """Return the Weights of both generations of torchvision; "imagenet" is the second, with images resized to 232.

    Args:
        first: File and accuracy of the first generation.
        second: Of the second.
        **fields: Further fields of Weights.

    Returns:
        Weights named "imagenet", "imagenet_v2" and "imagenet_v1".
    """
    return (
        torchvision_weights(*second, resize=232, **fields),
        torchvision_weights(*second, resize=232, **fields, name="imagenet_v2"),
        torchvision_weights(*first, **fields, name="imagenet_v1"),
    )


def keras_weights(
    file: str, whole: str | None, headless: tuple[str, str | None], accuracy: float | None, license: str, **fields: Any
) -> tuple[Weights, ...]:
    """Return the Weights of the two files of keras.applications, with the classifier and without.

    Args:
        file: File with the classifier, with its folder.
        whole: Its MD5.
        headless: Name and MD5 of the file without the classifier.
        accuracy: From the table of keras.io/api/applications, unless `citation` is given.
        license: Of the files.
        **fields: Further fields of Weights.

    Returns:
        Both weights.
    """
    folder = file.rpartition("/")[0]
    given = {"citation": "keras.io/api/applications", **fields}
    return tuple(
        Weights(
            url=KERAS + path,
            checksum=f"md5:{digits}" if digits else None,
            source="keras.applications",
            mapping="keras",
            top=top,
            accuracy=accuracy,
            license=license,
            **given,
        )
        for path, digits, top in ((file, whole, True), (f"{folder}/{headless[0]}", headless[1], False))
    )


def tf_slim_weights(network: str, whole: str, headless: str, accuracy: float, license: str, **fields: Any):
    """Return `keras_weights` for the files that are named NETWORK_weights_tf_dim_ordering_tf_kernels."""
    folder = fields.pop("folder", network)
    stem = f"{network}_weights_tf_dim_ordering_tf_kernels"
    return keras_weights(f"{folder}/{stem}.h5", whole, (f"{stem}_notop.h5", headless), accuracy, license, **fields)


def make_mapping(rename: Callable[[str], str | tuple[str, ...]], bgr: bool = False) -> WeightMapping:
    """Return the mapping of files in which the name of a layer, or its possible names, follow from kcnn's name."""
    return WeightMapping(names=lambda layers: {layer: rename(layer) for layer in layers}, bgr=bgr)


def rename_normalized(rename: Callable[[str], str]) -> Callable[[str], str]:
    """Return PyTorch's names X.conv and X.bn of a convolution and its normalization, given a function for X."""

    def named(layer: str) -> str:
        bare = layer.removesuffix("_bn")
        return rename(bare) + (".conv" if bare == layer else ".bn")

    return named


def rename_parts(pattern: str, layer: str) -> tuple[str, ...]:
    """Return the groups of a pattern in the name of a layer. Raises ValueError for a name that does not match."""
    match = re.fullmatch(pattern, layer)
    if not match:
        raise ValueError(f"layer {layer!r} has no name in the weight files of other libraries")
    return match.groups(default="")


def rename_branches(branches: Sequence[str], layer: str) -> str:
    """Return the name of a layer by branch and position, counted from 0: "double_2" is branch2.1 if double is third."""
    branch, _, position = layer.partition("_")
    name = f"branch{branches.index(branch)}"
    if position == "proj":  # after the pool, which is at 0
        return f"{name}.1"
    return f"{name}.{int(position) - 1}" if position else name


def number_layers(
    layers: Sequence[str], named: Mapping[str, str | tuple[str, ...]]
) -> dict[str, str | tuple[str, ...]]:
    """Return Keras' numbered names in order, except for the layers in `named`."""
    names: dict[str, str | tuple[str, ...]] = {}
    counts = {"conv2d": 0, "batch_normalization": 0}
    for layer in layers:
        if layer in named:
            names[layer] = named[layer]
            continue
        kind = "batch_normalization" if layer.endswith("_bn") else "conv2d"
        names[layer] = f"{kind}_{counts[kind]}"
        counts[kind] += 1
    return names
