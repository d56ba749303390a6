"""KerasHub's presets, from a folder and from a server that answers as the Hub does, give KerasHub's logits."""

import json
import sys
from importlib.util import find_spec

import h5py
import numpy as np
import pytest

import kcnn
from kcnn.graph.names import UnknownNameError
from kcnn.testing.checks import compute_logits
from tests.hub import COMMIT, serve
from tests.parity.compare import compare_preset, relative_difference
from tests.parity.presets import PRESETS, load_preset, write_preset
from tests.parity.seeded import pixels

SMALL = "mobilenet_v3_small_100"  # whose weights have 10 MB
NOMINAL = (SMALL, "resnet_18", "resnet_v2_50", "resnet_vd_50", "efficientnet_b0", "densenet_121", "xception_41")
CASES = [
    pytest.param(name, number, id=f"{name}-{'nominal' if number == 0 else 'odd'}")
    for name in PRESETS
    for number in ((0, -1) if name in NOMINAL else (-1,))
]


@pytest.fixture(scope="module")
def record():
    return load_preset(SMALL)


@pytest.fixture(scope="module")
def folder(record, tmp_path_factory):
    return write_preset(record, tmp_path_factory.mktemp("presets") / SMALL)


def copy(folder, target, **files):
    """A copy of a preset, with other files of a name, or without it where the content is None."""
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).symlink_to(file)
    for name, content in files.items():
        file = target / name.replace("__", ".")
        file.unlink()
        if content is not None:
            file.write_text(json.dumps(content))
    return target


def predict(model):
    return compute_logits(model, pixels(97, 131))


@pytest.mark.every
@pytest.mark.parametrize(("name", "number"), CASES)
def test_build_of_a_preset_gives_the_recorded_logits(name, number, tmp_path):
    record = load_preset(name)
    assert compare_preset(record, record["outputs"][number], tmp_path) <= 1e-4


def test_build_of_a_preset_without_names_of_layers_gives_the_recorded_logits(record, tmp_path):
    output = record["outputs"][-1]
    model = kcnn.build(write_preset(record, tmp_path / "old", has_names=False), input_shape=(*output["size"], 3))
    assert relative_difference(predict(model), output["logits"]) <= 1e-4


def test_build_of_a_preset_takes_over_classes_size_and_scaling(folder):
    model = kcnn.build(folder)
    assert model.output_shape == (None, 10)
    assert model.input_shape == (None, 224, 224, 3)
    assert model.metadata["preprocessing"] == {"resize": 224, "crop": 224, "interpolation": "bicubic"}


def test_build_with_weights_of_a_preset_keeps_a_new_head(record, folder):
    shape = (*record["outputs"][-1]["size"], 3)
    model = kcnn.build("mobilenet_v3_small.timm", weights=str(folder), classes=3, input_shape=shape)
    whole = kcnn.build(folder, input_shape=shape)
    assert model.output_shape == (None, 3)
    kernels = (one.get_layer("unit5_expand").get_weights()[0] for one in (model, whole))
    np.testing.assert_array_equal(*kernels)


def test_build_of_a_preset_by_address_pins_the_commit(record, folder, tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    server = serve()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    server.add(f"keras/{SMALL}", {file.name: file.read_bytes() for file in folder.iterdir()})
    output = record["outputs"][-1]
    model = kcnn.build(f"hf://keras/{SMALL}", input_shape=(*output["size"], 3))
    server.shutdown()
    assert relative_difference(predict(model), output["logits"]) <= 1e-4
    assert model.metadata["weights"]["url"] == f"hf://keras/{SMALL}@{COMMIT}"


def test_build_of_a_preset_without_classifier_has_none(folder, tmp_path):
    bare = copy(folder, tmp_path / "bare", task__json=None)
    (bare / "task.weights.h5").unlink()
    shape = {"input_shape": (64, 64, 3)}
    assert kcnn.build(bare, top=False, **shape).output_shape == (None, 2, 2, 576)
    assert kcnn.build(bare, classes=3, **shape).output_shape == (None, 3)
    with pytest.raises(ValueError, match="for a new head, build with top=False or with another number of classes"):
        kcnn.build(bare, **shape)


def test_build_of_a_preset_refuses_another_network_and_another_scaling(folder):
    with pytest.raises(ValueError, match=r"KerasHub's mobilenet_v3_small_100, .*; build mobilenet_v3_small.timm"):
        kcnn.build("mobilenet_v3_small", weights=folder)
    with pytest.raises(ValueError, match="scales pixels by"):
        kcnn.build("mobilenet_v3_small.timm", weights=folder, overrides={"rescale.offset": 0.0})


def test_build_of_a_preset_names_the_backbones_that_load(record, folder, tmp_path):
    config = record["configs"]["config.json"] | {"registered_name": "keras_hub>MiTBackbone"}
    other = copy(folder, tmp_path / "other", config__json=config)
    with pytest.raises(UnknownNameError, match="other is KerasHub's MiTBackbone, which kcnn does not have; presets of"):
        kcnn.build(other)


def test_build_of_a_preset_imports_nothing_that_its_files_name(record, folder, tmp_path, monkeypatch):
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    named = {file: {**config, "module": "evil_module"} for file, config in record["configs"].items()}
    other = copy(folder, tmp_path / "other", **{file.replace(".", "__"): config for file, config in named.items()})
    assert kcnn.build(other).count_params() == kcnn.build(folder).count_params()
    assert "evil_module" not in sys.modules


@pytest.mark.parametrize("value", [None, [], {"image_converter": 3}, {"image_converter": {"config": {"scale": "x"}}}])
def test_build_of_a_damaged_preset_says_what_is_wrong(folder, tmp_path, value):
    other = copy(folder, tmp_path / "other", preprocessor__json={"config": value})
    with pytest.raises(ValueError, match=r"config\.json is not that of a timm checkpoint or a KerasHub preset"):
        kcnn.build(other)


def test_build_of_a_preset_refuses_weights_that_are_missing_or_of_another_shape(folder, tmp_path):
    other = copy(folder, tmp_path / "other")
    (other / "task.weights.h5").unlink()
    with pytest.raises(kcnn.weights.DownloadError, match=r"has no file task.weights.h5"):
        kcnn.build(other)
    with h5py.File(other / "task.weights.h5", "w") as opened:
        group = opened.create_group("layers/dense/vars")
        group.attrs["name"] = "predictions"
        group.create_dataset("0", data=np.zeros((5, 10), "float32"))
    with pytest.raises(ValueError, match=r"logits/kernel \(\(5, 10\) in the file, \(1024, 10\) here\)"):
        kcnn.build(other)


@pytest.mark.every
@pytest.mark.skipif(not find_spec("keras_hub"), reason="keras_hub is not installed")
def test_record_equals_what_keras_hub_computes(record):
    from tests.parity.record_keras_hub import record_preset

    again = record_preset(SMALL)
    assert again["configs"] == record["configs"]
    for one, other in zip(again["outputs"], record["outputs"], strict=True):
        assert relative_difference(one["logits"], other["logits"]) <= 1e-4
