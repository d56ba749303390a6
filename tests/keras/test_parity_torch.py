"""The same weights give the same logits in kcnn's networks as in torchvision's and timm's.

Their outputs were recorded by tests/parity/record.py. The weights are made here, from their names, so
no torch is needed; where it is installed, its own files are read too.
"""

import gzip
import json
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

import kcnn
from tests.parity.seeded import CLASSES, pixels, seeded

RECORDED = json.loads(gzip.decompress(Path(__file__).parents[1].joinpath("parity", "torch.json.gz").read_bytes()))
NETWORKS = RECORDED["networks"]
ONE_EACH = (
    "alexnet.torchvision",
    "googlenet.torchvision",
    "inception_v3.torchvision",
    "resnet18.torchvision",
    "resnet50_v2.timm",
    "mobilenet_v2.torchvision",
    "mobilenet_v3_small.torchvision",
)
MARKED = [pytest.param(name, marks=() if name in ONE_EACH else pytest.mark.every) for name in NETWORKS]


def state_of(name):
    return {key: seeded(key, tuple(shape)) for key, shape in NETWORKS[name]["state"].items()}


def apart(a, b):
    """The largest difference, relative to the largest value."""
    return np.abs(a - np.array(b)).max() / np.abs(b).max()


@pytest.mark.parametrize("name", MARKED)
def test_a_state_dict_gives_the_recorded_logits(name, tmp_path):
    wanted = NETWORKS[name]
    side = wanted["side"]
    file = tmp_path / "theirs.safetensors"
    save_file(state_of(name), file)
    model = kcnn.build(name, classes=CLASSES, input_shape=(side, side, 3), aux=bool(wanted["sides"]))
    report = kcnn.load_weights(model, file)
    assert len(report.matched) == len(model.weights)
    assert apart(model.predict(pixels(side), verbose=0), wanted["logits"]) <= 1e-4
    for number, logits in enumerate(wanted["sides"], 1):
        head = keras.Model(model.inputs, model.get_layer(f"aux{number}_logits").output)
        assert apart(head.predict(pixels(side), verbose=0), logits) <= 1e-4


def test_weights_of_auxiliary_classifiers_are_left_out_where_the_model_has_none(tmp_path):
    file = tmp_path / "theirs.safetensors"
    save_file(state_of("googlenet.torchvision"), file)
    report = kcnn.load_weights(kcnn.build("googlenet.torchvision", classes=CLASSES), file)
    assert {name.partition(".")[0] for name in report.unused} == {"aux1", "aux2"}
    assert not report.unexpected


def test_pytorchs_own_file_is_read_without_unpickling_what_it_may_hold(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    name, side = "mobilenet_v3_small.torchvision", 97
    file = tmp_path / "theirs.pth"
    state = {key: torch.from_numpy(value) for key, value in state_of(name).items()}
    torch.save(state | {"features.0.1.num_batches_tracked": torch.tensor(7)}, file)
    model = kcnn.build(name, classes=CLASSES, input_shape=(side, side, 3), weights=file)
    assert apart(model.predict(pixels(side), verbose=0), NETWORKS[name]["logits"]) <= 1e-4
    torch.save({"weights": state, "evil": Evil()}, file)
    with pytest.raises(ValueError, match="damaged, or no file of weights"):
        kcnn.load_weights(model, file)
    assert not Evil.ran


class Evil:
    """What a pickle may do to whoever loads it."""

    ran = False

    def __reduce__(self):
        return setattr, (Evil, "ran", True)


@pytest.mark.skipif(bool(find_spec("torch")), reason="torch is installed")
def test_pytorchs_own_file_without_torch_says_what_to_install(tmp_path):
    file = tmp_path / "theirs.pth"
    file.write_bytes(b"PK\x05\x06" + bytes(18))  # an empty zip archive, as PyTorch's files are
    with pytest.raises(ImportError, match=r'pip install "kcnn\[torch\]"'):
        kcnn.build("convnet", weights=file)


@pytest.mark.every
@pytest.mark.skipif(not find_spec("torchvision"), reason="torch and torchvision are not installed")
def test_the_record_is_what_torchvision_gives_today():
    from tests.parity.record import recorded

    found = recorded("torchvision", "resnet18", 97)
    assert apart(np.array(found["logits"]), NETWORKS["resnet18.torchvision"]["logits"]) <= 1e-4
