"""Figures of networks: an SVG of a graph, for a slide or a page."""

from collections.abc import Callable

from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_integer, check_kind
from kcnn.graph.graph import Graph
from kcnn.graph.names import unknown
from kcnn.graph.overrides import compile_glob
from kcnn.plots.network import render
from kcnn.plots.network.boxes import build_boxes
from kcnn.plots.network.layout import lay_out
from kcnn.plots.network.regions import collapse_blocks, expand_layers, find_regions, group_blocks

COLOR_BY = ("macs", "params")


@check_arguments
def plot_network(
    graph: Graph,
    *,
    color_by: str = "macs",
    layers: bool = False,
    expand: str | Callable[[str], bool] = "*",
    columns: int | None = None,
) -> str:
    """Plot a network as an SVG: a box for each convolution with its normalization and activation, in blocks.

    Args:
        graph: The network, from kcnn.trace.
        color_by: Quantity that the colors show, "macs" or "params".
        layers: Whether to draw a box for each layer.
        expand: Blocks to draw with their boxes, as a glob or a function of the name; the others are one box each.
        columns: Number of columns; None chooses as many as suit a slide.

    Returns:
        The SVG as text.

    Raises:
        UnknownNameError: color_by is unknown.
        ValueError: columns is not a positive integer.
    """
    check_kind("graph", graph, Graph, "a graph from kcnn.trace or kcnn.from_keras")
    check_kind("color_by", color_by, str, "text")
    if color_by not in COLOR_BY:
        raise unknown("color_by", color_by, COLOR_BY, graph.name)
    if columns is not None:
        columns = check_integer("columns", columns, 1, "a positive integer", graph.name)
    if not callable(expand):
        check_kind("expand", expand, str, "a glob or a function of the name", graph.name)
    boxes = build_boxes(graph)
    regions = group_blocks(find_regions(boxes), boxes)
    if layers:
        regions, boxes = expand_layers(regions, boxes)
    is_open = expand if callable(expand) else lambda name: bool(compile_glob(expand)(name))
    regions, boxes = collapse_blocks(regions, boxes, is_open)
    sizes = [render.measure_box(box, layers) for box in boxes.boxes]
    return render.render_svg(graph, boxes, lay_out(regions, boxes, sizes, columns), color_by, layers)
