"""A network for a page, in parts from top to bottom: blocks that expand into their layers, in two color schemes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from kcnn.graph.graph import Graph
from kcnn.plots.network import COLOR_BY, render
from kcnn.plots.network.boxes import Box, BoxGraph, build_boxes
from kcnn.plots.network.layout import STEP, Figure, place_item
from kcnn.plots.network.regions import Block, Item, collapse_blocks, find_regions, group_blocks, list_boxes

ASIDE = 76  # pixels right of a closed block, for how many layers are in it; or of a line, for the size of maps


@dataclass(frozen=True, slots=True)
class Part:
    """Hold a part of the network as SVG: a collapsed block and its expanded form, or one that is always expanded."""

    shown: str
    opened: str = ""


@dataclass(frozen=True, slots=True)
class Folding:
    """Hold the parts from the image on, the stylesheet of their colors, and the color scales."""

    parts: tuple[Part, ...]
    style: str
    scales: Mapping[str, str]


def fold_blocks(graph: Graph) -> Folding:
    """Return a network in parts to be placed below each other, their axes in the middle; a line leads into each.

    Args:
        graph: The network.

    Returns:
        The parts, their stylesheet and the color scales.
    """
    made = build_boxes(graph)
    whole = group_blocks(find_regions(made), made)
    shut, made = collapse_blocks(whole, made, lambda name: False)
    sizes = [render.measure_box(box, False) for box in made.boxes]
    most = {color: max(getattr(box, color) for box in made.boxes) for color in COLOR_BY}
    parts: list[Part] = []
    before, maps = None, made.boxes[0].lead.shape[:2]
    for item, folded in zip(whole, shut, strict=True):
        note = ""
        if before is not None and (shape := made.boxes[before].rows[-1].shape)[:2] != maps and len(shape) == 3:
            maps, note = shape[:2], f"{shape[0]}×{shape[1]}"
        opened = _svg(item, made, sizes, before, most, note)
        parts.append(Part(_svg(folded, made, sizes, before, most, note), opened) if item != folded else Part(opened))
        before = max(list_boxes(item))
    scales = {color: _scale(color, most[color]) for color in COLOR_BY}
    return Folding(tuple(parts), _style(), scales)


def _svg(
    item: Item,
    made: BoxGraph,
    sizes: Sequence[tuple[float, float]],
    before: int | None,
    most: Mapping[str, int],
    note: str,
) -> str:
    figure, foot = place_item(item, made, sizes, before)
    shut = made.boxes[item] if isinstance(item, int) and made.boxes[item].block else None
    width = max(figure.width + 2 * ASIDE * (shut is not None), 2 * ASIDE)
    left, middle = (width - figure.width) / 2, figure.width / 2
    name = item.name if isinstance(item, Block) else ""
    inside = ", ".join(made.boxes[number].label for number in sorted(list_boxes(item)) if made.boxes[number].block)
    said = render.describe_box(shut) if shut else f"{name}, expanded" if name else inside or "layers"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="kcnn-figure" role="{"img" if shut else "group"}" '
        f'aria-label={quoteattr(said)} width="{render.format_px(width)}" height="{render.format_px(figure.height)}" '
        f'viewBox="{render.format_px(-left)} 0 {render.format_px(width)} {render.format_px(figure.height)}">',
        *(render.draw_frame(one, rect) for one, rect in figure.frames),
        *render.draw_edges(figure.lines, made),
    ]
    if name:  # out of the frame
        lines.append(
            f'<path class="line" d="M{render.format_px(middle)} {render.format_px(foot)}'
            f'V{render.format_px(figure.height)}"/>'
        )
    if note:
        lines.append(f'<text class="map" x="{render.format_px(middle + 7)}" y="{STEP / 2 + 3:g}">{note}</text>')
    lines += (_box(made.boxes[number], number, figure, most, shut is None) for number in sorted(figure.boxes))
    if shut:
        rect = figure.boxes[item]  # type: ignore[index]
        x, y = render.format_px(rect.x + rect.width + 8), render.format_px(rect.y + rect.height / 2 + 4)
        lines.append(f'<text class="map" x="{x}" y="{y}">{escape(f"+ {len(shut.rows)} layers")}</text>')
    return "\n".join([*lines, "</svg>"])


def _box(box: Box, number: int, figure: Figure, most: Mapping[str, int], focus: bool) -> str:
    """A box with a class for each color scheme; outside a collapsed block it takes the keyboard's focus."""
    classes = f"c{render.cost_level(box.macs, most['macs'])} p{render.cost_level(box.params, most['params'])}"
    return render.draw_box(box, figure.boxes[number], classes, False, ' role="img" tabindex="0"' if focus else "")


def _scale(color: str, most: int) -> str:
    swatches = "".join(render.draw_legend(color, most, 14))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="kcnn-figure scale-{color}" role="img" width="340" '
        f'aria-label="{render.COUNTED[color]}, at most" height="52" '
        f'viewBox="{render.MARGIN} 0 340 52">{swatches}</svg>'
    )


def _style() -> str:
    """The figure's stylesheet, and the other color scheme where the form selects it."""
    on = ".kcnn-folding:has(input[value=params]:checked) .kcnn-figure"
    light, dark = (
        ";".join(f"--c{level}:{value}" for level, value in enumerate(scale, 1)) for scale in render.SCALES["params"]
    )
    rules = [
        render.build_stylesheet("macs"),
        f"{on}{{{light}}}",
        f"@media (prefers-color-scheme:dark){{{on}{{{dark}}}}}",
        f"{on} .p0>rect{{fill:var(--none);stroke:var(--rim)}}",
        *(f"{on} .p{level}>rect{{fill:var(--c{level});stroke:none}}" for level in range(1, render.LEVELS + 1)),
        f"{on} [class*=p]>text{{fill:var(--ink)}}",
        f"{on} :is(.p5,.p6)>text{{fill:var(--on)}}",
    ]
    return "\n".join(rules)
