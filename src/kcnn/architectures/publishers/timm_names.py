"""Names of layers in timm's files of networks of inverted residuals."""

from collections.abc import Mapping, Sequence
from typing import Any

from kcnn.architectures.architecture import WeightMapping
from kcnn.architectures.publishers.layer_names import rename_parts
from kcnn.graph.argument_kinds import check_arguments

TIMM_UNITS = {  # the convolutions of a unit, and what timm calls them
    ("project",): ("conv",),
    ("expand", "project"): ("conv_exp", "conv_pwl"),
    ("depthwise", "project"): ("conv_dw", "conv_pw"),
    ("depthwise", "pointwise"): ("conv_dw", "conv_pw"),
    ("expand", "depthwise", "project"): ("conv_pw", "conv_dw", "conv_pwl"),
}


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
