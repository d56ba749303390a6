"""The figure of a network: an SVG drawn from its sketch, for a slide or a page."""

from collections.abc import Callable

from kcnn.graph.graph import Graph
from kcnn.graph.overrides import compile_glob
from kcnn.plots.network import render
from kcnn.plots.network.boxes import build_boxes
from kcnn.plots.network.layout import lay_out
from kcnn.plots.network.regions import collapse_blocks, expand_layers, find_regions, group_blocks

COLOR_BY = ("macs", "params")


def plot_network(
    drawing: Graph,
    *,
    color_by: str = "macs",
    layers: bool = False,
    expand: str | Callable[[str], bool] = "*",
    columns: int | None = None,
) -> str:
    """A network as an SVG: boxes as wide as their channels are many, coloured by "macs" or "params".

    A box is a convolution with what normalises and activates it, or with `layers` every layer. Blocks stand in
    frames; those whose names do not answer to `open`, a glob or a function, are one box each. `columns` is how
    many the figure has; where nothing is said, as many as suit a slide.
    """
    if color_by not in COLOR_BY:
        raise ValueError(f"{drawing.name}: a figure is coloured by {' or '.join(COLOR_BY)}, not {color_by!r}")
    if columns is not None and (type(columns) is not int or columns < 1):
        raise ValueError(f"{drawing.name}: columns is a whole number of at least 1, not {columns!r}")
    made = build_boxes(drawing)
    parts = group_blocks(find_regions(made), made)
    if layers:
        parts, made = expand_layers(parts, made)
    parts, made = collapse_blocks(
        parts, made, expand if callable(expand) else lambda name: bool(compile_glob(expand)(name))
    )
    sizes = [render.measure_box(box, layers) for box in made.boxes]
    return render.render_svg(drawing, made, lay_out(parts, made, sizes, columns), color_by, layers)
