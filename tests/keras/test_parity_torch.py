"""The same weights give the same logits in networks of kcnn, torchvision and timm.

tests/parity/record.py recorded their outputs. The weights are computed here from their names, so torch is not needed.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import kcnn
from kcnn.blocks import conv
from tests.parity.compare import NETWORKS, build_state, compare_record, find_network, relative_difference
from tests.parity.seeded import CLASSES

ONE_EACH = (
    "alexnet.torchvision",
    "googlenet.torchvision",
    "inception_v3.torchvision",
    "resnet18.torchvision",
    "resnet50_v2.timm",
    "resnet50x1_bit",
    "convnext_atto",
    "convnext_v2_atto",
    "seresnet50",
    "resnet18d",
    "repvgg_a0",
    "mobileone_s1",
    "regnet_y_400mf",
    "efficientnet_b0.torchvision",
    "mnasnet0_5.torchvision",
    "mobilenet_v4_conv_small.timm",
    "lcnet_0_5",
    "densenet121",
    "res2net50_26w_4s",
    "dpn68",
    "shufflenet_v2_x0_5",
    "ghostnet_0_5",
    "squeezenet1_1.torchvision",
    "dla34",
    "ese_vovnet19b_dw",
    "mobilenet_v2.torchvision",
    "mobilenet_v3_small.torchvision",
    "timm/mobilenetv3_small_100",
)
CASES = [  # at an odd size that is not square; one of each family at the nominal one too, which is dear
    pytest.param(
        name,
        number,
        id=f"{name}-{'nominal' if number == 0 else 'odd'}",
        marks=() if name in ONE_EACH and number == -1 else pytest.mark.every,
    )
    for name, record in NETWORKS.items()
    for number in ((0, -1) if len(record["outputs"]) > 1 and name in ONE_EACH else (-1,))
]


@pytest.mark.parametrize(("name", "number"), CASES)
def test_load_weights_of_a_state_dict_gives_the_recorded_logits(name, number, tmp_path):
    (network, options), publisher = find_network(name), name.partition("@")[2]
    output = NETWORKS[name]["outputs"][number]
    difference, mapping = compare_record(network, NETWORKS[name], output, tmp_path, options)
    assert mapping == publisher or not publisher
    assert difference <= 1e-4


def test_load_weights_reports_auxiliary_classifiers_as_unused(tmp_path):
    file = tmp_path / "theirs.safetensors"
    save_file(build_state("googlenet.torchvision"), file)
    report = kcnn.load_weights(kcnn.build("googlenet.torchvision", classes=CLASSES), file)
    assert {name.partition(".")[0] for name in report.unused} == {"aux1", "aux2"}
    assert not report.unexpected


def test_build_reads_a_file_of_pytorch_without_it(tmp_path):
    file = Path(__file__).parents[1] / "parity" / "archive.pth"
    architecture = kcnn.Architecture(
        backbone=lambda x: conv(x, 2, 2, padding="valid", bias=False, name="conv"),
        input_shape=(4, 4, 3),
        reference="none",
    )
    model = kcnn.build(architecture, top=False)
    with pytest.warns(UserWarning, match="1 tensors match"):
        kcnn.load_weights(model, file, strict=False)
    kernel = model.get_layer("conv").get_weights()[0]
    np.testing.assert_array_equal(kernel, np.arange(24.0).reshape(2, 3, 2, 2).transpose(2, 3, 1, 0))


@pytest.mark.every
@pytest.mark.skipif(not find_spec("torchvision"), reason="torch and torchvision are not installed")
def test_record_equals_what_torchvision_computes():
    from tests.parity.record import record_network

    recorded = NETWORKS["resnet18.torchvision"]["outputs"][-1]
    record = record_network("torchvision", "resnet18", recorded["size"])
    assert relative_difference(np.array(record["outputs"][0]["logits"]), recorded["logits"]) <= 1e-4
