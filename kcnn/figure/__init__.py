"""The figure of a network: an SVG drawn from its sketch, for a slide or a page."""

from collections.abc import Callable

from kcnn.drawing import Drawing
from kcnn.figure import render
from kcnn.figure.boxes import graph
from kcnn.figure.layout import laid_out
from kcnn.figure.regions import blocks, closed, regions, unfolded
from kcnn.sketch import matcher

COLOURS = ("macs", "params")


def svg(
    drawing: Drawing,
    *,
    colour: str = "macs",
    layers: bool = False,
    open: str | Callable[[str], bool] = "*",
    columns: int | None = None,
) -> str:
    """A network as an SVG: boxes as wide as their channels are many, coloured by "macs" or "params".

    A box is a convolution with what normalises and activates it, or with `layers` every layer. Blocks stand in
    frames; those whose names do not answer to `open`, a glob or a function, are one box each. `columns` is how
    many the figure has; where nothing is said, as many as suit a slide.
    """
    if colour not in COLOURS:
        raise ValueError(f"{drawing.name}: a figure is coloured by {' or '.join(COLOURS)}, not {colour!r}")
    if columns is not None and (type(columns) is not int or columns < 1):
        raise ValueError(f"{drawing.name}: columns is a whole number of at least 1, not {columns!r}")
    made = graph(drawing)
    parts = blocks(regions(made), made)
    if layers:
        parts, made = unfolded(parts, made)
    parts, made = closed(parts, made, open if callable(open) else lambda name: bool(matcher(open)(name)))
    sizes = [render.size(box, layers) for box in made.boxes]
    return render.text(drawing, made, laid_out(parts, made, sizes, columns), colour, layers)
