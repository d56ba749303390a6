"""Pretrained weights of torchvision and keras.applications: URLs, and how their layers are named.

URLs, checksums and accuracies are theirs. torchvision's file names end in the first eight digits of
the file's SHA-256; Keras states an MD5 or a SHA-256, or nothing for MobileNet v1 and v2.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kcnn.architectures.architecture import WeightMapping, Weights
from kcnn.graph.argument_kinds import check_arguments

PYTORCH = "https://download.pytorch.org/models/"
GOOGLE = "https://storage.googleapis.com/"
KERAS = f"{GOOGLE}tensorflow/keras-applications/"
TIMM_UNITS = {  # the convolutions of a unit, and what timm calls them
    ("project",): ("conv",),
    ("expand", "project"): ("conv_exp", "conv_pwl"),
    ("depthwise", "project"): ("conv_dw", "conv_pw"),
    ("depthwise", "pointwise"): ("conv_dw", "conv_pw"),
    ("expand", "depthwise", "project"): ("conv_pw", "conv_dw", "conv_pwl"),
}


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


@check_arguments
def make_mapping(
    rename: Callable[[str], str | tuple[str, ...]],
    bgr: bool = False,
    normalization: bool = False,
    models: Mapping[str, Mapping[str, Any]] | None = None,
    reshaped: tuple[str, ...] = (),
) -> WeightMapping:
    """Return the mapping of files in which the name of a layer follows from kcnn's name.

    Args:
        rename: Function from kcnn's name of a layer to that in the file, or to its possible names.
        bgr: Whether the first kernel expects blue, green, red.
        normalization: Whether the file has Keras' layer that normalizes pixels.
        models: Names that the publisher gives to this very network, with the options that each takes here.
        reshaped: As of WeightMapping.

    Returns:
        The mapping.
    """
    return WeightMapping(
        names=lambda layers: {layer: rename(layer) for layer in layers},
        bgr=bgr,
        normalization=normalization,
        models=models or {},
        reshaped=reshaped,
    )


@check_arguments
def rename_normalized(rename: Callable[[str], str]) -> Callable[[str], str]:
    """Return a function to PyTorch's names X.conv and X.bn of a convolution and its normalization.

    Args:
        rename: Function from kcnn's name of the convolution to X.

    Returns:
        Function from kcnn's name of either layer.
    """

    def named(layer: str) -> str:
        bare = layer.removesuffix("_bn")
        return rename(bare) + (".conv" if bare == layer else ".bn")

    return named


@check_arguments
def rename_parts(pattern: str, layer: str) -> tuple[str, ...]:
    """Return the groups of a pattern in the name of a layer.

    Args:
        pattern: Regular expression of the complete name.
        layer: The name.

    Returns:
        The groups; "" for one that takes no part.

    Raises:
        ValueError: The name does not match.
    """
    match = re.fullmatch(pattern, layer)
    if not match:
        raise ValueError(f"layer {layer!r} has no name in the weight files of other libraries")
    return match.groups(default="")


@check_arguments
def rename_branches(branches: Sequence[str], layer: str) -> str:
    """Return the name of a layer by branch and position, counted from 0: "double_2" is branch2.1 if double is third.

    Args:
        branches: Names of the branches, in the file's order.
        layer: kcnn's name, BRANCH or BRANCH_POSITION.

    Returns:
        The name in the file.
    """
    branch, _, position = layer.partition("_")
    name = f"branch{branches.index(branch)}"
    if position == "proj":  # after the pool, which is at 0
        return f"{name}.1"
    return f"{name}.{int(position) - 1}" if position else name


@check_arguments
def number_layers(
    layers: Sequence[str], named: Mapping[str, str | tuple[str, ...]]
) -> dict[str, str | tuple[str, ...]]:
    """Return Keras' numbered names in order, except for the layers in `named`.

    Args:
        layers: Layers with weights, in topological order.
        named: Names of the layers that Keras names otherwise.

    Returns:
        Keras' name, or possible names, of each layer.
    """
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


@check_arguments
def add_group_names(named: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return KerasHub's names of layers, each with that of its group in files that name no layers.

    Such a file, written before Keras 3.10, has groups by kind and number: conv2d, conv2d_1. They start with a "#" here,
    and those of the classifier with "#task/", as layers may have such names, too.

    Args:
        named: KerasHub's name of each layer, in KerasHub's order: by the number of layers up to the output.

    Returns:
        Both names of each layer.
    """
    counts: dict[str, dict[str, int]] = {}
    names: dict[str, tuple[str, ...]] = {}
    for layer, name in named.items():
        own, *part = re.split("(?=_depthwise$|_pointwise$)", name)  # of a separable convolution, which is one layer
        kind = "separable_conv2d" if part else _find_keras_kind(name)
        number = counts.setdefault(kind, {}).setdefault(own, len(counts[kind]))
        names[layer] = (name, f"#{kind}{f'_{number}' if number else ''}{''.join(part)}")
    return names


@check_arguments
def rename_keras_hub_units(
    layers: Sequence[str], split: Callable[[str], tuple[int, int, str, bool]]
) -> dict[str, tuple[str, ...]]:
    """Return KerasHub's names of the layers of a ResNet: stage1_unit2_a is stack0_block1_1_conv.

    The shortcut has number 0, and precedes the last convolution.

    Args:
        layers: Layers with weights, in topological order.
        split: Function from the name of a layer of a unit to its stage, unit, position ("pre", "a", "b", "c" or "skip")
            and whether it is a normalization.

    Returns:
        The names of each, as from `add_group_names`.
    """
    fixed = {f"stem{n}{norm}": f"conv{n or 1}_{norm[1:] or 'conv'}" for n in ("", 1, 2, 3) for norm in ("", "_bn")}
    ends = {"last_bn": "post_bn", "logits": "predictions"}
    parts = {layer: split(layer) for layer in layers if layer not in {**fixed, **ends}}
    last = {(stage, unit): position for stage, unit, position, _ in sorted(parts.values()) if position in ("b", "c")}

    def place(layer: str) -> tuple[int, int, str]:
        stage, unit, position, _ = parts[layer]
        return stage, unit, {"pre": "", "skip": last[stage, unit]}.get(position, f"{position}+")

    def rename(layer: str) -> str:
        stage, unit, position, norm = parts[layer]
        index = "pre_activation" if position == "pre" else ("skip", "a", "b", "c").index(position)
        return f"stack{stage - 1}_block{unit - 1}_{index}_{'bn' if norm else 'conv'}"

    units = {layer: rename(layer) for layer in sorted(parts, key=place)}
    stem, end = ({layer: names[layer] for layer in layers if layer in names} for names in (fixed, ends))
    return add_group_names({**stem, **units, **end})


def _find_keras_kind(name: str) -> str:
    """The kind of a layer of KerasHub as its files have it."""
    kinds = {r".*bn": "batch_normalization", r".*dwconv": "depthwise_conv2d", r"predictions": "task/dense"}
    return next((kind for pattern, kind in kinds.items() if re.fullmatch(pattern, name)), "conv2d")


@check_arguments
def rename_timm_units(layers: Sequence[str]) -> dict[str, str]:
    """Return timm's names of layers of inverted residuals: stage2_unit1_expand_bn is blocks.1.0.bn1.

    Args:
        layers: Layers with weights, in topological order: those of units, "stem", "last", "fc" and "logits".

    Returns:
        The name of each.
    """
    ends = {"stem": "conv_stem", "stem_bn": "bn1", "last": "conv_head", "last_bn": "bn2", "fc": "conv_head"}
    ends |= {"logits": "classifier"}
    parts = {layer: rename_parts(r"stage(\d+)_unit(\d+)_(\w+?)(_bn)?", layer) for layer in layers if layer not in ends}
    units: dict[tuple[str, str], list[str]] = {}
    for stage, unit, part, norm in parts.values():
        if not norm and not part.startswith("squeeze"):
            units.setdefault((stage, unit), []).append(part)
    names = {layer: ends[layer] for layer in layers if layer in ends}
    for layer, (stage, unit, part, norm) in parts.items():
        convolutions = units[stage, unit]
        if part.startswith("squeeze"):
            within = part.replace("squeeze", "se.conv")
        elif norm:
            within = f"bn{convolutions.index(part) + 1}"
        else:
            within = TIMM_UNITS[tuple(convolutions)][convolutions.index(part)]
        names[layer] = f"blocks.{int(stage) - 1}.{int(unit) - 1}.{within}"
    return names


@check_arguments
def rename_numbered_units(
    layers: Sequence[str], units: Sequence[int], named: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return timm's names, as `rename_timm_units`, where units are numbered through: unit4 is stage3_unit1.

    Args:
        layers: Layers with weights, in topological order.
        units: Number of units of each stage.
        named: Names as in `rename_timm_units` of other layers than units.

    Returns:
        The name of each.
    """
    places = [(stage, unit) for stage, count in enumerate(units, 1) for unit in range(1, count + 1)]
    staged = {}
    for layer in layers:
        unit, _, part = layer.removeprefix("unit").partition("_")
        bare = layer.removesuffix("_bn")
        staged[layer] = (named or {}).get(bare, bare) + layer[len(bare) :]
        if unit.isdecimal():
            staged[layer] = "stage{}_unit{}_{}".format(*places[int(unit) - 1], part)
    names = rename_timm_units(list(staged.values()))
    return {layer: names[name] for layer, name in staged.items()}


@check_arguments
def map_timm_units(
    *models: str, with_options: Mapping[str, Mapping[str, Any]] | None = None, reshaped: tuple[str, ...] = ()
) -> dict[str, WeightMapping]:
    """Return the mapping of timm's files whose layers have the names of `rename_timm_units`.

    Args:
        *models: timm's names of the network.
        with_options: Its names of the network with options, and these options.
        reshaped: As of WeightMapping.

    Returns:
        The mapping, by its publisher.
    """
    named = {**{name: {} for name in models}, **(with_options or {})}
    return {"timm": WeightMapping(names=rename_timm_units, models=named, reshaped=reshaped)}
