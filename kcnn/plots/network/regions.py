"""Structure of a graph: series of boxes, parallel branches between a fork and its join, and blocks.

A box on every path between two others cuts the graph there. Between two cuts, what is not connected is
parallel. So a network falls into rows of boxes and parallels of rows; what has no cut and does not fall apart is a
tangle. Convolutional networks of the literature have few tangles.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from kcnn.plots.network.boxes import Box, BoxGraph, invert_edges


@dataclass(frozen=True, slots=True)
class Parallel:
    """Hold branches side by side, in the order of the inputs of their join; an empty one is a shortcut."""

    branches: tuple["Series", ...]
    last: bool = False  # nothing joins them: they end the network, its first end first


@dataclass(frozen=True, slots=True)
class Tangle:
    """Hold boxes that no series and parallels can represent."""

    boxes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Hold a part of a series under the common name of its layers."""

    name: str
    parts: "Series"


Item = int | Parallel | Tangle | Block
Series = tuple[Item, ...]


def find_regions(graph: BoxGraph) -> Series:
    """Return the entire graph as one series, from the image to the outputs."""
    return _row(graph, range(len(graph.boxes)), None, None)


def group_blocks(series: Series, graph: BoxGraph) -> Series:
    """Return a series with blocks: a fork with its join, or a run of boxes of one name."""
    units: list[Series] = []
    for item in series:
        if units and isinstance(units[-1][-1], Parallel | Tangle):
            units[-1] = (*units[-1], item)
        elif isinstance(item, Parallel) and item.last:
            units.append((Parallel(tuple(group_blocks(branch, graph) for branch in item.branches), last=True),))
        else:
            units.append((item,))
    found: list[Item] = []
    while units:
        name, count = _run(units, graph)
        parts = tuple(item for unit in units[:count] for item in unit)
        found.extend([Block(name, parts)] if len(parts) > 1 else parts)
        units = units[count:]
    return tuple(found)


def collapse_blocks(series: Series, graph: BoxGraph, opened: Callable[[str], bool]) -> tuple[Series, BoxGraph]:
    """Return a series in which some blocks are one box each.

    Args:
        series: The series.
        graph: Its boxes.
        opened: Function that returns whether the block of a name stays expanded.

    Returns:
        The series, and the graph with the new boxes added.
    """
    found: list[Item] = []
    for item in series:
        if isinstance(item, Parallel) and item.last:
            branches = []
            for branch in item.branches:
                made, graph = collapse_blocks(branch, graph, opened)
                branches.append(made)
            found.append(Parallel(tuple(branches), last=True))
        elif isinstance(item, Block) and not opened(item.name):
            inside = sorted(list_boxes(item))
            box = Box(tuple(row for number in inside for row in graph.boxes[number].rows), False, item.name)
            found.append(len(graph.boxes))
            graph = replace(graph, boxes=(*graph.boxes, box))
        else:
            found.append(item)
    return tuple(found), graph


def expand_layers(series: Series, graph: BoxGraph) -> tuple[Series, BoxGraph]:
    """Return a series with a box for each layer, in the same blocks, and the graph of these boxes."""
    chains: list[range] = []
    boxes: list[Box] = []
    sources: list[tuple[int, ...]] = []
    for box, before in zip(graph.boxes, graph.sources, strict=True):
        chains.append(range(len(boxes), len(boxes) + len(box.rows)))
        sources += [tuple(chains[source][-1] for source in before), *((number,) for number in chains[-1][:-1])]
        boxes += [Box(box.rows[:1], box.joins), *(Box((row,), False) for row in box.rows[1:])]

    def inside(parts: Series) -> Series:
        return tuple(number for part in parts for number in one(part))

    def one(part: Item) -> Series:
        if isinstance(part, int):
            return tuple(chains[part])
        if isinstance(part, Tangle):
            return (Tangle(tuple(number for box in part.boxes for number in chains[box])),)
        if isinstance(part, Block):
            return (Block(part.name, inside(part.parts)),)
        return (Parallel(tuple(map(inside, part.branches)), part.last),)

    ends = tuple(chains[end][-1] for end in graph.outputs)
    return inside(series), BoxGraph(tuple(boxes), tuple(sources), invert_edges(sources), ends)


def list_boxes(item: Item | Series) -> Iterator[int]:
    """Yield the boxes of a part, in the order of its branches."""
    if isinstance(item, int):
        yield item
    elif isinstance(item, Tangle):
        yield from item.boxes
    else:
        inner = item if isinstance(item, tuple) else item.branches if isinstance(item, Parallel) else item.parts
        for part in inner:
            yield from list_boxes(part)


def _run(units: Sequence[Series], graph: BoxGraph) -> tuple[str, int]:
    """The name of the block that begins here, and how many units are in it."""
    first = units[0]
    name = _common(first, graph)
    if isinstance(first[0], Parallel) and first[0].last:
        return "", 1
    if len(first) > 1:  # a fork with its join is whole: stage1_unit1 and stage1_unit2 stay two blocks
        return name or graph.boxes[next(list_boxes(first[-1]))].lead.name, 1
    shared, count = {name, _parent(name)} - {""}, 1
    for unit in units[1:]:
        key = _common(unit, graph)
        left = shared & {key, _parent(key)}
        if not left or (isinstance(unit[0], Parallel) and unit[0].last):
            break
        shared, count = left, count + 1
    return (max(shared, key=len), count) if count > 1 else (name, 1)


def _common(unit: Series, graph: BoxGraph) -> str:
    """The words that begin the names of all layers of a part."""
    names = [row.name.split("_") for number in list_boxes(unit) for row in graph.boxes[number].rows]
    same: list[str] = []
    for column in zip(*names, strict=False):
        if len(set(column)) > 1:
            break
        same.append(column[0])
    return "_".join(same)


def _parent(name: str) -> str:
    return name.rpartition("_")[0]


def _row(graph: BoxGraph, boxes: Sequence[int], before: int | None, after: int | None) -> Series:
    """Boxes that take from `before` and give to `after` alone, as a row; None is what no box stands for."""
    cuts = _cuts(graph, boxes)
    inside, waiting, start = set(boxes), iter(boxes), before
    found: list[Item] = []
    for cut in (*cuts, after):
        between = list(iter(waiting.__next__, cut)) if cut in inside else list(waiting)
        direct = graph.sources[cut].count(start) if cuts and cut is not None and start is not None else 0
        if between or direct > 1:
            found.append(_side_by_side(graph, between, start, cut, direct))
        if cut is not None and cut != after:
            found.append(cut)
        start = cut
    return tuple(found)


def _side_by_side(
    graph: BoxGraph, boxes: Sequence[int], before: int | None, after: int | None, direct: int
) -> Parallel | Tangle:
    """What lies between two cuts, and how many lines go past it; in the order in which `after` takes them."""
    parts = _connected(graph, boxes)
    if len(parts) == 1 and not direct:
        return Tangle(tuple(boxes))
    goals = graph.outputs if after is None else graph.sources[after]
    places = [next(i for i, number in enumerate(goals) if number in part) for part in map(set, parts)]
    branches = [(place, _row(graph, part, before, after)) for place, part in zip(places, parts, strict=True)]
    past = [(place, ()) for place, number in enumerate(goals) if number == before] if direct else []
    ordered = sorted([*branches, *past], key=lambda pair: pair[0])
    return Parallel(tuple(branch for _, branch in ordered), last=after is None)


def _cuts(graph: BoxGraph, boxes: Sequence[int]) -> list[int]:
    """The boxes that no line between the others passes by."""
    inside, nowhere = set(boxes), len(graph.boxes)
    found, far = [], -1
    for number in boxes:
        if not all(source in inside for source in graph.sources[number]):
            far = number  # a line from outside; the boxes are in drawing order
    for number in boxes:
        if far <= number:
            found.append(number)
        reach = (target if target in inside else nowhere for target in graph.targets[number])
        far = max(far, max(reach, default=nowhere))
    return found


def _connected(graph: BoxGraph, boxes: Sequence[int]) -> list[list[int]]:
    """The boxes by what is connected without the rest of the graph, each in drawing order."""
    left, found = set(boxes), []
    for first in boxes:
        if first not in left:
            continue
        left.remove(first)
        part, stack = [first], [first]
        while stack:
            number = stack.pop()
            near = {*graph.sources[number], *graph.targets[number]} & left
            left -= near
            part.extend(near)
            stack.extend(near)
        found.append(sorted(part))
    return found
