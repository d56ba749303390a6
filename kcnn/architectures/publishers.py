"""What the two libraries publish whose weights kcnn loads: where it lies, and how its layers are named.

URLs, hashes and accuracies are theirs. torchvision's file names end in the first eight digits of
the file's SHA-256; Keras states an MD5, or nothing for MobileNet v1 and v2.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kcnn.architectures.architecture import WeightMapping, Weights

PYTORCH = "https://download.pytorch.org/models/"
KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/"


def torchvision_weights(file: str, accuracy: float | None, **fields: Any) -> Weights:
    """A state dict of torchvision's; `accuracy` is its own figure (torchvision.models, "acc@1")."""
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
    """torchvision's two generations, (file, accuracy): the second, resized to 232, is what "imagenet" means."""
    return (
        torchvision_weights(*second, resize=232, **fields),
        torchvision_weights(*second, resize=232, **fields, name="imagenet_v2"),
        torchvision_weights(*first, **fields, name="imagenet_v1"),
    )


def keras_weights(
    file: str, whole: str | None, headless: tuple[str, str | None], accuracy: float | None, license: str, **fields: Any
) -> tuple[Weights, ...]:
    """The two files of keras.applications, with the classifier and without: (file name, MD5) of the latter.

    `file` has its folder. The accuracy is the one in the table of keras.io/api/applications
    unless a `citation` says else.
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
    """keras(...) for the files that are named NETWORK_weights_tf_dim_ordering_tf_kernels."""
    folder = fields.pop("folder", network)
    stem = f"{network}_weights_tf_dim_ordering_tf_kernels"
    return keras_weights(f"{folder}/{stem}.h5", whole, (f"{stem}_notop.h5", headless), accuracy, license, **fields)


def make_mapping(rename: Callable[[str], str | tuple[str, ...]], bgr: bool = False) -> WeightMapping:
    """The layout of files whose name for a layer, or names they may have for it, follows from kcnn's."""
    return WeightMapping(names=lambda layers: {layer: rename(layer) for layer in layers}, bgr=bgr)


def rename_normalized(rename: Callable[[str], str]) -> Callable[[str], str]:
    """PyTorch's names X.conv and X.bn of a convolution and its normalisation, from a function that gives X."""

    def named(layer: str) -> str:
        bare = layer.removesuffix("_bn")
        return rename(bare) + (".conv" if bare == layer else ".bn")

    return named


def rename_parts(pattern: str, layer: str) -> tuple[str, ...]:
    """What the groups of a pattern find in a layer's name; ValueError for another name."""
    found = re.fullmatch(pattern, layer)
    if not found:
        raise ValueError(f"other libraries have no name for a layer {layer!r}")
    return found.groups(default="")


def rename_branches(ways: Sequence[str], layer: str) -> str:
    """A way of a block and a place in it, both counted from 0: "double_2" is branch2.1 where double is the third."""
    way, _, place = layer.partition("_")
    where = f"branch{ways.index(way)}"
    if place == "proj":  # behind the pool, which is place 0
        return f"{where}.1"
    return f"{where}.{int(place) - 1}" if place else where


def number_layers(
    layers: Sequence[str], named: Mapping[str, str | tuple[str, ...]]
) -> dict[str, str | tuple[str, ...]]:
    """Keras' numbered names in order, but for the layers whose names are given."""
    found: dict[str, str | tuple[str, ...]] = {}
    counts = {"conv2d": 0, "batch_normalization": 0}
    for layer in layers:
        if layer in named:
            found[layer] = named[layer]
            continue
        kind = "batch_normalization" if layer.endswith("_bn") else "conv2d"
        found[layer] = f"{kind}_{counts[kind]}"
        counts[kind] += 1
    return found
