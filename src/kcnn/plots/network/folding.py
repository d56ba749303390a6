"""A network for a page, in parts from top to bottom: blocks that expand into their layers, in two color schemes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from kcnn.graph.graph import Graph
from kcnn.plots.network import COLOR_BY, render
from kcnn.plots.network.boxes import Box, BoxGraph, build_boxes
from kcnn.plots.network.layout import STEP, Figure, place_item
from kcnn.plots.network.regions import Block, Item, collapse_blocks, find_regions, group_blocks, list_boxes

NOTE_WIDTH = 76  # pixels right of a collapsed block for its number of layers, or of a line for the size of maps


@dataclass(frozen=True, slots=True)
class Part:
    """Hold a part of the network as SVG: a collapsed block and its expanded form, or one that is always expanded."""

    collapsed: str
    expanded: str = ""


@dataclass(frozen=True, slots=True)
class Folding:
    """Hold the parts from the input on, the stylesheet of their colors, and the color scales."""

    parts: tuple[Part, ...]
    style: str
    scales: Mapping[str, str]


def fold_blocks(network: Graph) -> Folding:
    """Return a network in parts to be placed below each other, their axes in the middle; a line leads into each.

    Args:
        network: The network.

    Returns:
        The parts, their stylesheet and the color scales.
    """
    graph = build_boxes(network)
    series = group_blocks(find_regions(graph), graph)
    collapsed, graph = collapse_blocks(series, graph, lambda name: False)
    sizes = [render.measure_box(box, False) for box in graph.boxes]
    maxima = {color: max(getattr(box, color) for box in graph.boxes) for color in COLOR_BY}
    parts: list[Part] = []
    before, maps = None, graph.boxes[0].lead.shape[:2]
    for item, collapsed_item in zip(series, collapsed, strict=True):
        note = ""
        if before is not None and (shape := graph.boxes[before].rows[-1].shape)[:2] != maps and len(shape) == 3:
            maps, note = shape[:2], f"{shape[0]}×{shape[1]}"
        svg = _render_part(item, graph, sizes, before, maxima, note)
        if item == collapsed_item:
            parts.append(Part(svg))
        else:
            parts.append(Part(_render_part(collapsed_item, graph, sizes, before, maxima, note), svg))
        before = max(list_boxes(item))
    scales = {color: _render_scale(color, maxima[color]) for color in COLOR_BY}
    return Folding(tuple(parts), _build_stylesheet(), scales)


def _render_part(
    item: Item,
    graph: BoxGraph,
    sizes: Sequence[tuple[float, float]],
    before: int | None,
    maxima: Mapping[str, int],
    note: str,
) -> str:
    figure, bottom = place_item(item, graph, sizes, before)
    block = graph.boxes[item] if isinstance(item, int) and graph.boxes[item].block else None
    width = max(figure.width + 2 * NOTE_WIDTH * (block is not None), 2 * NOTE_WIDTH)
    left, middle = (width - figure.width) / 2, figure.width / 2
    name = item.name if isinstance(item, Block) else ""
    blocks = ", ".join(graph.boxes[number].label for number in sorted(list_boxes(item)) if graph.boxes[number].block)
    label = render.describe_box(block) if block else f"{name}, expanded" if name else blocks or "layers"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="kcnn-figure" role="{"img" if block else "group"}" '
        f'aria-label={quoteattr(label)} width="{render.format_px(width)}" height="{render.format_px(figure.height)}" '
        f'viewBox="{render.format_px(-left)} 0 {render.format_px(width)} {render.format_px(figure.height)}">',
        *(render.draw_frame(title, rect) for title, rect in figure.frames),
        *render.draw_edges(figure.lines, graph),
    ]
    if name:  # the line out of the frame
        lines.append(
            f'<path class="line" d="M{render.format_px(middle)} {render.format_px(bottom)}'
            f'V{render.format_px(figure.height)}"/>'
        )
    if note:
        lines.append(f'<text class="map" x="{render.format_px(middle + 7)}" y="{STEP / 2 + 3:g}">{note}</text>')
    lines += (_draw_box(graph.boxes[number], number, figure, maxima, block is None) for number in sorted(figure.boxes))
    if block:
        rect = figure.boxes[item]  # type: ignore[index]
        x, y = render.format_px(rect.x + rect.width + 8), render.format_px(rect.y + rect.height / 2 + 4)
        lines.append(f'<text class="map" x="{x}" y="{y}">{escape(f"+ {len(block.rows)} layers")}</text>')
    return "\n".join([*lines, "</svg>"])


def _draw_box(box: Box, number: int, figure: Figure, maxima: Mapping[str, int], has_focus: bool) -> str:
    """Draw a box with a class for each color scheme; outside a collapsed block it takes the keyboard's focus."""
    classes = f"c{render.cost_level(box.macs, maxima['macs'])} p{render.cost_level(box.params, maxima['params'])}"
    return render.draw_box(box, figure.boxes[number], classes, False, ' role="img" tabindex="0"' if has_focus else "")


def _render_scale(color: str, maximum: int) -> str:
    swatches = "".join(render.draw_legend(color, maximum, 14))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="kcnn-figure scale-{color}" role="img" width="340" '
        f'aria-label="{render.COST_LABELS[color]}, at most" height="52" '
        f'viewBox="{render.MARGIN} 0 340 52">{swatches}</svg>'
    )


def _build_stylesheet() -> str:
    """Return the figure's stylesheet, and the other color scheme where the form selects it."""
    selected = ".kcnn-folding:has(input[value=params]:checked) .kcnn-figure"
    light, dark = (
        ";".join(f"--c{level}:{value}" for level, value in enumerate(scale, 1)) for scale in render.SCALES["params"]
    )
    rules = [
        render.build_stylesheet("macs"),
        f"{selected}{{{light}}}",
        f"@media (prefers-color-scheme:dark){{{selected}{{{dark}}}}}",
        f"{selected} .p0>rect{{fill:var(--none);stroke:var(--rim)}}",
        *(f"{selected} .p{level}>rect{{fill:var(--c{level});stroke:none}}" for level in range(1, render.LEVELS + 1)),
        f"{selected} [class*=p]>text{{fill:var(--ink)}}",
        f"{selected} :is(.p5,.p6)>text{{fill:var(--on)}}",
    ]
    return "\n".join(rules)
