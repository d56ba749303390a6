"""Publications: weights, config and model card in a folder, read back by kcnn and by timm, and uploaded to the Hub."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

import kcnn
from kcnn.weights.hub import list_published_models
from kcnn.weights.timm_form import find_timm_name, make_timm_config, make_timm_tensors
from tests.hub import serve
from tests.keras.test_parity_torch import NETWORKS, build_state
from tests.parity.seeded import CLASSES, pixels

FILES = ["README.md", "config.json", "model.safetensors"]
TIMM = [
    pytest.param(name, marks=() if name in ("resnet18.torchvision", "resnet50_v2.timm") else pytest.mark.every)
    for name in sorted(NETWORKS)
    if name in {network for network, options in list_published_models("timm").values() if not options}
    and find_timm_name(kcnn.trace(name))
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    data = kcnn.data.load("digits", input_shape=(8, 8, 1)).subset(train=64, validation=16, test=20)
    kcnn.train("mlp", data, out=folder, epochs=1, log=lambda _: None)
    return folder


@pytest.fixture
def resnet_run(run, tmp_path):
    """A run whose model is a ResNet-18 with seeded weights."""
    folder = tmp_path / "resnet"
    shutil.copytree(run, folder)
    model = kcnn.build("resnet18.torchvision", classes=CLASSES, input_shape=(97, 131, 3))
    weights = tmp_path / "seeded.safetensors"
    kcnn.weights.loading.save_tensors(build_state("resnet18.torchvision"), {}, weights)
    kcnn.load_weights(model, weights)
    model.update_metadata(classes=[f"class {number}" for number in range(CLASSES)])
    model.save(folder / "model.keras")
    return folder


def test_publish_writes_kcnns_form_that_build_reads_back(run, tmp_path):
    result = kcnn.publish(run, tmp_path / "to", license="apache-2.0")
    assert result.timm_name is None
    assert sorted(file.name for file in result.folder.iterdir()) == FILES
    trained, model = kcnn.load_model(run / "model.keras"), kcnn.build(f"local-dir:{result.folder}")
    images = pixels(8, 8)[..., :1]
    np.testing.assert_array_equal(model.predict(images, verbose=0), trained.predict(images, verbose=0))
    assert model.metadata["classes"] == trained.metadata["classes"] == [str(number) for number in range(10)]
    assert model.metadata["weights"]["license"] == "apache-2.0"


@pytest.mark.parametrize("name", TIMM)
def test_make_timm_tensors_gives_the_names_shapes_and_values_of_timm(name, tmp_path):
    state = build_state(name)
    model = kcnn.build(name, classes=CLASSES)
    kcnn.weights.loading.save_tensors(state, {}, tmp_path / "theirs.safetensors")
    kcnn.load_weights(model, tmp_path / "theirs.safetensors")
    tensors = make_timm_tensors(model, kcnn.trace(name, classes=CLASSES))
    expected = {key: array for key, array in state.items() if "num_batches" not in key}
    assert {key: array.shape for key, array in tensors.items()} == {key: a.shape for key, a in expected.items()}
    assert all(np.array_equal(array, expected[key]) for key, array in tensors.items())


def test_publish_writes_timms_form_where_timm_has_the_network(resnet_run, tmp_path):
    result = kcnn.publish(resnet_run, tmp_path / "to")
    config = json.loads((result.folder / "config.json").read_text())
    about = config["pretrained_cfg"]
    assert (result.timm_name, config["architecture"], config["num_classes"]) == ("resnet18", "resnet18", CLASSES)
    assert config["label_names"] == [f"class {number}" for number in range(CLASSES)]
    assert (about["input_size"], about["crop_pct"], about["interpolation"]) == ([3, 97, 131], 1, "bilinear")
    assert (about["first_conv"], about["classifier"]) == ("conv1", "fc")
    np.testing.assert_allclose(about["mean"], [0.485, 0.456, 0.406])
    np.testing.assert_allclose(about["std"], [0.229, 0.224, 0.225])
    assert "fc.weight" in load_file(result.folder / "model.safetensors")
    model, trained = kcnn.build(f"local-dir:{result.folder}"), kcnn.load_model(resnet_run / "model.keras")
    images = pixels(97, 131)
    np.testing.assert_array_equal(model.predict(images, verbose=0), trained.predict(images, verbose=0))
    assert model.metadata["classes"] == config["label_names"]


def test_published_folder_gives_the_same_logits_in_timm(resnet_run, tmp_path):
    timm = pytest.importorskip("timm", reason="timm is not installed")
    torch = pytest.importorskip("torch", reason="torch is not installed")
    result = kcnn.publish(resnet_run, tmp_path / "to")
    model = timm.create_model(f"local-dir:{result.folder}", pretrained=True).eval()
    images = pixels(97, 131)
    scaled = (images / 255 - np.array(model.pretrained_cfg["mean"])) / np.array(model.pretrained_cfg["std"])
    logits = model(torch.from_numpy(scaled.transpose(0, 3, 1, 2).astype("float32"))).detach().numpy()
    expected = kcnn.load_model(resnet_run / "model.keras").predict(images, verbose=0)
    assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()


def test_make_timm_config_folds_gray_images_and_another_scaling():
    graph = kcnn.trace("resnet18.torchvision", input_shape=(64, 64, 1), classes=2)
    metadata = {"classes": 2, "classifier": "logits"}
    assert make_timm_config(graph, "resnet18", metadata, None)["pretrained_cfg"]["input_size"] == [3, 64, 64]
    moved = {"rescale.scale": (1 / 255, 1 / 51, 1 / 255), "rescale.offset": (0.0, -2.5, 0.0)}  # deviations 1, 0.2, 1
    graph = kcnn.trace("resnet18.torchvision", overrides=moved)
    about = make_timm_config(graph, "resnet18", metadata, None)["pretrained_cfg"]
    np.testing.assert_allclose((about["mean"], about["std"]), ([0, 0.5, 0], [1, 0.2, 1]), atol=1e-12)


@pytest.mark.parametrize(
    "keywords",
    [{"overrides": {"stem.kernel": 5}}, {"top": False}, {"activation": "softmax"}, {"outputs": ["stage2"]}],
)
def test_find_timm_name_leaves_other_networks_to_kcnn(keywords):
    assert find_timm_name(kcnn.trace("resnet18.torchvision", dropout=0.5)) == "resnet18"
    assert find_timm_name(kcnn.trace("resnet18.torchvision", **keywords)) is None
    assert find_timm_name(kcnn.trace("resnet18")) is None


def test_model_card_states_what_the_run_knows(run, tmp_path):
    card = (kcnn.publish(run, tmp_path / "to", license="cc-by-4.0").folder / "README.md").read_text()
    _, front, text = card.split("---\n", 2)
    fields = {name: json.loads(value) for name, value in (line.split(": ", 1) for line in front.splitlines())}
    metrics = json.loads((run / "metrics.json").read_text())
    (result,) = fields["model-index"][0]["results"][0]["metrics"]
    assert (fields["license"], fields["library_name"]) == ("cc-by-4.0", "kcnn")
    assert result["value"] == metrics["accuracy"]
    assert result["args"]["interval_95"] == list(kcnn.statistics.wilson_interval(metrics["correct"], 20))
    assert "10 classes; images: 64 train" in text
    for heading in ("Metrics", "Training data", "Intended use and limits", "How to load"):
        assert f"## {heading}\n" in text


def test_publish_replaces_its_own_files_and_refuses_others(run, tmp_path):
    kcnn.publish(run, tmp_path / "to")
    kcnn.publish(run, tmp_path / "to", license="mit")
    assert json.loads((tmp_path / "to" / "config.json").read_text())["license"] == "mit"
    with pytest.raises(FileExistsError, match="has files that kcnn publish did not write"):
        kcnn.publish(run, run)
    with pytest.raises(FileExistsError, match="is a file"):
        kcnn.publish(run, run / "metrics.json")
    with pytest.raises(ValueError, match="license must be an identifier of the Hub"):
        kcnn.publish(run, tmp_path / "new", license="My own")
    with pytest.raises(ValueError, match="expected USER/NAME"):
        kcnn.publish(run, tmp_path / "new", push="digits")
    with pytest.raises(FileNotFoundError, match="holds no finished run"):
        kcnn.publish(tmp_path / "to", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_publish_refuses_a_network_of_a_file(run, tmp_path):
    folder = tmp_path / "own"
    shutil.copytree(run, folder)
    model = kcnn.load_model(folder / "model.keras")
    model.update_metadata(distribution=None)
    model.save(folder / "model.keras")
    with pytest.raises(ValueError, match="is defined in a file, which others do not have"):
        kcnn.publish(folder, tmp_path / "to")


def test_publish_pushes_what_build_reads_from_the_hub(run, tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    server = serve()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    result = kcnn.publish(run, tmp_path / "to", push="ada/digits")
    assert result.url == f"{server.url}/ada/digits"
    assert sorted(server.files["ada/digits", "main"]) == FILES
    model, trained = kcnn.build("hf://ada/digits"), kcnn.load_model(run / "model.keras")
    for one, other in zip(model.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert "kcnn.build('hf://ada/digits')" in (tmp_path / "to" / "README.md").read_text()
    server.refusals["ada/closed"] = (403, "")
    with pytest.raises(OSError, match=r"cannot upload .* to ada/closed: .*set HF_TOKEN"):
        kcnn.publish(run, tmp_path / "to", push="ada/closed")
    server.shutdown()


def test_cli_publish_writes_the_folder(run, tmp_path):
    command = [sys.executable, "-m", "kcnn", "publish", str(run), "--to", str(tmp_path / "to"), "--license", "mit"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in (tmp_path / "to").iterdir()) == FILES
