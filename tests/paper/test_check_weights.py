"""Weights of another network, and data of other classes, are refused before Keras is loaded."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

import kcnn
from kcnn.weights.formats import StoredWeights
from kcnn.weights.packaged import FOLDER
from kcnn.weights.weight_files import check_weights, find_misfits

DEMO = FOLDER / "convnet.safetensors"
RECORDS = sorted(Path(__file__).parents[1].joinpath("parity").glob("*.json.gz"))


@pytest.fixture
def no_keras(monkeypatch):
    for name in ("train", "transfer", "predict"):
        monkeypatch.setattr(f"kcnn.cli.{name}.start_backend", lambda *_: pytest.fail("Keras is loaded"))


@pytest.mark.parametrize(
    "words",
    [
        ("train", "resnet20", "--data", "digits:0-1", "--input-size", "16x16x1"),
        ("transfer", "--network", "resnet20", "--data", "digits:0-1", "--input-size", "16x16x1"),
        ("evaluate", "resnet20", "--data", "digits:0-1"),
        ("predict", "resnet20", "photo.png"),
    ],
    ids=lambda words: words[0],
)
def test_cli_refuses_weights_of_another_network_before_keras_is_loaded(words, command, no_keras, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command(*words, "--weights", str(DEMO))
    assert done.returncode == 2
    expected = f"{DEMO} does not fit resnet20: stem (the file has no 'stem'), stem_bn (the file has no 'stem_bn'), "
    assert expected in done.stderr
    assert done.stderr.endswith("it was written by convnet\n")
    assert not list(tmp_path.iterdir())


def test_check_weights_takes_other_classes_colors_and_overrides_of_a_network():
    for shape, classes in (((32, 32, 1), 10), ((64, 64, 3), 2)):
        spec = kcnn.ModelSpec(network="convnet", options={"activation": "relu"}, input_shape=shape, classes=classes)
        assert check_weights(spec.trace(), DEMO) is None
    check_weights(kcnn.trace("convnet", input_shape=(32, 32, 1), overrides={"conv2.kernel": 5}), DEMO)


def test_check_weights_refuses_kernels_of_another_size(tmp_path):
    tensors = load_file(DEMO)
    tensors["conv2/kernel"] = np.zeros((5, 5, *tensors["conv2/kernel"].shape[2:]), "float32")
    save_file(tensors, tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match=r"does not fit convnet: conv2 \([\d,]+ numbers in the file, [\d,]+ here\)$"):
        check_weights(kcnn.trace("convnet"), tmp_path / "net.safetensors")


def test_check_weights_of_a_name_says_what_is_published():
    assert check_weights(kcnn.trace("resnet50.torchvision"), "imagenet").source == "torchvision"
    with pytest.raises(ValueError, match="resnet20 has no published weights"):
        check_weights(kcnn.trace("resnet20"), "imagenet")


@pytest.mark.parametrize("file", RECORDS, ids=lambda file: file.name.partition(".")[0])
def test_find_misfits_takes_the_first_network_of_each_recorded_family_and_no_other(file):
    """Of torchvision and timm, by the names and shapes of their tensors."""
    networks = {
        name.partition("@")[0]: record
        for name, record in json.loads(gzip.decompress(file.read_bytes()))["networks"].items()
        if not name.startswith("timm/")  # which have options
    }
    for name in list(networks)[:1]:
        layers = {}
        for key, shape in networks[name]["state"].items():
            layer, _, variable = key.rpartition(".")
            layers.setdefault(layer, {})[variable] = np.broadcast_to(np.float32(0), shape)
        stored = StoredWeights("torch", layers, {})
        assert find_misfits(kcnn.trace(name), stored) == ""
        assert find_misfits(kcnn.trace("mobilenet_v1" if name != "mobilenet_v1" else "vgg11"), stored)


def test_cli_evaluate_refuses_other_classes_before_weights_are_downloaded(command, no_keras, tmp_path, monkeypatch):
    monkeypatch.setenv("KCNN_CACHE", str(tmp_path / "cache"))
    photos = make_photos(tmp_path)
    done = command("evaluate", "vgg16.torchvision", "--data", str(photos))
    assert done.returncode == 2
    assert done.stderr.endswith(
        f"error: {photos} has the classes cat, dog; expected those of the model: tench, goldfish, great white shark, "
        "tiger shark, hammerhead, electric ray and 994 more\n"
    )


def make_photos(folder):
    for name in ("cat", "dog"):
        path = folder / "photos" / name / "1.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(path)
    return folder / "photos"
