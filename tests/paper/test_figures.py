"""Plots of classes with many and long names: no text lies over another."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from kcnn.graph.formatting import shorten_names
from kcnn.plots import figures

NAMES = [f"a very long class name of about sixty characters {n:05} $x$ <&" for n in range(120)]


def find_overlaps(figure):
    """Pairs of tick labels and titles of a figure that lie over each other, or outside of it."""
    figures.show_names_as_they_are(figure)
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()  # which places them as drawing does
    texts = [axes.title for axes in figure.axes]
    for axes in (axes for axes in figure.axes if axes.axison):
        low, high = axes.get_xlim()
        texts += [text for text in axes.get_xticklabels() if low <= text.get_position()[0] <= high]
        texts += axes.get_yticklabels()
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]
    outside = [name for name, box in boxes if box.x0 < 0 or box.y0 < 0 or box.x1 > canvas.get_width_height()[0]]
    return outside + [(a, b) for (a, first), (b, second) in combinations(boxes, 2) if first.overlaps(second)]


@pytest.mark.parametrize("count", [3, 40])
def test_plot_confusion_matrix_fits_long_names(count):
    figure = figures.plot_confusion_matrix(np.eye(count), NAMES[:count], "title")
    assert find_overlaps(figure) == []
    assert figure.axes[0].get_position().width > 0.3, "names leave room for the matrix"


def test_plot_per_class_shows_the_lowest_of_many_classes():
    figure = figures.plot_per_class({name: {"recall": n / 200} for n, name in enumerate(NAMES)}, "recall", "title")
    assert find_overlaps(figure) == []
    assert len(figure.axes[0].patches) == figures.MAX_BARS
    assert max(bar.get_width() for bar in figure.axes[0].patches) == (figures.MAX_BARS - 1) / 200


def test_plot_grid_wraps_long_titles():
    assert find_overlaps(figures.plot_grid([(np.zeros((8, 8, 3)), name) for name in NAMES[:12]], "title")) == []


def test_shorten_names_keeps_names_apart():
    assert shorten_names(["short", "x" * 40], 11) == ["short", "xxxxx…xxxxx"]
    assert shorten_names(["x" * 40, "x" * 41, "y"], 11) == ["xxxxx…xxxxx (1)", "xxxxx…xxxxx (2)", "y"]
