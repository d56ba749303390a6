"""Positions of boxes, frames and lines of a figure, in pixels: rows from top to bottom, branches side by side.

A piece is measured from the inside out, around an axis that its lines come in and go out by; then it is placed from
the outside in. Lines run in the gaps that the pieces leave, so none goes through a box.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from kcnn.graph.ops import Multiply
from kcnn.plots.network import tangles
from kcnn.plots.network.boxes import BoxGraph
from kcnn.plots.network.regions import Block, Item, Parallel, Series, Tangle

GAP = 16  # between boxes of a row
STEP = 20  # between parts of the whole, where the size of maps is written
FORK = 14  # above branches, where one line becomes several
ASIDE = 12  # between branches
LANE = 10  # of a shortcut
PAD = 10  # inside a frame
HEAD = 20  # inside a frame, for its name
GUTTER = 44  # between columns of the figure
LETTER = 5.6  # pixels of a frame's letter
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
    """Connect one box to another by these corners; `past` if the line goes around a block."""

    source: int
    target: int
    points: tuple[Point, ...]
    past: bool = False


@dataclass(slots=True)
class Figure:
    """Hold everything that has a position."""

    width: float = 0
    height: float = 0
    boxes: dict[int, Rect] = field(default_factory=dict)
    frames: list[tuple[str, Rect]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    notes: list[tuple[float, float, int, str]] = field(default_factory=list)  # beside a line: to its right or left


@dataclass(frozen=True, slots=True)
class Piece:
    """Hold a part of the graph with its size around its axis, and the offsets of the axes of its parts."""

    item: Item | Series
    left: float
    right: float
    height: float
    parts: tuple["Piece", ...] = ()
    at: tuple[Point, ...] = ()  # of each part's axis at its top
    tangle: tangles.Layers | None = None


@dataclass(slots=True)
class Port:
    """Hold the loose end of a line with its corners so far; both boxes of a shortcut may still be unknown."""

    points: list[Point]
    source: int | None = None
    target: int | None = None
    past: bool = False


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
    pieces = [_piece(item, graph, sizes, None) for item in series]
    figure = Figure()
    whole = not any(isinstance(piece.item, Parallel) for piece in pieces)  # ends of several stay in one column
    counts = (columns,) if columns else range(1, min(13, len(pieces) + 1)) if whole else (1,)
    tries = [_columns(pieces, count) for count in counts]
    best = min(tries, key=lambda made: abs(_shape(made) - 1.7) if _shape(made) > 1.7 else 2 * (1.7 - _shape(made)))
    _place_columns(best, graph, figure)
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
    piece = _piece(item, graph, sizes, None)
    half, top = max(piece.left, piece.right), 0 if before is None else STEP
    figure = Figure(2 * half, top + piece.height)
    heads, tails = _place(piece, half, top, graph, figure)
    if before is not None:
        _connect([Port([(half, 0.0)], source=before)], heads, figure, graph)
    return figure, tails[0].points[-1][1]


def _place_columns(columns: Sequence[Sequence[Piece]], graph: BoxGraph, figure: Figure) -> None:
    """Columns from left to right, a line from the foot of each to the head of the next, and the sizes of maps."""
    x = foot = 0.0
    tails = [Port([])]
    maps = graph.boxes[0].lead.shape[:2]
    for number, column in enumerate(columns):
        axis, y = x + max(piece.left for piece in column), 0.0
        for place, piece in enumerate(column):
            if number and not place:
                from_x, gutter = tails[0].points[-1][0], x - GUTTER / 2
                tails[0].points += [(from_x, foot), (gutter, foot), (gutter, -STEP), (axis, -STEP)]
            heads, after = _place(piece, axis, y, graph, figure)
            if place or number:
                _connect(tails, heads, figure, graph)
            tails, y = after, y + piece.height + STEP
            source = after[0].source if after else None
            shape = () if source is None or piece is columns[-1][-1] else graph.boxes[source].rows[-1].shape
            if len(shape) == 3 and shape[:2] != maps:
                maps = shape[:2]
                side = -1 if place == len(column) - 1 else 1  # the line to the next column leaves to the right
                figure.notes.append((axis + side * 7, y - STEP / 2, side, f"{maps[0]}×{maps[1]}"))
        foot = y - STEP / 2
        figure.width = axis + max(piece.right for piece in column)
        figure.height = max(figure.height, y - STEP)
        x = figure.width + GUTTER


def _columns(pieces: Sequence[Piece], count: int) -> list[list[Piece]]:
    """Pieces in their order in at most so many columns, the highest of them as low as can be."""
    heights = [piece.height + STEP for piece in pieces]
    low, high = max(heights), sum(heights)
    while high - low > 1:
        middle = (low + high) / 2
        low, high = (low, middle) if len(_filled(pieces, middle)) <= count else (middle, high)
    return _filled(pieces, high)


def _filled(pieces: Sequence[Piece], height: float) -> list[list[Piece]]:
    columns: list[list[Piece]] = [[]]
    used = 0.0
    for piece in pieces:
        if columns[-1] and used + piece.height + STEP > height:
            columns.append([])
            used = 0
        columns[-1].append(piece)
        used += piece.height + STEP
    return columns


def _shape(columns: Sequence[Sequence[Piece]]) -> float:
    """Width by height."""
    widths = (max(piece.left for piece in column) + max(piece.right for piece in column) for column in columns)
    return (sum(widths) + GUTTER * (len(columns) - 1)) / max(sum(p.height + STEP for p in column) for column in columns)


def _piece(item: Item | Series, graph: BoxGraph, sizes: Sequence[tuple[float, float]], join: int | None) -> Piece:
    """A part measured; `join` is the box in which its branches end."""
    if isinstance(item, int):
        width, height = sizes[item]
        return Piece(item, width / 2, width / 2, height)
    if isinstance(item, Tangle):
        tangle = tangles.arrange_layers(item.boxes, graph, sizes)
        return Piece(item, tangle.width / 2, tangle.width / 2, FORK + tangle.height, tangle=tangle)
    if isinstance(item, Block):
        inner = _piece(item.parts, graph, sizes, join)
        left = max(inner.left + PAD, len(item.name) * LETTER + 16)  # the name stands left of the line that comes in
        at = ((0.0, float(HEAD if isinstance(item.parts[0], int) else HEAD - 9)),)
        return Piece(item, left, inner.right + PAD, at[0][1] + inner.height + PAD, (inner,), at)
    if isinstance(item, Parallel):
        return _side_by_side(item, graph, sizes, join)
    if not item:
        return Piece(item, LANE / 2, LANE / 2, 0)
    parts: list[Piece] = []
    for place, part in enumerate(item):
        following = item[place + 1] if place + 1 < len(item) else join
        made = _piece(part, graph, sizes, following if isinstance(following, int) else None)
        if parts and isinstance(part, int) and graph.boxes[part].bar and isinstance(item[place - 1], Parallel | Tangle):
            made = replace(made, left=max(made.left, parts[-1].left), right=max(made.right, parts[-1].right))
        parts.append(made)
    tops, y = [], 0.0
    for one in parts:
        tops.append((0.0, y))
        y += one.height + GAP
    left, right = max(part.left for part in parts), max(part.right for part in parts)
    return Piece(item, left, right, y - GAP, tuple(parts), tuple(tops))


def _side_by_side(item: Parallel, graph: BoxGraph, sizes: Sequence[tuple[float, float]], join: int | None) -> Piece:
    """Branches around the axis where a bar joins them; else one branch on the axis, the others to the right of it."""
    branches = [_piece(branch, graph, sizes, join) for branch in item.branches]
    around = join is not None and not graph.boxes[join].circle and not item.last
    if not around:
        product = join is not None and type(graph.boxes[join].lead.op) is Multiply
        key = (lambda i: branches[i].height) if product else (lambda i: -branches[i].height)
        main = 0 if item.last else min(range(len(branches)), key=key)
        order = [main, *(i for i in range(len(branches)) if i != main)]
        branches = [branches[i] for i in order]
    axes, x = [], 0.0
    for branch in branches:
        axes.append(x + branch.left)
        x += branch.left + branch.right + ASIDE
    width, tall = x - ASIDE, max(branch.height for branch in branches)
    axis = width / 2 if around else axes[0]
    at = []
    for branch, where in zip(branches, axes, strict=True):
        spare = tall - branch.height if not item.last else 0
        at.append((where - axis, FORK + (spare if around else spare / 2)))
    return Piece(item, axis, width - axis, FORK + tall, tuple(branches), tuple(at))


def _place(piece: Piece, x: float, y: float, graph: BoxGraph, figure: Figure) -> tuple[list[Port], list[Port]]:
    """A part with its axis at x and its top at y; where lines come in, and where they go out."""
    item = piece.item
    if isinstance(item, int):
        figure.boxes[item] = Rect(x - piece.left, y, piece.left + piece.right, piece.height)
        return [Port([(x, y)], target=item)], [Port([(x, y + piece.height)], source=item)]
    if piece.tangle is not None:
        return _place_tangle(piece.tangle, x - piece.left, y + FORK, figure)
    if isinstance(item, Block):
        figure.frames.append((item.name, Rect(x - piece.left, y, piece.left + piece.right, piece.height)))
    placed = [_place(part, x + dx, y + dy, graph, figure) for part, (dx, dy) in zip(piece.parts, piece.at, strict=True)]
    if isinstance(item, Parallel) and item.last:  # the ways part above the frames of what they lead to
        for (heads, _), (dx, dy) in zip(placed, piece.at, strict=True):
            fork = min(head.points[0][1] for head in heads) - FORK / 2
            for head in heads:
                over = head.points[0][0]
                head.points[:0] = [(x + dx, y + dy), *([(x + dx, fork), (over, fork)] if over != x + dx else [])]
    if isinstance(item, Parallel):
        return [p for heads, _ in placed for p in heads], [p for _, tails in placed for p in tails]
    if not placed:
        lane = Port([(x, y)], past=True)  # one for both ends: fork and join complete it, whichever comes first
        return [lane], [lane]
    for (_, tails), (heads, _) in pairwise(placed):
        _connect(tails, heads, figure, graph)
    return placed[0][0], placed[-1][1]


def _place_tangle(made: tangles.Layers, x: float, y: float, figure: Figure) -> tuple[list[Port], list[Port]]:
    for number, (left, top, width, height) in made.boxes.items():
        figure.boxes[number] = Rect(x + left, y + top, width, height)
    heads, tails = [], []
    for source, target, corners in made.lines:
        points = [(x + dx, y + dy) for dx, dy in corners]
        if source is None:
            heads.append(Port(points, target=target))
        elif target is None:
            tails.append(Port(points, source=source))
        else:
            figure.lines.append(Line(source, target, tuple(points)))
    return heads, tails


def _connect(tails: Sequence[Port], heads: Sequence[Port], figure: Figure, graph: BoxGraph) -> None:
    """Lines from one box to several, or from several to one."""
    if len(tails) == 1:
        tail = tails[0]
        x, _ = tail.points[-1]
        fork = min(head.points[0][1] for head in heads) - FORK / 2
        for head in heads:
            over = head.points[0][0]
            bend = [(x, fork), (over, fork)] if over != x else []
            _end(replace(tail, points=[*tail.points, *bend]), head, figure)
        return
    head = heads[0]
    rect = figure.boxes[head.target]  # type: ignore[index]
    x, y = head.points[0]
    for tail in tails:
        over = tail.points[-1][0]
        middle = rect.y + rect.height / 2
        circle, within = graph.boxes[head.target].circle, rect.x <= over <= rect.x + rect.width  # type: ignore[index]
        if circle and not within:
            side = rect.x if over < x else rect.x + rect.width
            points: list[Point] = [(over, middle), (side, middle)]
        elif within and (over == x or not circle):
            points = [(over, y)]
        else:
            points = [(over, y - GAP / 2), (x, y - GAP / 2), (x, y)]
        _end(tail, Port(points, target=head.target), figure)


def _end(tail: Port, head: Port, figure: Figure) -> None:
    """A line from a tail to a head; where one of them is a shortcut with another loose end, it waits for that."""
    points = [*tail.points, *head.points]
    if tail.source is None:
        tail.points, tail.target = points, head.target
    elif head.target is None:
        head.points, head.source = points, tail.source
    else:
        figure.lines.append(Line(tail.source, head.target, tuple(points), tail.past or head.past))
