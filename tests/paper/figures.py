"""What the tests of figures read in an SVG."""

from kcnn.graph.tracing import topological_order

DRAWN = (  # networks whose layers are connected as in no other of these
    "mlp",
    "lenet5",
    "googlenet",
    "squeezenet1_1",
    "resnet18",
    "resnet18d",
    "res2net50_26w_4s",
    "dpn68",
    "repvgg_a0",
    "densenet121",
    "dla34",
    "ese_vovnet19b_dw",
    "inception_v3",
    "convnext_v2_atto",
    "shufflenet_v2_x0_5",
    "ghostnet_0_5",
    "mobilenet_v3_small",
)
SVG = "{http://www.w3.org/2000/svg}"


def layers(drawing):
    return topological_order(*drawing.outputs.values())


def drawn(root, kind):
    return [one for one in root.iter() if kind in one.get("class", "").split()]
