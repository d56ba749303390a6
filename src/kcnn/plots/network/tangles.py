"""Boxes in layers, for the part of a graph that is neither a series nor parallel branches.

Sugiyama's method: a box's layer is the longest path to it, a line has a node in every layer that it passes, nodes are
ordered by the mean of their neighbors, and lines turn only between layers. Lines may cross each other, but no box.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, pairwise

from kcnn.plots.network.boxes import BoxGraph

NODE_GAP = 14  # between nodes of a layer
LINE_WIDTH = 8  # of the node of a line in a layer that it passes
TRACK = 6  # between lines that turn
MARGIN = 9  # above and below the lines that turn between two layers
SWEEPS = 4
Chain = list[tuple[int, int]]  # layer and node of each step of a line; a node is a box's number, or negative
Neighbors = Mapping[int, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Layers:
    """Hold boxes by (left, top, width, height) and lines by their corners; None is the box before or after the part."""

    width: float
    height: float
    boxes: Mapping[int, tuple[float, float, float, float]]
    lines: tuple[tuple[int | None, int | None, tuple[tuple[float, float], ...]], ...]


def arrange_layers(boxes: Sequence[int], graph: BoxGraph, sizes: Sequence[tuple[float, float]]) -> Layers:
    """Place the boxes of a tangle in layers; lines from outside begin at the top, and others end at the bottom."""
    edges = _list_edges(boxes, graph)
    rows, chains = _assign_layers(boxes, edges)
    below, above = _find_neighbors(chains)
    width = {node: sizes[node][0] if node >= 0 else LINE_WIDTH for row in rows for node in row}
    x = _order_nodes(rows, above, below, width)
    _straighten(rows, chains, width, x)
    left = min(x[node] - width[node] / 2 for node in x)
    right = max(x[node] + width[node] / 2 for node in x)
    turning = [[node for node in row if any(x[node] != x[other] for other in below.get(node, ()))] for row in rows]
    tops, bottoms, y = [], [], 0.0
    for row, turns in zip(rows, turning, strict=True):
        tops.append(y)
        bottoms.append(y + max((sizes[node][1] for node in row if node >= 0), default=0))
        y = bottoms[-1] + 2 * MARGIN + TRACK * len(turns)
    lines = []
    for (source, target), chain in zip(edges, chains, strict=True):
        points: list[tuple[float, float]] = []
        for (layer, node), following in zip(chain, [*chain[1:], None], strict=True):
            node_x = x[node] - left
            if node < 0 or node == target:
                points.append((node_x, tops[layer]))
            if node < 0 or node == source:
                points.append((node_x, bottoms[layer] if node < 0 else tops[layer] + sizes[node][1]))
            if following and x[following[1]] != x[node]:
                turn = bottoms[layer] + MARGIN + TRACK * turning[layer].index(node)
                points += [(node_x, turn), (x[following[1]] - left, turn)]
            if target is None and not following:
                points.append((node_x, bottoms[-1]))
        lines.append((source, target, tuple(points)))
    rects = {
        number: (x[number] - left - width[number] / 2, tops[layer], *sizes[number])
        for layer, row in enumerate(rows)
        for number in row
        if number >= 0
    }
    return Layers(right - left, bottoms[-1], rects, tuple(lines))


def _list_edges(boxes: Sequence[int], graph: BoxGraph) -> list[tuple[int | None, int | None]]:
    inside = set(boxes)
    incoming = [(source if source in inside else None, number) for number in boxes for source in graph.sources[number]]
    return [
        *incoming,
        *((number, None) for number in boxes for target in graph.targets[number] if target not in inside),
    ]


def _assign_layers(
    boxes: Sequence[int], edges: Sequence[tuple[int | None, int | None]]
) -> tuple[list[list[int]], list[Chain]]:
    """Return the nodes of every layer, and those that every line passes."""
    rank = dict.fromkeys(boxes, 0)
    for source, target in edges:  # in drawing order of their targets
        if source is not None and target is not None:
            rank[target] = max(rank[target], rank[source] + 1)
    rows: list[list[int]] = [[] for _ in range(max(rank.values()) + 1)]
    for number in boxes:
        rows[rank[number]].append(number)
    line_nodes = count(-1, -1)
    chains = []
    for source, target in edges:
        first = -1 if source is None else rank[source]
        last = len(rows) if target is None else rank[target]
        chain: Chain = [] if source is None else [(first, source)]
        for layer in range(first + 1, last):
            chain.append((layer, next(line_nodes)))
            rows[layer].append(chain[-1][1])
        chains.append(chain if target is None else [*chain, (last, target)])
    return rows, chains


def _find_neighbors(chains: Sequence[Chain]) -> tuple[Neighbors, Neighbors]:
    below: dict[int, list[int]] = {}
    above: dict[int, list[int]] = {}
    for chain in chains:
        for (_, upper), (_, lower) in pairwise(chain):
            below.setdefault(upper, []).append(lower)
            above.setdefault(lower, []).append(upper)
    return below, above


def _order_nodes(
    rows: list[list[int]], above: Neighbors, below: Neighbors, width: Mapping[int, float]
) -> dict[int, float]:
    """Return the middle of every node, and sort each layer by it."""
    x: dict[int, float] = {}
    for row in rows:
        _spread(row, lambda node: 0.0, width, x)
    for sweep in range(2 * SWEEPS):
        neighbors = below if sweep % 2 else above
        for row in reversed(rows) if sweep % 2 else rows:
            target_x = {
                p: sum(x[q] for q in neighbors[p]) / len(neighbors[p]) if neighbors.get(p) else x[p] for p in row
            }
            row.sort(key=target_x.__getitem__)
            _spread(row, target_x.__getitem__, width, x)
    return x


def _straighten(
    rows: Sequence[Sequence[int]], chains: Sequence[Chain], width: Mapping[int, float], x: dict[int, float]
) -> None:
    """Straighten every line that passes several layers, where one of its positions is free in all of them."""
    for chain in chains:
        passing = [(layer, node) for layer, node in chain if node < 0]
        for target_x in [x[node] for _, node in passing]:
            others = ((other, node) for layer, node in passing for other in rows[layer] if other != node)
            if all(abs(x[other] - target_x) >= (width[other] + NODE_GAP + LINE_WIDTH) / 2 for other, _ in others):
                x.update((node, target_x) for _, node in passing)
                break


def _spread(
    row: Sequence[int], target_x: Callable[[int], float], width: Mapping[int, float], x: dict[int, float]
) -> None:
    """Place the nodes of a layer from left to right, each as near to its target as possible, and center the errors."""
    minimum, error = float("-inf"), 0.0
    for node in row:
        x[node] = max(target_x(node), minimum + width[node] / 2)
        minimum = x[node] + width[node] / 2 + NODE_GAP
        error += x[node] - target_x(node)
    for node in row:
        x[node] -= error / len(row)
