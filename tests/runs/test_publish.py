"""Publications: weights, config and model card in a folder, read back by kcnn and by timm, and uploaded to the Hub."""

import json
import shutil
from importlib.util import find_spec

import numpy as np
import pytest
from safetensors.numpy import load_file

import kcnn
from kcnn.training.request import identify_weights
from kcnn.weights.hub import list_published_models
from kcnn.weights.timm_form import make_timm_tensors
from tests.hub import serve
from tests.keras.test_parity_torch import NETWORKS, build_state
from tests.parity.seeded import CLASSES, pixels

FILES = ["README.md", "config.json", "model.safetensors"]
TIMM = [  # the first of these have reshaped kernels, gates, scales and other normalizations
    pytest.param(name, marks=() if name in ("lcnet_0_5", "convnext_atto") else pytest.mark.every)
    for name in sorted(NETWORKS)
    if NETWORKS[name]["library"] == "timm"  # others have names and shapes of their own
    and name in {network for network, options in list_published_models("timm").values() if not options}
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
    model = kcnn.build("resnet18.torchvision", classes=CLASSES, input_shape=(33, 47, 3))
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
    np.testing.assert_array_equal(model(images), trained(images))
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
    assert (about["input_size"], about["crop_pct"], about["interpolation"]) == ([3, 33, 47], 1, "bilinear")
    assert (about["first_conv"], about["classifier"]) == ("conv1", "fc")
    np.testing.assert_allclose(about["mean"], [0.485, 0.456, 0.406])
    np.testing.assert_allclose(about["std"], [0.229, 0.224, 0.225])
    assert "fc.weight" in load_file(result.folder / "model.safetensors")
    model, trained = kcnn.build(f"local-dir:{result.folder}"), kcnn.load_model(resnet_run / "model.keras")
    images = pixels(33, 47)
    np.testing.assert_array_equal(model(images), trained(images))
    assert model.metadata["classes"] == config["label_names"]


@pytest.mark.skipif(not find_spec("timm"), reason="timm is not installed")
def test_published_folder_gives_the_same_logits_in_timm(resnet_run, tmp_path):
    import timm
    import torch

    result = kcnn.publish(resnet_run, tmp_path / "to")
    model = timm.create_model(f"local-dir:{result.folder}", pretrained=True).eval()
    images = pixels(33, 47)
    scaled = (images / 255 - np.array(model.pretrained_cfg["mean"])) / np.array(model.pretrained_cfg["std"])
    logits = model(torch.from_numpy(scaled.transpose(0, 3, 1, 2).astype("float32"))).detach().numpy()
    expected = np.asarray(kcnn.load_model(resnet_run / "model.keras")(images))
    assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()


def test_model_card_states_what_the_run_knows(run, tmp_path):
    card = (kcnn.load_run(run).publish(tmp_path / "to", license="cc-by-4.0").folder / "README.md").read_text()
    _, front, text = card.split("---\n", 2)
    fields = {name: json.loads(value) for name, value in (line.split(": ", 1) for line in front.splitlines())}
    assert json.loads((tmp_path / "to" / "config.json").read_text())["license"] == "cc-by-4.0"
    metrics = json.loads((run / "metrics.json").read_text())
    (result,) = fields["model-index"][0]["results"][0]["metrics"]
    assert (fields["license"], fields["library_name"]) == ("cc-by-4.0", "kcnn")
    assert result["value"] == metrics["accuracy"]
    assert result["args"]["interval_95"] == list(kcnn.statistics.wilson_interval(metrics["correct"], 20))
    assert "10 classes; images: 64 train" in text
    assert "kcnn.build('local-dir:to')  # gray pixels" in text
    assert str(tmp_path) not in card  # a path of this machine
    for heading in ("Metrics", "Training data", "Intended use and limits", "How to load"):
        assert f"## {heading}\n" in text


@pytest.fixture(scope="module")
def several_labels(tmp_path_factory):
    """A run on images with any number of two labels."""
    labels = np.random.default_rng(0).integers(0, 2, (80, 2))
    images = np.full((80, 8, 8, 1), 60, "uint8")
    images[labels[:, 0] == 1, :4] += 120
    images[labels[:, 1] == 1, 4:] += 60
    folder = tmp_path_factory.mktemp("several") / "run"
    data = kcnn.data.load((images, labels), classes=("top", "bottom"), input_shape=(8, 8, 1), multi_label=True)
    network = kcnn.ModelSpec(network="stack", options={"depth": 2, "filters": 8})
    kcnn.train(network, data, out=folder, epochs=2, log=lambda _: None)
    return folder


def test_publish_of_several_labels_keeps_their_thresholds_and_explains_them(several_labels, tmp_path):
    folder = kcnn.publish(several_labels, tmp_path / "to").folder
    trained, model = kcnn.load_model(several_labels / "model.keras"), kcnn.build(folder)
    assert model.metadata["multi_label"]
    assert model.metadata["thresholds"] == trained.metadata["thresholds"]
    images = np.random.default_rng(1).integers(0, 256, (20, 8, 8, 1), "uint8")
    assert kcnn.predict(folder, images).labels == kcnn.predict(several_labels, images).labels
    card = (folder / "README.md").read_text()
    rows = json.loads((several_labels / "metrics.json").read_text())["per_class"]
    for name, row in rows.items():
        (line,) = (line for line in card.splitlines() if line.startswith(f"| {name} |"))
        assert line.endswith(f" | {row['threshold']:.4g} |")
    for text in ("| mean average precision |", "any number of its classes", "a sigmoid of a logit, not a softmax"):
        assert text in card


@pytest.mark.every
def test_publish_takes_the_best_network_of_a_search(tmp_path, command):
    words = ("--data", "digits:0-1", "--input-size", "8x8x1", "--choice", "depth=1,2", "--trials", "2", "--epochs", "1")
    assert command("search", "stack", *words, "--final-seeds", "1", "--out", str(tmp_path / "search")).returncode == 0
    done = command("publish", str(tmp_path / "search"), "--to", str(tmp_path / "to"))
    assert done.returncode == 0, done.stderr
    assert "using its best run" in done.stdout + done.stderr
    (path,) = (tmp_path / "search" / "final").glob("trial-*/seed-0")
    trained, model = kcnn.load_model(path / "model.keras"), kcnn.build(tmp_path / "to")
    images = pixels(8, 8)[..., :1]
    np.testing.assert_array_equal(model(images), trained(images))
    assert model.metadata["spec"]["options"] == trained.metadata["spec"]["options"]


def test_model_card_states_the_cross_validation(run, tmp_path):
    folder = tmp_path / "folds"
    shutil.copytree(run, folder)
    folds = {"epoch": 1, "metric": "accuracy", "scores": [0.4, 0.6], "images": [40, 40]}
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["cross_validation"] = {**folds, "mean": 0.5, "low": 0.25, "high": 0.75}
    del metrics["checksum"]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    card = (kcnn.publish(folder, tmp_path / "to").folder / "README.md").read_text()
    assert "50.00% accuracy (95% interval 25.00% to 75.00%), mean of 2 folds at epoch 1." in card


def test_publish_refuses_a_folder_in_use_and_keeps_it(run, tmp_path):
    folder = kcnn.publish(run, tmp_path / "to").folder
    (folder / "README.md").write_text("edited")
    with pytest.raises(FileExistsError, match=r"is published already; .* hf upload USER/NAME"):
        kcnn.publish(run, folder, license="mit")
    assert (folder / "README.md").read_text() == "edited"
    with pytest.raises(FileExistsError, match="has files; choose a new or an empty folder"):
        kcnn.publish(run, run)
    with pytest.raises(FileExistsError, match="is a file"):
        kcnn.publish(run, run / "metrics.json")


def test_publish_leaves_nothing_behind_where_it_fails(run, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no space")

    monkeypatch.setattr("kcnn.export.publication.save_tensors", fail)
    with pytest.raises(OSError, match="no space"):
        kcnn.publish(run, tmp_path / "to")
    assert not list(tmp_path.iterdir())


def test_publish_takes_the_best_run_of_a_transfer(run, tmp_path):
    folder, notes = tmp_path / "transfer", []
    shutil.copytree(run, folder / "fine-tuned")
    (folder / "transfer.json").write_text('{"best": "fine-tuned"}')
    written = kcnn.publish(folder, tmp_path / "to", log=notes.append).folder
    assert sorted(file.name for file in written.iterdir()) == FILES
    assert notes == [f"{folder} is the folder of a transfer: using its best run, {folder}/fine-tuned"]


def test_publish_refuses_a_network_that_no_plugin_publishes(run, tmp_path):
    folder = tmp_path / "own"
    shutil.copytree(run, folder)
    model = kcnn.load_model(folder / "model.keras")
    model.update_metadata(distribution=None)
    model.save(folder / "model.keras")
    with pytest.raises(ValueError, match="no plugin publishes its network, 'mlp'"):
        kcnn.publish(folder, tmp_path / "to")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--license", "My own"], "license must be an identifier of the Hub"),
        (["--push", "digits"], "push must be USER/NAME of a repository on the Hub, got 'digits'"),
        (["--push", "../x/y"], "push must be USER/NAME"),
    ],
)
def test_cli_publish_refuses_bad_input_before_it_loads_keras(words, says, run, tmp_path, command, monkeypatch):
    monkeypatch.setattr("kcnn.cli.export.start_backend", None)
    done = command("publish", str(run), "--to", str(tmp_path / "to"), *words)
    assert (done.returncode, says in " ".join(done.stderr.split())) == (2, True)
    done = command("publish", str(tmp_path), "--to", str(tmp_path / "to"))
    assert (done.returncode, "holds no finished run" in " ".join(done.stderr.split())) == (2, True)
    assert not (tmp_path / "to").exists()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    server = serve()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # large files go to the host that the server names
    yield server
    server.shutdown()
    server.server_close()


def test_publish_pushes_what_build_reads_from_the_hub(run, tmp_path, hub):
    result = kcnn.publish(run, tmp_path / "to", push="ada/digits")
    assert result.url == f"{hub.url}/ada/digits"
    assert sorted(hub.files["ada/digits", "main"]) == FILES
    assert list(hub.stored.values()) == [(result.folder / "model.safetensors").read_bytes()]
    model, trained = kcnn.build("hf://ada/digits"), kcnn.load_model(run / "model.keras")
    images = pixels(8, 8)[..., :1]
    np.testing.assert_array_equal(model(images), trained(images))
    assert model.metadata["classes"] == trained.metadata["classes"]
    assert "kcnn.build('hf://ada/digits')" in (result.folder / "README.md").read_text()
    assert all(b"hf_secret" not in file.read_bytes() for file in result.folder.iterdir())
    kcnn.publish(run, tmp_path / "again", push="ada/digits", license="mit")  # a new commit
    assert json.loads(hub.files["ada/digits", "main"]["config.json"])["license"] == "mit"


def test_publish_says_how_to_upload_later_where_the_hub_refuses(run, tmp_path, hub, monkeypatch):
    hub.refusals["ada/closed"] = (403, "")
    with pytest.raises(OSError, match=r"to ada/closed: it refuses \(403\); set HF_TOKEN .*: hf upload ada/closed /"):
        kcnn.publish(run, tmp_path / "to", push="ada/closed")
    assert sorted(file.name for file in (tmp_path / "to").iterdir()) == FILES
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(OSError, match=r"to ada/other: it refuses \(401\); set HF_TOKEN"):
        kcnn.publish(run, tmp_path / "other", push="ada/other")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")  # where nothing listens
    with pytest.raises(OSError, match=r"cannot upload .* to ada/third: .*refused; the folder is complete"):
        kcnn.publish(run, tmp_path / "third", push="ada/third")


def test_a_published_folder_is_read_by_its_path(run, tmp_path):
    folder = kcnn.publish(run, tmp_path / "to").folder
    trained = kcnn.load_model(run / "model.keras")
    image = pixels(8, 8)[0, ..., 0].astype("uint8")
    expected = kcnn.predict(trained, image)
    for model in (kcnn.build(folder), str(folder), f"local-dir:{folder}"):
        assert kcnn.predict(model, image).classes == expected.classes
    other = kcnn.build("mlp", input_shape=(8, 8, 1), classes=10, weights=folder)
    np.testing.assert_array_equal(other.get_weights()[0], trained.get_weights()[0])


def test_a_published_folder_is_read_by_its_name_unless_a_network_has_it(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("to", "lenet5"):
        kcnn.publish(run, folder)
    trained = kcnn.load_model(run / "model.keras")
    np.testing.assert_array_equal(kcnn.build("to").get_weights()[0], trained.get_weights()[0])
    assert kcnn.build("lenet5").metadata["spec"]["network"] == "lenet5"
    with pytest.raises(LookupError, match="unknown network"):
        kcnn.build("t" * 5000)


def test_cli_train_starts_from_the_address_of_a_checkpoint(run, tmp_path, command):
    folder = kcnn.publish(run, tmp_path / "to").folder
    out = tmp_path / "out"
    words = ("--data", "digits:0-2", "--input-size", "8x8x1", "--epochs", "1", "--out", str(out))
    assert command("train", f"local-dir:{folder}", *words).returncode == 0
    request = json.loads((out / "config.json").read_text())["request"]
    assert request["spec"]["network"] == "kcnn:mlp"
    assert request["spec"]["weights"] == identify_weights(run)
    assert kcnn.load_model(out / "model.keras").output_shape == (None, 3)


def test_cli_publish_writes_the_folder(run, tmp_path, command):
    done = command("publish", str(run), "--to", str(tmp_path / "to"), "--license", "mit")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-3:] == [str(tmp_path / "to"), "(kcnn's", "form)"]
    assert sorted(file.name for file in (tmp_path / "to").iterdir()) == FILES
