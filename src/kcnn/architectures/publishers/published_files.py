"""Tables of the weights of torchvision and keras.applications.

URLs, checksums and accuracies are theirs. torchvision's file names end in the first eight digits of
the file's SHA-256; Keras states an MD5 or a SHA-256, or nothing for MobileNet v1 and v2.
"""

from collections.abc import Mapping
from typing import Any

from kcnn.architectures.architecture import Weights
from kcnn.graph.argument_kinds import check_arguments

PYTORCH = "https://download.pytorch.org/models/"
GOOGLE = "https://storage.googleapis.com/"
KERAS = f"{GOOGLE}tensorflow/keras-applications/"


@check_arguments
def torchvision_weights(
    file: str,
    accuracy: float | None,
    *,
    name: str = "imagenet",
    options: Mapping[str, Any] | None = None,
    top: bool = True,
    resize: int = 256,
    crop: int = 224,
    interpolation: str = "bilinear",
) -> Weights:
    """Return the Weights of a state dict of torchvision.

    Args:
        file: File name.
        accuracy: Published top-1 accuracy (torchvision.models, "acc@1").
        name: What `weights=` takes.
        options: Options of the network that the weights belong to.
        top: Whether the file has the classifier.
        resize: Pixels of the shorter side of an image after resizing.
        crop: Pixels a side of the center crop.
        interpolation: Of the resizing.

    Returns:
        The weights.
    """
    digits = file.removesuffix(".pth").rpartition("-")[2]
    return Weights(
        name=name,
        url=PYTORCH + file,
        checksum=f"sha256:{digits}",
        source="torchvision",
        mapping="torchvision",
        options=options or {},
        top=top,
        resize=resize,
        crop=crop,
        interpolation=interpolation,
        accuracy=accuracy,
        citation="torchvision.models",
        license="BSD-3-Clause, torchvision's",
    )


@check_arguments
def both_torchvision_weights(
    first: tuple[str, float], second: tuple[str, float], *, options: Mapping[str, Any] | None = None
) -> tuple[Weights, ...]:
    """Return the Weights of both generations of torchvision; "imagenet" is the second, with images resized to 232.

    Args:
        first: File and accuracy of the first generation.
        second: Of the second.
        options: Options of the network that the weights belong to.

    Returns:
        Weights named "imagenet", "imagenet_v2" and "imagenet_v1".
    """
    return (
        torchvision_weights(*second, options=options, resize=232),
        torchvision_weights(*second, options=options, resize=232, name="imagenet_v2"),
        torchvision_weights(*first, options=options, name="imagenet_v1"),
    )


@check_arguments
def keras_weights(
    file: str,
    checksum: str | None,
    headless: tuple[str, str | None],
    accuracy: float | None,
    license: str,
    *,
    name: str = "imagenet",
    options: Mapping[str, Any] | None = None,
    citation: str = "keras.io/api/applications",
    resize: int = 256,
    crop: int = 224,
    interpolation: str = "bilinear",
    base: str = KERAS,
) -> tuple[Weights, ...]:
    """Return the Weights of the two files of keras.applications, with the classifier and without.

    Args:
        file: File with the classifier, with its folder.
        checksum: Its MD5 or SHA-256 in hex.
        headless: Name and checksum of the file without the classifier.
        accuracy: Top-1 accuracy from the table that `citation` names.
        license: Of the files.
        name: What `weights=` takes.
        options: Options of the network that the weights belong to.
        citation: Source of the accuracy.
        resize: Pixels of the shorter side of an image after resizing.
        crop: Pixels a side of the center crop.
        interpolation: Of the resizing.
        base: URL of the folder that `file` lies in.

    Returns:
        Both weights.
    """
    folder = file.rpartition("/")[0]
    return tuple(
        Weights(
            name=name,
            url=base + path,
            checksum=f"{'md5' if len(digits) == 32 else 'sha256'}:{digits}" if digits else None,
            source="keras.applications",
            mapping="keras",
            options=options or {},
            top=top,
            resize=resize,
            crop=crop,
            interpolation=interpolation,
            accuracy=accuracy,
            citation=citation,
            license=license,
        )
        for path, digits, top in ((file, checksum, True), (f"{folder}/{headless[0]}", headless[1], False))
    )


@check_arguments
def tf_slim_weights(
    network: str,
    md5: str,
    headless_md5: str,
    accuracy: float,
    license: str,
    *,
    folder: str | None = None,
    resize: int = 256,
    crop: int = 224,
) -> tuple[Weights, ...]:
    """Return `keras_weights` for the files that are named NETWORK_weights_tf_dim_ordering_tf_kernels.

    Args:
        network: The network, as the files name it.
        md5: MD5 of the file with the classifier.
        headless_md5: MD5 of the file without it.
        accuracy: Top-1 accuracy (keras.io/api/applications).
        license: Of the files.
        folder: Folder of the files; the network's name where it is None.
        resize: Pixels of the shorter side of an image after resizing.
        crop: Pixels a side of the center crop.

    Returns:
        Both weights.
    """
    stem = f"{network}_weights_tf_dim_ordering_tf_kernels"
    file, headless = f"{folder or network}/{stem}.h5", (f"{stem}_notop.h5", headless_md5)
    return keras_weights(file, md5, headless, accuracy, license, resize=resize, crop=crop)
