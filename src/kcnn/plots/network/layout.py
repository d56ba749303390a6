"""Positions of boxes, frames and lines of a figure, in pixels: rows from top to bottom, branches side by side.

A piece is measured from the inside out, around the axis on which lines enter and leave it. Then all boxes are placed,
from the outside in, and lines are routed last, through the gaps between pieces, so that none crosses a box.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from kcnn.graph.ops import Multiply
from kcnn.plots.network import tangles
from kcnn.plots.network.boxes import BoxGraph
from kcnn.plots.network.regions import Block, Item, Parallel, Series, Tangle

GAP = 16  # between boxes of a row
STEP = 20  # between parts of the network, where the size of maps is written
FORK = 14  # above branches, where one line becomes several
BRANCH_GAP = 12  # between branches
LANE = 10  # of a shortcut
PAD = 10  # inside a frame
FRAME_TITLE = 20  # inside a frame, for its name
GUTTER = 44  # between columns of the figure
LETTER = 5.6  # pixels of a letter of a frame's name
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Rect:
    """Hold the top left corner and the size of a box or frame."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Line:
    """Connect one box to another by these corners; `bypass` if the line goes around a block."""

    source: int
    target: int
    points: tuple[Point, ...]
    bypass: bool = False


@dataclass(slots=True)
class Figure:
    """Hold everything that has a position."""

    width: float = 0
    height: float = 0
    boxes: dict[int, Rect] = field(default_factory=dict)
    frames: list[tuple[str, Rect]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    notes: list[tuple[float, float, int, str]] = field(
        default_factory=list
    )  # beside a line: to its right (1) or left (-1)


@dataclass(frozen=True, slots=True)
class Piece:
    """Hold a part of the graph with its size around its axis, and the offsets of the axes of its parts."""

    item: Item | Series
    left: float
    right: float
    height: float
    parts: tuple["Piece", ...] = ()
    offsets: tuple[Point, ...] = ()  # of each part's axis at its top
    tangle: tangles.Layers | None = None


@dataclass(slots=True)
class Port:
    """Hold where a line enters or leaves a piece, with its corners inside; a shortcut has neither box."""

    points: list[Point]
    source: int | None = None
    target: int | None = None
    bypass: bool = False


def lay_out(
    series: Series, graph: BoxGraph, sizes: Sequence[tuple[float, float]], columns: int | None = None
) -> Figure:
    """Place a series of parts in columns.

    Args:
        series: The parts.
        graph: Their boxes.
        sizes: Width and height of each box.
        columns: Number of columns; None makes the figure about as wide as a slide.

    Returns:
        The figure.
    """
    pieces = [_measure(item, graph, sizes, None) for item in series]
    has_one_end = not any(isinstance(piece.item, Parallel) for piece in pieces)  # several ends stay in one column
    counts = (columns,) if columns else range(1, min(13, len(pieces) + 1)) if has_one_end else (1,)
    candidates = [_balance_columns(pieces, count) for count in counts]
    ratios = [_aspect_ratio(candidate) for candidate in candidates]
    penalties = [abs(ratio - 1.7) if ratio > 1.7 else 2 * (1.7 - ratio) for ratio in ratios]
    figure = Figure()
    origins = _place_columns(candidates[penalties.index(min(penalties))], figure)
    _route_columns(origins, graph, figure)
    return figure


def place_item(
    item: Item, graph: BoxGraph, sizes: Sequence[tuple[float, float]], before: int | None
) -> tuple[Figure, float]:
    """Place one part with its axis in the middle.

    Args:
        item: The part.
        graph: Its boxes.
        sizes: Width and height of each box.
        before: The box that a line comes from; None for the first part.

    Returns:
        The figure, and the height at which the line out of the part begins.
    """
    piece = _measure(item, graph, sizes, None)
    half, top = max(piece.left, piece.right), 0 if before is None else STEP
    figure = Figure(2 * half, top + piece.height)
    _place_boxes(piece, half, top, figure)
    entries, exits = _route(piece, half, top, graph, figure)
    if before is not None:
        _connect([Port([(half, 0.0)], source=before)], entries, figure, graph)
    return figure, exits[0].points[-1][1]


def _place_columns(columns: Sequence[Sequence[Piece]], figure: Figure) -> list[list[tuple[Piece, float, float]]]:
    """Place the boxes of columns from left to right; returns the pieces with their axis and top."""
    origins: list[list[tuple[Piece, float, float]]] = []
    x = 0.0
    for column in columns:
        axis, y = x + max(piece.left for piece in column), 0.0
        origins.append([])
        for piece in column:
            _place_boxes(piece, axis, y, figure)
            origins[-1].append((piece, axis, y))
            y += piece.height + STEP
        figure.width = axis + max(piece.right for piece in column)
        figure.height = max(figure.height, y - STEP)
        x = figure.width + GUTTER
    return origins


def _route_columns(columns: Sequence[Sequence[tuple[Piece, float, float]]], graph: BoxGraph, figure: Figure) -> None:
    """Route the lines of columns, one from the bottom of each to the top of the next, and note the sizes of maps."""
    exits: list[Port] = []
    maps = graph.boxes[0].lead.shape[:2]
    last = columns[-1][-1][0]
    bottom = 0.0
    for column in columns:
        start = min(x - piece.left for piece, x, _ in column)
        for index, (piece, axis, y) in enumerate(column):
            if exits and not index:
                from_x, gutter = exits[0].points[-1][0], start - GUTTER / 2
                exits[0].points += [(from_x, bottom), (gutter, bottom), (gutter, -STEP), (axis, -STEP)]
            entries, following = _route(piece, axis, y, graph, figure)
            if exits:
                _connect(exits, entries, figure, graph)
            exits, bottom = following, y + piece.height + STEP / 2
            source = exits[0].source if exits else None
            shape = () if source is None or piece is last else graph.boxes[source].rows[-1].shape
            if len(shape) == 3 and shape[:2] != maps:
                maps = shape[:2]
                direction = -1 if index == len(column) - 1 else 1  # the line to the next column leaves to the right
                figure.notes.append((axis + direction * 7, bottom, direction, f"{maps[0]}×{maps[1]}"))


def _balance_columns(pieces: Sequence[Piece], count: int) -> list[list[Piece]]:
    """Return the pieces in their order in at most `count` columns, the highest of them as low as possible."""
    heights = [piece.height + STEP for piece in pieces]
    low, high = max(heights), sum(heights)
    while high - low > 1:
        middle = (low + high) / 2
        low, high = (low, middle) if len(_fill_columns(pieces, middle)) <= count else (middle, high)
    return _fill_columns(pieces, high)


def _fill_columns(pieces: Sequence[Piece], height: float) -> list[list[Piece]]:
    columns: list[list[Piece]] = [[]]
    used = 0.0
    for piece in pieces:
        if columns[-1] and used + piece.height + STEP > height:
            columns.append([])
            used = 0
        columns[-1].append(piece)
        used += piece.height + STEP
    return columns


def _aspect_ratio(columns: Sequence[Sequence[Piece]]) -> float:
    """Return width by height."""
    widths = (max(piece.left for piece in column) + max(piece.right for piece in column) for column in columns)
    return (sum(widths) + GUTTER * (len(columns) - 1)) / max(sum(p.height + STEP for p in column) for column in columns)


def _measure(item: Item | Series, graph: BoxGraph, sizes: Sequence[tuple[float, float]], join: int | None) -> Piece:
    """Measure a part; `join` is the box in which its branches end."""
    if isinstance(item, int):
        width, height = sizes[item]
        return Piece(item, width / 2, width / 2, height)
    if isinstance(item, Tangle):
        tangle = tangles.arrange_layers(item.boxes, graph, sizes)
        return Piece(item, tangle.width / 2, tangle.width / 2, FORK + tangle.height, tangle=tangle)
    if isinstance(item, Block):
        inner = _measure(item.parts, graph, sizes, join)
        left = max(inner.left + PAD, len(item.name) * LETTER + 16)  # the name is left of the line that enters
        top = float(FRAME_TITLE if isinstance(item.parts[0], int) else FRAME_TITLE - 9)
        return Piece(item, left, inner.right + PAD, top + inner.height + PAD, (inner,), ((0.0, top),))
    if isinstance(item, Parallel):
        return _measure_branches(item, graph, sizes, join)
    if not item:
        return Piece(item, LANE / 2, LANE / 2, 0)
    parts: list[Piece] = []
    for index, part in enumerate(item):
        following = item[index + 1] if index + 1 < len(item) else join
        piece = _measure(part, graph, sizes, following if isinstance(following, int) else None)
        if parts and isinstance(part, int) and graph.boxes[part].bar and isinstance(item[index - 1], Parallel | Tangle):
            piece = replace(piece, left=max(piece.left, parts[-1].left), right=max(piece.right, parts[-1].right))
        parts.append(piece)
    offsets, y = [], 0.0
    for piece in parts:
        offsets.append((0.0, y))
        y += piece.height + GAP
    left, right = max(part.left for part in parts), max(part.right for part in parts)
    return Piece(item, left, right, y - GAP, tuple(parts), tuple(offsets))


def _measure_branches(item: Parallel, graph: BoxGraph, sizes: Sequence[tuple[float, float]], join: int | None) -> Piece:
    """Measure branches: centered on the axis where a bar joins them; else one on the axis, the others right of it."""
    branches = [_measure(branch, graph, sizes, join) for branch in item.branches]
    is_centered = join is not None and not graph.boxes[join].circle and not item.last
    if not is_centered:
        product = join is not None and type(graph.boxes[join].lead.op) is Multiply
        key = (lambda i: branches[i].height) if product else (lambda i: -branches[i].height)
        main = 0 if item.last else min(range(len(branches)), key=key)
        order = [main, *(i for i in range(len(branches)) if i != main)]
        branches = [branches[i] for i in order]
    axes, x = [], 0.0
    for branch in branches:
        axes.append(x + branch.left)
        x += branch.left + branch.right + BRANCH_GAP
    width, height = x - BRANCH_GAP, max(branch.height for branch in branches)
    axis = width / 2 if is_centered else axes[0]
    offsets = []
    for branch, branch_axis in zip(branches, axes, strict=True):
        spare = height - branch.height if not item.last else 0
        offsets.append((branch_axis - axis, FORK + (spare if is_centered else spare / 2)))
    return Piece(item, axis, width - axis, FORK + height, tuple(branches), tuple(offsets))


def _place_boxes(piece: Piece, x: float, y: float, figure: Figure) -> None:
    """Place the boxes and frames of a piece with its axis at x and its top at y."""
    item, left, width = piece.item, x - piece.left, piece.left + piece.right
    if isinstance(item, int):
        figure.boxes[item] = Rect(left, y, width, piece.height)
    elif isinstance(item, Block):
        figure.frames.append((item.name, Rect(left, y, width, piece.height)))
    if piece.tangle is not None:
        for number, (dx, dy, *size) in piece.tangle.boxes.items():
            figure.boxes[number] = Rect(left + dx, y + FORK + dy, *size)
    for part, (dx, dy) in zip(piece.parts, piece.offsets, strict=True):
        _place_boxes(part, x + dx, y + dy, figure)


def _route(piece: Piece, x: float, y: float, graph: BoxGraph, figure: Figure) -> tuple[list[Port], list[Port]]:
    """Route the lines inside a piece with its axis at x and its top at y; returns its entries and exits."""
    item = piece.item
    if isinstance(item, int):
        return [Port([(x, y)], target=item)], [Port([(x, y + piece.height)], source=item)]
    if piece.tangle is not None:
        return _route_tangle(piece.tangle, x - piece.left, y + FORK, figure)
    ports = [
        _route(part, x + dx, y + dy, graph, figure) for part, (dx, dy) in zip(piece.parts, piece.offsets, strict=True)
    ]
    if isinstance(item, Parallel) and item.last:  # lines fork above the frames that they lead to
        for (entries, _), (dx, dy) in zip(ports, piece.offsets, strict=True):
            fork = min(entry.points[0][1] for entry in entries) - FORK / 2
            for entry in entries:
                entry_x = entry.points[0][0]
                bend = [(x + dx, fork), (entry_x, fork)] if entry_x != x + dx else []
                entry.points[:0] = [(x + dx, y + dy), *bend]
    if isinstance(item, Parallel):
        return [p for entries, _ in ports for p in entries], [p for _, exits in ports for p in exits]
    if not ports:
        lane = Port([(x, y)], bypass=True)  # one for both ends: fork and join complete it, whichever comes first
        return [lane], [lane]
    for (_, exits), (entries, _) in pairwise(ports):
        _connect(exits, entries, figure, graph)
    return ports[0][0], ports[-1][1]


def _route_tangle(tangle: tangles.Layers, x: float, y: float, figure: Figure) -> tuple[list[Port], list[Port]]:
    entries, exits = [], []
    for source, target, corners in tangle.lines:
        points = [(x + dx, y + dy) for dx, dy in corners]
        if source is None:
            entries.append(Port(points, target=target))
        elif target is None:
            exits.append(Port(points, source=source))
        else:
            figure.lines.append(Line(source, target, tuple(points)))
    return entries, exits


def _connect(exits: Sequence[Port], entries: Sequence[Port], figure: Figure, graph: BoxGraph) -> None:
    """Route lines from one exit to several entries, or from several exits to one entry."""
    if len(exits) == 1:
        (x, _) = exits[0].points[-1]
        fork = min(entry.points[0][1] for entry in entries) - FORK / 2
        for entry in entries:
            entry_x = entry.points[0][0]
            bend = [(x, fork), (entry_x, fork)] if entry_x != x else []
            _complete(replace(exits[0], points=[*exits[0].points, *bend]), entry, figure)
        return
    entry = entries[0]
    rect = figure.boxes[entry.target]  # type: ignore[index]
    is_circle = graph.boxes[entry.target].circle  # type: ignore[index]
    x, y = entry.points[0]
    for port in exits:
        exit_x = port.points[-1][0]
        middle, is_above = rect.y + rect.height / 2, rect.x <= exit_x <= rect.x + rect.width
        if is_circle and not is_above:
            edge = rect.x if exit_x < x else rect.x + rect.width
            points: list[Point] = [(exit_x, middle), (edge, middle)]
        elif is_above and (exit_x == x or not is_circle):
            points = [(exit_x, y)]
        else:
            points = [(exit_x, y - GAP / 2), (x, y - GAP / 2), (x, y)]
        _complete(port, Port(points, target=entry.target), figure)


def _complete(leaving: Port, entering: Port, figure: Figure) -> None:
    """Add the line from an exit to an entry; where one of them is a shortcut, extend that to its other end instead."""
    points = [*leaving.points, *entering.points]
    if leaving.source is None:
        leaving.points, leaving.target = points, entering.target
    elif entering.target is None:
        entering.points, entering.source = points, leaving.source
    else:
        line = Line(leaving.source, entering.target, tuple(points), leaving.bypass or entering.bypass)
        figure.lines.append(line)
