"""The SVG of a figure with positions: texts, colors, lines with round corners."""

from collections.abc import Iterator, Sequence
from math import ceil, log2, sqrt
from xml.sax.saxutils import escape, quoteattr

from kcnn.graph.formatting import format_count
from kcnn.graph.graph import Graph
from kcnn.graph.summaries import summarize
from kcnn.plots.network import labels
from kcnn.plots.network.boxes import Box, BoxGraph
from kcnn.plots.network.layout import Figure, Line, Point, Rect

LEVELS = 6  # of color, by the square root of a box's fraction of the maximum
MARGIN = 28  # around the figure
TITLE_HEIGHT = 78  # for the name and the costs
LEGEND_HEIGHT = 70  # for the color scale
ROUND = 6  # radius of a line's corner
TIP = 5  # length of an arrow's tip
LETTER = 6.6  # pixels of a letter of a label
SMALL_LETTER = 5.4  # pixels of a letter of a layer's name under its label
COST_LABELS = {"macs": "multiply-accumulates of a box", "params": "parameters of a box"}
# Light, then dark: page, text, faint text, frame and its border, box without costs and its border, line, shortcut.
PALETTE = (
    ("#ffffff", "#1b2430", "#5d6979", "#f6f8fa", "#d9dfe6", "#eceff3", "#b8c1cc", "#7b8794", "#c8590a"),
    ("#12161c", "#e8edf3", "#98a4b3", "#191f27", "#2c3541", "#262e39", "#465262", "#7f8c9b", "#f0a35c"),
)
# From low to high costs, light, then dark; text on the last two has a contrasting color.
SCALES = {
    "macs": (
        ("#e3eefb", "#c4dcf5", "#9cc5ee", "#6fa9e3", "#2f74bd", "#17508f"),
        ("#1d3450", "#23466e", "#2a5a8e", "#2f67a5", "#79b0ea", "#b5d6fa"),
    ),
    "params": (
        ("#e1f3ee", "#bfe5da", "#93d2c0", "#5fbaa3", "#1f7f6b", "#0d5a4b"),
        ("#163a35", "#1b4d45", "#206257", "#257164", "#66c2ad", "#a9e4d5"),
    ),
}


def measure_box(box: Box, layers: bool) -> tuple[float, float]:
    """Return width and height of a box: 16 pixels wider for twice the channels, and never narrower than its text."""
    if box.circle:
        return 20, 20
    width = 56 + 16 * max(0.0, min(log2(max(1, box.channels)) - 3, 9))
    name_width = len(box.lead.name) * SMALL_LETTER if layers else 0
    return round(max(width, len(box.label) * LETTER + 16, name_width + 14)), 36 if layers else 16 if box.bar else 24


def render_svg(network: Graph, graph: BoxGraph, figure: Figure, color: str, layers: bool) -> str:
    """Return the SVG; the same network gives the same text.

    Args:
        network: The graph.
        graph: Its boxes.
        figure: Their positions.
        color: "macs" or "params".
        layers: Whether each box is one layer.

    Returns:
        The SVG as text.
    """
    summary = summarize(*network.outputs.values(), title=network.name)
    costs = {number: getattr(graph.boxes[number], color) for number in figure.boxes}
    maximum = max(costs.values(), default=0)
    facts = (
        f"{summary.params:,} parameters",
        f"{format_count(summary.macs)} MACs",
        f"{len(summary) - 1} layers",
        f"input {labels.format_size(network.input.shape)}",
    )
    width, height = max(figure.width, 440) + 2 * MARGIN, figure.height + TITLE_HEIGHT + LEGEND_HEIGHT + 2 * MARGIN
    left = MARGIN + max(0.0, (width - 2 * MARGIN - figure.width) / 2)
    title = f"{network.name}, drawn {'layer by layer' if layers else 'block by block'}"
    description = (
        f"{', '.join(facts)}. Lines go from top to bottom and on from column to column. Boxes are as wide as they "
        f"have channels, and darker, or in dark figures lighter, for more {COST_LABELS[color]}."
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="kcnn-figure" role="img" '
        f'width="{format_px(width)}" height="{format_px(height)}" '
        f'viewBox="0 0 {format_px(width)} {format_px(height)}">',
        f"<title>{escape(title)}</title>",
        f"<desc>{escape(description)}</desc>",
        f"<style>{build_stylesheet(color)}</style>",
        f'<rect class="page" width="{format_px(width)}" height="{format_px(height)}"/>',
        f'<text class="name" x="{MARGIN}" y="{MARGIN + 18}">{escape(network.name)}</text>',
        f'<text class="facts" x="{MARGIN}" y="{MARGIN + 38}">{escape("  ·  ".join(facts))}</text>',
        f'<g transform="translate({format_px(left)} {MARGIN + TITLE_HEIGHT})">',
        *(draw_frame(name, rect) for name, rect in figure.frames),
        *draw_edges(figure.lines, graph),
        *(
            f'<text class="map {"right" if direction > 0 else "left"}" x="{format_px(x)}" y="{format_px(y + 4)}">'
            f"{note}</text>"
            for x, y, direction, note in figure.notes
        ),
    ]
    for number in sorted(figure.boxes):
        classes = f"c{cost_level(costs[number], maximum)}"
        lines.append(draw_box(graph.boxes[number], figure.boxes[number], classes, layers))
    lines += ["</g>", *draw_legend(color, maximum, height - MARGIN - 30), "</svg>"]
    return "\n".join(lines) + "\n"


def cost_level(cost: int, maximum: int) -> int:
    """Return the index of the color of a cost, by the square root of its fraction of the maximum; 0 for no cost."""
    return ceil(LEVELS * sqrt(cost / maximum)) if cost else 0


def draw_frame(name: str, rect: Rect) -> str:
    """Return the frame of a block with its name."""
    return (
        f'<g class="block" data-block={quoteattr(name)}><rect class="frame" {_format_rect(rect)} rx="8"/>'
        f'<text class="block-name" x="{format_px(rect.x + 9)}" y="{format_px(rect.y + 14)}">{escape(name)}</text></g>'
    )


def draw_box(box: Box, rect: Rect, classes: str, layers: bool, attributes: str = "") -> str:
    """Return a box with its label and hover text; `attributes` are further attributes of the element."""
    kind = "circle" if box.circle else "bar" if box.bar else "box"
    names = " ".join(row.name for row in box.rows)
    x, middle = rect.x + rect.width / 2, rect.y + rect.height / 2
    radius = 10 if box.circle else 4 if box.bar else 5
    if layers and not box.circle:
        text = (
            f'<text class="label" x="{format_px(x)}" y="{format_px(middle - 3)}">{escape(box.label)}</text>'
            f'<text class="layer" x="{format_px(x)}" y="{format_px(middle + 11)}">{escape(box.lead.name)}</text>'
        )
    else:
        text_class, offset = ("sign", 5) if box.circle else ("label", 4)
        text = (
            f'<text class="{text_class}" x="{format_px(x)}" y="{format_px(middle + offset)}">{escape(box.label)}</text>'
        )
    return (
        f'<g class="{kind} {classes}" data-layers={quoteattr(names)}{attributes}>'
        f"<title>{escape(describe_box(box))}</title>"
        f'<rect {_format_rect(rect)} rx="{radius}"/>{text}</g>'
    )


def describe_box(box: Box) -> str:
    """Return the hover text of a box: its layers, or the totals of a collapsed block."""
    if not box.block:
        return "\n".join(
            labels.describe_layer(row, before) for before, row in zip((None, *box.rows), box.rows, strict=False)
        )
    last = box.rows[-1]
    return (
        f"{box.block}: {len(box.rows)} layers\n"
        f"output {labels.format_size(last.shape)}, {box.params:,} parameters, {box.macs:,} MACs\n"
        f"receptive field {labels.format_size(last.receptive_field)}, stride {labels.format_size(last.stride)}"
    )


def draw_edges(lines: Sequence[Line], graph: BoxGraph) -> Iterator[str]:
    """Yield a path for all lines from a box, so that what they share is drawn once, one for its shortcuts, and tips."""
    shared = {line.source for line in lines if not line.bypass}
    paths: dict[tuple[int, str], list[tuple[str, str]]] = {}
    tips: dict[tuple[Point, int], str] = {}  # by point and direction; a shortcut's color takes precedence
    for line in lines:
        points = _simplify(line.points)
        shortcut = line.bypass and graph.boxes[line.target].sums
        kind = "shortcut" if shortcut else "plain"
        (x, _), previous_x = points[-1], points[-2][0]
        end = points[-1], (x > previous_x) - (x < previous_x)
        tips[end] = "shortcut" if shortcut else tips.get(end, kind)
        if shortcut and line.source in shared and len(points) > 4:  # the other lines are drawn up to its fork
            points = [(points[-4][0], points[-4][1] - ROUND), *points[-4:]]
        paths.setdefault((line.source, kind), []).append((graph.boxes[line.target].lead.name, _round_corners(points)))
    for (source, kind), branches in paths.items():
        ends = f"data-from={quoteattr(graph.boxes[source].rows[-1].name)}"
        ends += f" data-to={quoteattr(' '.join(target for target, _ in branches))}"
        yield f'<path class="line {kind}" {ends} d="{"".join(path for _, path in branches)}"/>'
    for kind in dict.fromkeys(tips.values()):
        path = ""
        for (x, y), direction in (end for end, other in tips.items() if other == kind):
            back = f"l{-direction * TIP} -3.5v7z" if direction else f"l-3.5 -{TIP}h7z"
            path += f"M{format_px(x)} {format_px(y)}{back}"
        yield f'<path class="tip {kind}" d="{path}"/>'


def _simplify(points: Sequence[Point]) -> list[Point]:
    """Return points without duplicates and without those between two others on a straight line."""
    kept: list[Point] = []
    for point in points:
        if kept and kept[-1] == point:
            continue
        if len(kept) > 1 and any(kept[-2][axis] == kept[-1][axis] == point[axis] for axis in (0, 1)):
            kept.pop()
        kept.append(point)
    return kept


def _round_corners(points: Sequence[Point]) -> str:
    """Return a path along horizontal and vertical lines with round corners."""
    at, path = points[0], f"M{_format_point(points[0])}"
    for index in range(1, len(points) - 1):
        corner = points[index]
        start = _move_toward(corner, points[index - 1], is_end=index == 1)
        end = _move_toward(corner, points[index + 1], is_end=index == len(points) - 2)
        path += f"{_draw_straight(at, start)}Q{_format_point(corner)} {_format_point(end)}"
        at = end
    return path + _draw_straight(at, points[-1])


def _draw_straight(start: Point, end: Point) -> str:
    """Return the shortest command for a straight line; none where it has no length."""
    (x, y), (before_x, before_y) = map(format_px, end), map(format_px, start)
    if (x, y) == (before_x, before_y):
        return ""
    return f"V{y}" if x == before_x else f"H{x}" if y == before_y else f"L{x} {y}"


def _move_toward(corner: Point, other: Point, is_end: bool) -> Point:
    """Return where the rounding of a corner ends towards another point: at most halfway, if that is a corner too."""
    length = abs(other[0] - corner[0]) + abs(other[1] - corner[1])
    fraction = min(ROUND, length if is_end else length / 2) / length
    return corner[0] + (other[0] - corner[0]) * fraction, corner[1] + (other[1] - corner[1]) * fraction


def draw_legend(color: str, maximum: int, y: float) -> Iterator[str]:
    """Yield the color scale: swatches with the maximum of each."""
    yield f'<g class="scale" transform="translate({MARGIN} {format_px(y)})">'
    yield f'<text class="facts" x="0" y="0">{COST_LABELS[color]}, at most</text>'
    for level in range(LEVELS + 1):
        x = level * 46
        text = format_count(maximum * level**2 / LEVELS**2)
        yield f'<g class="box c{level} p{level}"><rect x="{x}" y="8" width="42" height="10" rx="3"/></g>'
        yield f'<text class="tick" x="{x + 21}" y="30">{text}</text>'
    yield "</g>"


def build_stylesheet(color: str) -> str:
    """Return the stylesheet. Each rule begins with the figure's class, so that it does not affect a page around it."""
    names = ("page", "ink", "faint", "frame", "edge", "none", "rim", "line", "short")
    light, dark = (
        ";".join(
            [
                *(f"--{name}:{value}" for name, value in zip(names, palette, strict=True)),
                *(f"--c{level}:{value}" for level, value in enumerate(scale, 1)),
                f"--on:{on}",
            ]
        )
        for palette, scale, on in zip(PALETTE, SCALES[color], ("#ffffff", "#0b1420"), strict=True)
    )
    rules = {
        "text": "fill:var(--ink);font:500 11.5px system-ui,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif",
        ".page": "fill:var(--page)",
        ".name": "font-size:20px;font-weight:650",
        ".facts": "fill:var(--faint);font-size:12.5px;font-weight:400",
        ".tick": "fill:var(--faint);font-size:9.5px;font-weight:400;text-anchor:middle",
        ".frame": "fill:var(--frame);stroke:var(--edge)",
        ".block-name": "fill:var(--faint);font-size:10px;font-weight:400",
        ".label": "text-anchor:middle",
        ".layer": "text-anchor:middle;font-size:9.5px;font-weight:400;opacity:.8",
        ".map": "fill:var(--faint);font-size:10px;font-weight:400",
        ".map.left": "text-anchor:end",
        ".sign": "text-anchor:middle;font-size:15px",
        ".line": "fill:none;stroke:var(--line);stroke-width:1.3",
        ".line.shortcut": "stroke:var(--short);stroke-width:1.6",
        ".tip": "fill:var(--line)",
        ".tip.shortcut": "fill:var(--short)",
        ":is(.box,.bar,.circle)>rect": "fill:var(--none);stroke:var(--rim)",
        ":is(.box,.bar,.circle):hover>rect": "stroke:var(--ink);stroke-width:1.6",
        **{f".c{level}>rect": f"fill:var(--c{level});stroke:none" for level in range(1, LEVELS + 1)},
        ":is(.c5,.c6)>text": "fill:var(--on)",
    }
    return "\n".join(
        [
            f".kcnn-figure{{{light}}}",
            f"@media (prefers-color-scheme:dark){{.kcnn-figure{{{dark}}}}}",
            *(f".kcnn-figure {selector}{{{rule}}}" for selector, rule in rules.items()),
        ]
    )


def _format_rect(rect: Rect) -> str:
    x, y, width, height = map(format_px, (rect.x, rect.y, rect.width, rect.height))
    return f'x="{x}" y="{y}" width="{width}" height="{height}"'


def _format_point(point: Point) -> str:
    return f"{format_px(point[0])} {format_px(point[1])}"


def format_px(number: float) -> str:
    """Return a number with at most two decimals, so that rounding errors do not change the file."""
    return f"{number:.2f}".rstrip("0").rstrip(".")
