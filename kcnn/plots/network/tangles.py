"""Boxes in layers, for the part of a graph that is neither a row nor branches side by side.

Sugiyama's way: a box's layer by the longest path to it, a place in every layer that a line passes, places ordered by
the mean of their neighbours, and lines that turn only between layers. Lines may cross each other; none crosses a box.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, pairwise

from kcnn.plots.network.boxes import BoxGraph

BETWEEN = 14  # places of a layer
PASSING = 8  # pixels that a line needs in a layer that it passes
TRACK = 6  # between lines that turn
MARGIN = 9  # above and below the lines that turn between two layers
SWEEPS = 4
Chain = list[tuple[int, int]]  # layer and place of a line's way; a place is a box's number, or below zero
Neighbours = Mapping[int, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Layers:
    """Hold boxes by (left, top, width, height) and lines by their corners; None is the box before or after the part."""

    width: float
    height: float
    boxes: Mapping[int, tuple[float, float, float, float]]
    lines: tuple[tuple[int | None, int | None, tuple[tuple[float, float], ...]], ...]


def arrange_layers(boxes: Sequence[int], graph: BoxGraph, sizes: Sequence[tuple[float, float]]) -> Layers:
    """Place the boxes of a tangle in layers; lines from outside begin at the top, and others end at the bottom."""
    links = _links(boxes, graph)
    rows, chains = _rows(boxes, links)
    below, above = _neighbours(chains)
    width = {place: sizes[place][0] if place >= 0 else PASSING for row in rows for place in row}
    x = _across(rows, above, below, width)
    _straighten(rows, chains, width, x)
    left = min(x[place] - width[place] / 2 for place in x)
    right = max(x[place] + width[place] / 2 for place in x)
    turning = [[one for one in row if any(x[one] != x[other] for other in below.get(one, ()))] for row in rows]
    tops, bottoms, y = [], [], 0.0
    for row, turns in zip(rows, turning, strict=True):
        tops.append(y)
        bottoms.append(y + max((sizes[place][1] for place in row if place >= 0), default=0))
        y = bottoms[-1] + 2 * MARGIN + TRACK * len(turns)
    lines = []
    for (source, target), chain in zip(links, chains, strict=True):
        points: list[tuple[float, float]] = []
        for (layer, place), following in zip(chain, [*chain[1:], None], strict=True):
            at = x[place] - left
            if place < 0 or place == target:
                points.append((at, tops[layer]))
            if place < 0 or place == source:
                points.append((at, bottoms[layer] if place < 0 else tops[layer] + sizes[place][1]))
            if following and x[following[1]] != x[place]:
                turn = bottoms[layer] + MARGIN + TRACK * turning[layer].index(place)
                points += [(at, turn), (x[following[1]] - left, turn)]
            if target is None and not following:
                points.append((at, bottoms[-1]))
        lines.append((source, target, tuple(points)))
    placed = {
        number: (x[number] - left - width[number] / 2, tops[layer], *sizes[number])
        for layer, row in enumerate(rows)
        for number in row
        if number >= 0
    }
    return Layers(right - left, bottoms[-1], placed, tuple(lines))


def _links(boxes: Sequence[int], graph: BoxGraph) -> list[tuple[int | None, int | None]]:
    inside = set(boxes)
    into = [(source if source in inside else None, number) for number in boxes for source in graph.sources[number]]
    return [*into, *((number, None) for number in boxes for target in graph.targets[number] if target not in inside)]


def _rows(boxes: Sequence[int], links: Sequence[tuple[int | None, int | None]]) -> tuple[list[list[int]], list[Chain]]:
    """The places of every layer, and the way of every line through them."""
    rank = dict.fromkeys(boxes, 0)
    for source, target in links:  # which come in drawing order of their targets
        if source is not None and target is not None:
            rank[target] = max(rank[target], rank[source] + 1)
    rows: list[list[int]] = [[] for _ in range(max(rank.values()) + 1)]
    for number in boxes:
        rows[rank[number]].append(number)
    passing = count(-1, -1)
    chains = []
    for source, target in links:
        first = -1 if source is None else rank[source]
        last = len(rows) if target is None else rank[target]
        chain: Chain = [] if source is None else [(first, source)]
        for layer in range(first + 1, last):
            chain.append((layer, next(passing)))
            rows[layer].append(chain[-1][1])
        chains.append(chain if target is None else [*chain, (last, target)])
    return rows, chains


def _neighbours(chains: Sequence[Chain]) -> tuple[Neighbours, Neighbours]:
    below: dict[int, list[int]] = {}
    above: dict[int, list[int]] = {}
    for chain in chains:
        for (_, one), (_, other) in pairwise(chain):
            below.setdefault(one, []).append(other)
            above.setdefault(other, []).append(one)
    return below, above


def _across(
    rows: list[list[int]], above: Neighbours, below: Neighbours, width: Mapping[int, float]
) -> dict[int, float]:
    """The middle of every place; sorts each layer on the way."""
    x: dict[int, float] = {}
    for row in rows:
        _spread(row, lambda place: 0.0, width, x)
    for sweep in range(2 * SWEEPS):
        near = below if sweep % 2 else above
        for row in reversed(rows) if sweep % 2 else rows:
            wish = {p: sum(x[q] for q in near[p]) / len(near[p]) if near.get(p) else x[p] for p in row}
            row.sort(key=wish.__getitem__)
            _spread(row, wish.__getitem__, width, x)
    return x


def _straighten(
    rows: Sequence[Sequence[int]], chains: Sequence[Chain], width: Mapping[int, float], x: dict[int, float]
) -> None:
    """Every line that passes several layers in one of its places, where nothing stands there in the others."""
    for chain in chains:
        passing = [(layer, place) for layer, place in chain if place < 0]
        for wish in [x[place] for _, place in passing]:
            others = ((other, place) for layer, place in passing for other in rows[layer] if other != place)
            if all(abs(x[other] - wish) >= (width[other] + BETWEEN + PASSING) / 2 for other, _ in others):
                x.update((place, wish) for _, place in passing)
                break


def _spread(row: Sequence[int], wish: Callable[[int], float], width: Mapping[int, float], x: dict[int, float]) -> None:
    """Places of a layer from left to right, each where it wishes or as near as those before it leave, then evened."""
    least, off = float("-inf"), 0.0
    for place in row:
        x[place] = max(wish(place), least + width[place] / 2)
        least = x[place] + width[place] / 2 + BETWEEN
        off += x[place] - wish(place)
    for place in row:
        x[place] -= off / len(row)
