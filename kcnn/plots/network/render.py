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

LEVELS = 6  # of color, by the square root of a box's share of the largest
MARGIN = 28  # around the figure
TOP = 78  # for the name and what it costs
FOOT = 70  # for the scale of colors
ROUND = 6  # radius of a line's corner
TIP = 5  # length of an arrow's tip
LETTER = 6.6  # pixels of a label's letter
SMALL = 5.4  # of a layer's name under its label
COUNTED = {"macs": "multiply-accumulates of a box", "params": "parameters of a box"}
# Light, then dark: of the page, letters, fainter letters, frames, a frame's line, a box without costs, its line, lines,
# shortcuts.
PLAIN = (
    ("#ffffff", "#1b2430", "#5d6979", "#f6f8fa", "#d9dfe6", "#eceff3", "#b8c1cc", "#7b8794", "#c8590a"),
    ("#12161c", "#e8edf3", "#98a4b3", "#191f27", "#2c3541", "#262e39", "#465262", "#7f8c9b", "#f0a35c"),
)
# From few to many, light, then dark; the letters of the last two stand out against them.
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
    """Width and height of a box: 16 pixels wider for twice the channels, and never narrower than its letters."""
    if box.circle:
        return 20, 20
    wide = 56 + 16 * max(0.0, min(log2(max(1, box.channels)) - 3, 9))
    named = len(box.lead.name) * SMALL if layers else 0
    return round(max(wide, len(box.label) * LETTER + 16, named + 14)), 36 if layers else 16 if box.bar else 24


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
    measured = summarize(*network.outputs.values(), title=network.name)
    costs = {number: getattr(graph.boxes[number], color) for number in figure.boxes}
    most = max(costs.values(), default=0)
    facts = (
        f"{measured.params:,} parameters",
        f"{format_count(measured.macs)} MACs",
        f"{len(measured) - 1} layers",
        f"input {labels.format_size(network.input.shape)}",
    )
    width, height = max(figure.width, 440) + 2 * MARGIN, figure.height + TOP + FOOT + 2 * MARGIN
    left = MARGIN + max(0.0, (width - 2 * MARGIN - figure.width) / 2)
    title = f"{network.name}, drawn {'layer by layer' if layers else 'block by block'}"
    description = (
        f"{', '.join(facts)}. Lines go from top to bottom and on from column to column. Boxes are as wide as they "
        f"have channels, and darker, or in dark figures lighter, for more {COUNTED[color]}."
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
        f'<g transform="translate({format_px(left)} {MARGIN + TOP})">',
        *(draw_frame(name, rect) for name, rect in figure.frames),
        *draw_edges(figure.lines, graph),
        *(
            f'<text class="map {"right" if side > 0 else "left"}" x="{format_px(x)}" y="{format_px(y + 4)}">'
            f"{note}</text>"
            for x, y, side, note in figure.notes
        ),
    ]
    for number in sorted(figure.boxes):
        classes = f"c{cost_level(costs[number], most)}"
        lines.append(draw_box(graph.boxes[number], figure.boxes[number], classes, layers))
    lines += ["</g>", *draw_legend(color, most, height - MARGIN - 30), "</svg>"]
    return "\n".join(lines) + "\n"


def cost_level(cost: int, most: int) -> int:
    """Return the index of the color of a cost, by the square root of its share; 0 for no cost."""
    return ceil(LEVELS * sqrt(cost / most)) if cost else 0


def draw_frame(name: str, rect: Rect) -> str:
    """Return the frame of a block with its name."""
    return (
        f'<g class="block" data-block={quoteattr(name)}><rect class="frame" {_at(rect)} rx="8"/>'
        f'<text class="block-name" x="{format_px(rect.x + 9)}" y="{format_px(rect.y + 14)}">{escape(name)}</text></g>'
    )


def draw_box(box: Box, rect: Rect, classes: str, layers: bool, more: str = "") -> str:
    """Return a box with its label and hover text; `more` are further attributes of the element."""
    kind = "circle" if box.circle else "bar" if box.bar else "box"
    names = " ".join(row.name for row in box.rows)
    x, middle = rect.x + rect.width / 2, rect.y + rect.height / 2
    radius = 10 if box.circle else 4 if box.bar else 5
    if layers and not box.circle:
        written = (
            f'<text class="label" x="{format_px(x)}" y="{format_px(middle - 3)}">{escape(box.label)}</text>'
            f'<text class="layer" x="{format_px(x)}" y="{format_px(middle + 11)}">{escape(box.lead.name)}</text>'
        )
    else:
        shape, down = ("sign", 5) if box.circle else ("label", 4)
        written = f'<text class="{shape}" x="{format_px(x)}" y="{format_px(middle + down)}">{escape(box.label)}</text>'
    return (
        f'<g class="{kind} {classes}" data-layers={quoteattr(names)}{more}><title>{escape(describe_box(box))}</title>'
        f'<rect {_at(rect)} rx="{radius}"/>{written}</g>'
    )


def describe_box(box: Box) -> str:
    """Return the hover text of a box: its layers, or the totals of a collapsed block."""
    if not box.block:
        return "\n".join(labels.describe_layer(row) for row in box.rows)
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
    tips: dict[tuple[Point, int], str] = {}  # by place and direction; a shortcut's color before another
    for line in lines:
        points = _corners(line.points)
        shortcut = line.bypass and graph.boxes[line.target].sums
        kind = "shortcut" if shortcut else "plain"
        (x, _), before = points[-1], points[-2][0]
        end = points[-1], (x > before) - (x < before)
        tips[end] = "shortcut" if shortcut else tips.get(end, kind)
        if shortcut and line.source in shared and len(points) > 4:  # up to its fork the other lines show the way
            points = [(points[-4][0], points[-4][1] - ROUND), *points[-4:]]
        paths.setdefault((line.source, kind), []).append((graph.boxes[line.target].lead.name, _rounded(points)))
    for (source, kind), several in paths.items():
        ends = f"data-from={quoteattr(graph.boxes[source].rows[-1].name)}"
        ends += f" data-to={quoteattr(' '.join(target for target, _ in several))}"
        yield f'<path class="line {kind}" {ends} d="{"".join(path for _, path in several)}"/>'
    for ((x, y), direction), kind in tips.items():
        back = f"l{-direction * TIP} -3.5v7z" if direction else f"l-3.5 -{TIP}h7z"
        yield f'<path class="tip {kind}" d="M{format_px(x)} {format_px(y)}{back}"/>'


def _corners(points: Sequence[Point]) -> list[Point]:
    """Without points that are there twice, or between two others on a straight line."""
    kept: list[Point] = []
    for point in points:
        if kept and kept[-1] == point:
            continue
        if len(kept) > 1 and any(kept[-2][axis] == kept[-1][axis] == point[axis] for axis in (0, 1)):
            kept.pop()
        kept.append(point)
    return kept


def _rounded(points: Sequence[Point]) -> str:
    """A path along horizontal and vertical lines with round corners."""
    path = [f"M{_at_point(points[0])}"]
    for place in range(1, len(points) - 1):
        corner = points[place]
        into = _toward(corner, points[place - 1], whole=place == 1)
        out = _toward(corner, points[place + 1], whole=place == len(points) - 2)
        path.append(f"L{_at_point(into)}Q{_at_point(corner)} {_at_point(out)}")
    return "".join([*path, f"L{_at_point(points[-1])}"])


def _toward(corner: Point, other: Point, whole: bool) -> Point:
    """Where the rounding of a corner ends on the way to another point, half of which is another corner's or none."""
    way = abs(other[0] - corner[0]) + abs(other[1] - corner[1])
    share = min(ROUND, way if whole else way / 2) / way
    return corner[0] + (other[0] - corner[0]) * share, corner[1] + (other[1] - corner[1]) * share


def draw_legend(color: str, most: int, y: float) -> Iterator[str]:
    """Yield the color scale: swatches with the maximum of each."""
    yield f'<g class="scale" transform="translate({MARGIN} {format_px(y)})">'
    yield f'<text class="facts" x="0" y="0">{COUNTED[color]}, at most</text>'
    for level in range(LEVELS + 1):
        x = level * 46
        said = format_count(most * level**2 / LEVELS**2)
        yield f'<g class="box c{level} p{level}"><rect x="{x}" y="8" width="42" height="10" rx="3"/></g>'
        yield f'<text class="tick" x="{x + 21}" y="30">{said}</text>'
    yield "</g>"


def build_stylesheet(color: str) -> str:
    """Return the stylesheet. Each rule begins with the figure's class, so that it does not affect a page around it."""
    names = ("page", "ink", "faint", "frame", "edge", "none", "rim", "line", "short")
    light, dark = (
        ";".join(
            [
                *(f"--{name}:{value}" for name, value in zip(names, plain, strict=True)),
                *(f"--c{level}:{value}" for level, value in enumerate(scale, 1)),
                f"--on:{on}",
            ]
        )
        for plain, scale, on in zip(PLAIN, SCALES[color], ("#ffffff", "#0b1420"), strict=True)
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


def _at(rect: Rect) -> str:
    x, y, width, height = map(format_px, (rect.x, rect.y, rect.width, rect.height))
    return f'x="{x}" y="{y}" width="{width}" height="{height}"'


def _at_point(point: Point) -> str:
    return f"{format_px(point[0])} {format_px(point[1])}"


def format_px(number: float) -> str:
    """Return a number with at most two decimals, so that rounding errors do not change the file."""
    return f"{number:.2f}".rstrip("0").rstrip(".")
