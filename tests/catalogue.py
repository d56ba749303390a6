"""The networks that tests run over: everything that is installed, and one per family."""

import pytest

import kcnn

NETWORKS = [
    full
    for name in kcnn.list_models()
    for full in (name, *(f"{name}.{v}" for v in kcnn.get_architecture(name).variants))
]
ONE_PER_FAMILY = [
    "mlp",
    "convnet",
    "lenet5",
    "alexnet",
    "vgg11_bn",
    "googlenet",
    "squeezenet1_1",
    "resnet18",
    "resnet50.keras",
    "resnet50_v2.keras",
    "res2net50_26w_4s",
    "dpn68",
    "resnet50x1_bit",
    "resnet20",
    "seresnet18",
    "resnet18d",
    "repvgg_a0",
    "regnet_y_400mf",
    "densenet121",
    "darknet53",
    "dla34",
    "ese_vovnet19b_dw",
    "inception_v3",
    "xception",
    "efficientnet_b0",
    "convnext_v2_atto",
    "mnasnet0_5",
    "lcnet_0_5",
    "mobilenet_v4_conv_small",
    "shufflenet_v2_x0_5",
    "ghostnet_0_5",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobileone_s1",
]
THOROUGH = [  # that the whole suite runs over in `make test`
    "mlp",
    "convnet",
    "lenet5",
    "googlenet",
    "resnet20",
    "mobilenet_v3_small",
]
OF_ITS_OWN = [  # that it runs over in `make test-all`, for an op, a block or a head that no network above has
    "alexnet",
    "vgg11_bn",
    "squeezenet1_1",
    "resnet18",
    "resnet50_v2.keras",
    "resnet18d",
    "repvgg_a0",
    "regnet_y_400mf",
    "densenet121",
    "dla34",
    "inception_v3",
    "efficientnet_b0",
    "convnext_v2_atto",
    "mobilenet_v4_conv_small",
    "shufflenet_v2_x0_5",
    "ghostnet_0_5",
    "mobilenet_v2",
]
REST = [name for name in NETWORKS if name not in ONE_PER_FAMILY]


def divide(names):
    """Parameters of a test of several networks in one: those of a list, and the rest in `make test-all`."""
    rest = [name for name in NETWORKS if name not in names]
    return [pytest.param(names, id="sampled"), pytest.param(rest, id="rest", marks=pytest.mark.every)]
