"""What publishers state about their weights and networks: checksums, preprocessing, normalization, licenses."""

from importlib.util import find_spec
from pathlib import Path

import pytest

import kcnn
from kcnn.architectures.licenses import forbids_commercial_use
from kcnn.graph.ops import BatchNorm, Rescale
from tests.catalogue import NETWORKS


def test_keras_weights_have_the_checksums_that_keras_states():
    sources = Path(find_spec("keras").origin).parent / "src" / "applications"
    stated = "\n".join(path.read_text() for path in sorted(sources.glob("*.py")))
    ours = {
        (weights.url.rpartition("/")[2], weights.checksum)
        for name in NETWORKS
        for weights in kcnn.get_architecture(name).weights
        if weights.source == "keras.applications"
    }
    unstated = {file for file, checksum in ours if not checksum or checksum.partition(":")[2] not in stated}
    assert len(ours) == 160
    assert {file for file in unstated if not file.startswith("mobilenet_")} == set()  # v1 and v2 have none


@pytest.mark.parametrize(
    ("name", "norm"),
    [  # tensorflow/models, official/vision; torchvision.models.mnasnet; keras.applications.nasnet
        ("mobilenet_v4_conv_small", BatchNorm(epsilon=1e-6, momentum=0.95)),
        ("mobilenet_v4_conv_medium", BatchNorm(epsilon=1e-3, momentum=0.997)),
        ("mnasnet1_0", BatchNorm(epsilon=1e-3, momentum=0.99)),
        ("mnasnet1_0.torchvision", BatchNorm(momentum=0.9997)),
        ("nasnet_mobile.keras", BatchNorm(epsilon=1e-3, momentum=0.9997)),
    ],
)
def test_network_normalizes_as_its_authors_code_does(name, norm):
    assert {layer.op for layer in kcnn.summary(name).layers if isinstance(layer.op, BatchNorm)} == {norm}


def test_squeezenet_subtracts_the_means_of_its_authors_code():
    assert kcnn.get_architecture("squeezenet1_1").rescale == Rescale(1.0, (-123.0, -117.0, -104.0))


@pytest.mark.parametrize(
    ("name", "resize", "interpolation"),
    [
        ("efficientnet_v2_b3", 332, "bicubic"),
        ("efficientnet_v2_s", 384, "bilinear"),
        ("efficientnet_b7", 632, "bicubic"),
    ],
)
def test_efficientnet_is_evaluated_as_by_its_authors(name, resize, interpolation):
    weights = kcnn.get_architecture(name).weights[0]
    assert (weights.resize, weights.interpolation) == (resize, interpolation)


@pytest.mark.parametrize(
    ("license", "forbids"),
    [
        ("cc-by-nc-4.0", True),
        ("fair-noncommercial-research-license", True),
        ("seer-license", True),  # "solely for your non-commercial research purposes"
        ("apache-2.0", False),
        ("dinov3-license", False),
        ("mobileone-license", False),
    ],
)
def test_non_commercial_recognizes_the_licenses_of_timm(license, forbids):
    assert forbids_commercial_use(license) is forbids
