"""The figure of a network whose blocks open and close: every layer once, in parts that meet."""

from xml.etree import ElementTree

import pytest

import kcnn
from kcnn.plots.network.folding import fold_blocks
from tests.catalogue import divide
from tests.paper.figures import DRAWN, SVG, drawn, layers


@pytest.mark.parametrize("names", divide(DRAWN))
def test_fold_blocks_has_every_layer_once_and_stays_small(names):
    for drawing in map(kcnn.trace, names):
        parts = fold_blocks(drawing).parts
        open_ones = [ElementTree.fromstring(part.expanded or part.collapsed) for part in parts]
        shown = [
            group.get("data-layers").split()
            for root in open_ones
            for group in root.iter(f"{SVG}g")
            if group.get("data-layers")
        ]
        assert sorted(layer for layers in shown for layer in layers) == sorted(x.name for x in layers(drawing))
        for part in parts:
            root = ElementTree.fromstring(part.collapsed)
            boxes = [group for group in root.iter(f"{SVG}g") if group.get("data-layers")]
            assert not part.expanded or len(boxes) == 1, "a closed block is one box"
        largest = max(500_000, 550 * len(layers(drawing)))  # the latter of networks of more than 900 layers
        assert sum(len(part.collapsed) + len(part.expanded) for part in parts) < largest


def test_fold_blocks_connects_parts_in_the_middle():
    for part in fold_blocks(kcnn.trace("googlenet")).parts[1:]:
        for text in filter(None, (part.collapsed, part.expanded)):
            root = ElementTree.fromstring(text)
            left, _, width, height = map(float, root.get("viewBox").split())
            paths = " ".join(one.get("d") for one in drawn(root, "line"))
            assert f"M{left + width / 2:g} 0V" in paths
            assert not part.expanded or text == part.collapsed or f"V{height:g}" in paths, "and out of a frame again"


def test_fold_blocks_names_collapsed_blocks():
    parts = fold_blocks(kcnn.trace("googlenet", aux=True)).parts
    said = [ElementTree.fromstring(part.collapsed).get("aria-label") for part in parts]
    assert "inception_4b, inception_4c, inception_4d, inception_4e, inception_5a, inception_5b" in said[-1]
    assert "aux1" in said[-1]
    assert "aux2" in said[-1]
