"""Structure of a graph: series of boxes, parallel branches between a fork and its join, and blocks.

A box on every path between two others cuts the graph there. Between two cuts, what is not connected is parallel. So a
network divides into series of boxes and parallel series; a part that has no cut and does not divide is a tangle.
Convolutional networks of the literature have few tangles.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from kcnn.plots.network.boxes import Box, BoxGraph, invert_edges


@dataclass(frozen=True, slots=True)
class Parallel:
    """Hold parallel branches, in the order of the inputs of their join; an empty one is a shortcut."""

    branches: tuple["Series", ...]
    last: bool = False  # whether they end in outputs of the network instead of a join, the first output first


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
    return _build_series(graph, range(len(graph.boxes)), None, None)


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
    items: list[Item] = []
    while units:
        name, count = _find_block(units, graph)
        parts = tuple(item for unit in units[:count] for item in unit)
        items.extend([Block(name, parts)] if len(parts) > 1 else parts)
        units = units[count:]
    return tuple(items)


def collapse_blocks(series: Series, graph: BoxGraph, is_open: Callable[[str], bool]) -> tuple[Series, BoxGraph]:
    """Return a series in which some blocks are one box each.

    Args:
        series: The series.
        graph: Its boxes.
        is_open: Function that returns whether the block of a name stays expanded.

    Returns:
        The series, and the graph with the new boxes added.
    """
    items: list[Item] = []
    for item in series:
        if isinstance(item, Parallel) and item.last:
            branches = []
            for branch in item.branches:
                collapsed, graph = collapse_blocks(branch, graph, is_open)
                branches.append(collapsed)
            items.append(Parallel(tuple(branches), last=True))
        elif isinstance(item, Block) and not is_open(item.name):
            inside = sorted(list_boxes(item))
            box = Box(tuple(row for number in inside for row in graph.boxes[number].rows), False, item.name)
            items.append(len(graph.boxes))
            graph = replace(graph, boxes=(*graph.boxes, box))
        else:
            items.append(item)
    return tuple(items), graph


def expand_layers(series: Series, graph: BoxGraph) -> tuple[Series, BoxGraph]:
    """Return a series with a box for each layer, in the same blocks, and the graph of these boxes."""
    chains: list[range] = []
    boxes: list[Box] = []
    sources: list[tuple[int, ...]] = []
    for box, before in zip(graph.boxes, graph.sources, strict=True):
        chains.append(range(len(boxes), len(boxes) + len(box.rows)))
        sources += [tuple(chains[source][-1] for source in before), *((number,) for number in chains[-1][:-1])]
        boxes += [Box(box.rows[:1], box.joins), *(Box((row,), False) for row in box.rows[1:])]

    def expand_series(parts: Series) -> Series:
        return tuple(number for part in parts for number in expand_item(part))

    def expand_item(part: Item) -> Series:
        if isinstance(part, int):
            return tuple(chains[part])
        if isinstance(part, Tangle):
            return (Tangle(tuple(number for box in part.boxes for number in chains[box])),)
        if isinstance(part, Block):
            return (Block(part.name, expand_series(part.parts)),)
        return (Parallel(tuple(map(expand_series, part.branches)), part.last),)

    outputs = tuple(chains[output][-1] for output in graph.outputs)
    return expand_series(series), BoxGraph(tuple(boxes), tuple(sources), invert_edges(sources), outputs)


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


def _find_block(units: Sequence[Series], graph: BoxGraph) -> tuple[str, int]:
    """Return the name of the block that begins with the first unit, and its number of units."""
    first = units[0]
    name = _common_prefix(first, graph)
    if isinstance(first[0], Parallel) and first[0].last:
        return "", 1
    if len(first) > 1:  # a fork with its join is one block: stage1_unit1 and stage1_unit2 stay two blocks
        return name or graph.boxes[next(list_boxes(first[-1]))].lead.name, 1
    shared, count = {name, _parent(name)} - {""}, 1
    for unit in units[1:]:
        key = _common_prefix(unit, graph)
        common = shared & {key, _parent(key)}
        if not common or (isinstance(unit[0], Parallel) and unit[0].last):
            break
        shared, count = common, count + 1
    return (max(shared, key=len), count) if count > 1 else (name, 1)


def _common_prefix(unit: Series, graph: BoxGraph) -> str:
    """Return the words that begin the names of all layers of a part."""
    names = [row.name.split("_") for number in list_boxes(unit) for row in graph.boxes[number].rows]
    prefix: list[str] = []
    for column in zip(*names, strict=False):
        if len(set(column)) > 1:
            break
        prefix.append(column[0])
    return "_".join(prefix)


def _parent(name: str) -> str:
    return name.rpartition("_")[0]


def _build_series(graph: BoxGraph, boxes: Sequence[int], before: int | None, after: int | None) -> Series:
    """Return boxes between `before` and `after` as a series; None is the input or the outputs of the network."""
    cuts = _find_cuts(graph, boxes)
    inside, remaining, start = set(boxes), iter(boxes), before
    items: list[Item] = []
    for cut in (*cuts, after):
        between = list(iter(remaining.__next__, cut)) if cut in inside else list(remaining)
        direct = graph.sources[cut].count(start) if cuts and cut is not None and start is not None else 0
        if between or direct > 1:
            items.append(_build_parallel(graph, between, start, cut, direct))
        if cut is not None and cut != after:
            items.append(cut)
        start = cut
    return tuple(items)


def _build_parallel(
    graph: BoxGraph, boxes: Sequence[int], before: int | None, after: int | None, direct: int
) -> Parallel | Tangle:
    """Return the branches between two cuts in the order of the inputs of `after`; `direct` lines have no box."""
    parts = _find_components(graph, boxes)
    if len(parts) == 1 and not direct:
        return Tangle(tuple(boxes))
    targets = graph.outputs if after is None else graph.sources[after]
    positions = [next(i for i, number in enumerate(targets) if number in part) for part in map(set, parts)]
    branches = [
        (position, _build_series(graph, part, before, after)) for position, part in zip(positions, parts, strict=True)
    ]
    shortcuts = [(position, ()) for position, number in enumerate(targets) if number == before] if direct else []
    ordered = sorted([*branches, *shortcuts], key=lambda pair: pair[0])
    return Parallel(tuple(branch for _, branch in ordered), last=after is None)


def _find_cuts(graph: BoxGraph, boxes: Sequence[int]) -> list[int]:
    """Return the boxes that lie on every path."""
    inside, beyond = set(boxes), len(graph.boxes)
    cuts, far = [], -1
    for number in boxes:
        if not all(source in inside for source in graph.sources[number]):
            far = number  # a line from outside; the boxes are in drawing order
    for number in boxes:
        if far <= number:
            cuts.append(number)
        reach = (target if target in inside else beyond for target in graph.targets[number])
        far = max(far, max(reach, default=beyond))
    return cuts


def _find_components(graph: BoxGraph, boxes: Sequence[int]) -> list[list[int]]:
    """Return the components that are connected without the rest of the graph, each in drawing order."""
    remaining, components = set(boxes), []
    for first in boxes:
        if first not in remaining:
            continue
        remaining.remove(first)
        part, stack = [first], [first]
        while stack:
            number = stack.pop()
            neighbors = {*graph.sources[number], *graph.targets[number]} & remaining
            remaining -= neighbors
            part.extend(neighbors)
            stack.extend(neighbors)
        components.append(sorted(part))
    return components
