"""What the tests of figures read in an SVG."""

from kcnn.graph.tracing import topological_order

SVG = "{http://www.w3.org/2000/svg}"


def layers(drawing):
    return topological_order(*drawing.outputs.values())


def drawn(root, kind):
    return [one for one in root.iter() if kind in one.get("class", "").split()]
