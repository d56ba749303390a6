"""The same weights give the same logits in networks of kcnn and of keras.applications."""

import keras
import pytest

import kcnn
from tests.parity.compare import APPLICATIONS, build_application, build_both, compare_logits, randomize

ONE_EACH = (
    "vgg16.keras",
    "resnet50.keras",
    "efficientnet_b0",
    "mobilenet_v3_small",
)
DEAR = (  # measured for docs/parity.md only
    *(f"efficientnet_b{n}" for n in (2, 4, 5, 7)),
    "efficientnet_v2_b2",
    "efficientnet_v2_l",
)
CASES = [
    pytest.param(case, id=case.title, marks=() if case.title in ONE_EACH else pytest.mark.every)
    for case in APPLICATIONS
    if case.network not in DEAR
]


@pytest.mark.parametrize("case", CASES)
def test_load_weights_of_keras_applications_gives_the_same_logits(case, tmp_path):
    ours, theirs, prepare = build_both(case, case.size, tmp_path)
    scaling = [layer for layer in theirs.layers if isinstance(layer, keras.layers.Normalization)]
    assert ours.count_params() == theirs.count_params() - sum(layer.count_params() for layer in scaling)
    assert kcnn.summary(kcnn.from_keras(ours)).macs == kcnn.summary(kcnn.from_keras(theirs)).macs
    assert compare_logits(ours, theirs, prepare, case.size) <= 1e-4


@pytest.mark.parametrize("ending", ["h5", pytest.param("keras", marks=pytest.mark.every)])
@pytest.mark.filterwarnings("ignore:.*HDF5:UserWarning")
def test_load_weights_reads_models_of_keras_wherever_their_layer_numbers_start(ending, tmp_path):
    keras.layers.Conv2D(1, 1)  # the first numbered layer of the model below is not the first of this process
    theirs, prepare = build_application("inception_v3.InceptionV3", (75, 75))
    randomize(theirs)
    file = tmp_path / f"theirs.{ending}"
    theirs.save(file)
    ours = kcnn.build("inception_v3.keras", classes=10, input_shape=(75, 75, 3))
    report = kcnn.load_weights(ours, file)
    assert len(report.matched) == len(ours.weights)
    assert report.mapping == "keras"
    assert compare_logits(ours, theirs, prepare, (75, 75)) <= 1e-4
