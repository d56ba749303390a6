"""Names of layers in files of keras.applications and KerasHub: by number, by group, by unit."""

import re
from collections.abc import Callable, Mapping, Sequence

from kcnn.graph.argument_kinds import check_arguments


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
