"""kcnn choose: pretrained networks ranked for a dataset by a linear probe on frozen features."""

import json
import shlex
import shutil
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

import kcnn
from kcnn import data
from kcnn.architectures.architecture import Weights
from kcnn.cli.choose import parse_candidate
from kcnn.fine_tuning import feature_store
from kcnn.fine_tuning.candidates import find_candidates, make_candidate
from kcnn.fine_tuning.choice import _rank, make_command
from kcnn.fine_tuning.linear_probe import ProbePredictions, probe_folds, probe_split
from kcnn.weights.downloads import DownloadError, _locate
from kcnn.weights.hub_files import fetch_hub_file
from kcnn.weights.packaged import FOLDER
from tests.hub import COMMIT, serve
from tests.keras.test_parity_torch import build_state
from tests.parity.presets import load_preset, write_preset
from tests.parity.seeded import CLASSES

DEMO = FOLDER / "convnet.safetensors"
FILE = "mobilenet_2_5_224_tf_no_top.h5"


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KCNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("kcnn.fine_tuning.linear_probe.STRENGTHS", (1e-3, 1e-1))  # which is enough here
    monkeypatch.setattr("kcnn.fine_tuning.linear_probe.OUTER_FOLDS", 2)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits:0-2", input_shape=(32, 32, 1)).subset(train=80, validation=30)


def test_choose_ranks_features_above_none_and_prints_the_command(digits, tmp_path):
    zeros = tmp_path / "zeros.safetensors"  # features that are the same for all images
    spec = kcnn.ModelSpec(network="lenet5", input_shape=(32, 32, 1))
    model = kcnn.build(spec, seed=0)
    model.set_weights([0 * array for array in model.get_weights()])
    kcnn.weights.save_weights(model, zeros)
    lines = []
    choice = kcnn.choose(digits, [replace(spec, weights=zeros)], out=tmp_path, log=lines.append)
    assert [str(one.spec.network) for one in choice.results] == ["convnet", "lenet5"]
    assert choice.command == (
        "kcnn transfer --data digits:0-2 --network convnet --model-option activation=relu --input-size 32x32x1 "
        "--weights demo"
    )
    assert choice.best.images == 110  # by folds: there are few
    assert choice.results[1].accuracy < 0.5
    assert choice.contenders == (choice.best,)
    assert choice.best.license == "CC BY 4.0"
    assert choice.best.low < choice.best.accuracy < choice.best.high
    assert all("110 images computed, 0 kept" in line for line in lines)
    assert (tmp_path / "choice.json").exists()
    for file in sorted((tmp_path / "features").glob("convnet-*/*.npz")):
        file.write_bytes(b"damaged")
    again = kcnn.choose(digits, [replace(spec, weights=zeros)], out=tmp_path, log=lines.append)
    assert "0 images computed, 110 kept" in lines[2]  # of lenet5
    assert "110 images computed, 0 kept" in lines[3]
    assert again.results == choice.results


@pytest.mark.parametrize("form", ["folder", "cache"])
def test_choose_takes_a_preset_of_kerashub(form, tmp_path, monkeypatch):
    folder = write_preset(load_preset("mobilenet_v3_small_100"), tmp_path / "mobilenet_v3_small_100")
    random = np.random.default_rng(0)
    photos = (random.integers(0, 256, (40, 64, 64, 3), "uint8"), np.arange(40) % 2)
    weights = str(folder)
    if form == "cache":
        constants = pytest.importorskip("huggingface_hub.constants")
        server = serve()
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        server.add("keras/small", {file.name: file.read_bytes() for file in folder.iterdir()})
        weights = "hf://keras/small"
    spec = kcnn.ModelSpec(network="mobilenet_v3_small.timm", weights=weights, input_shape=(64, 64, 3))
    options = {"out": tmp_path / "out", "log": lambda _: None}
    if form == "cache":
        with pytest.raises(ValueError, match="not in the cache; add --download"):
            kcnn.choose({"train": photos}, [spec], **options)
    choice = kcnn.choose({"train": photos}, [spec], download=form == "cache", **options)
    assert kcnn.choose({"train": photos}, [spec], **options).results == choice.results  # cached now
    assert choice.best.spec.network == "mobilenet_v3_small.timm"
    assert len(list((tmp_path / "out" / "features").glob("mobilenet_v3_small.timm-*"))) == 1


def test_choose_reads_no_test_image(digits, tmp_path):
    class Forbidden:
        """A split that nothing may touch."""

        def __len__(self):
            raise AssertionError("the test split was used")

    hidden = replace(digits, splits={**digits.splits, "test": Forbidden()})
    assert len(kcnn.choose(hidden, out=tmp_path, log=lambda _: None).results) == 1


def test_feature_store_resumes_after_its_last_complete_file(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_store, "CHUNK", 20)
    candidate = next(iter(find_candidates(10, 1)))
    store = feature_store.FeatureStore(tmp_path, candidate.spec, candidate.fetch())
    steps = store.compute(digits.splits["train"])
    assert [next(steps), next(steps)] == [(20, True), (20, True)]  # and killed
    again = feature_store.FeatureStore(tmp_path, candidate.spec, candidate.fetch())
    assert [is_new for _, is_new in again.compute(digits.splits["train"])] == [False, False, True, True]
    values, good = again.read(digits.splits["train"])
    assert values.shape[0] == 80
    assert good.all()


def test_find_candidates_takes_what_is_in_the_cache_and_nothing_else(monkeypatch):
    assert list(find_candidates(2, 3)) == []
    listed = kcnn.get_architecture("mobilenet_v1.keras").weights or kcnn.get_architecture("mobilenet_v1").weights
    weights: Weights = next(one for one in listed if one.url.endswith(FILE))
    target = _locate(weights)
    target.parent.mkdir(parents=True)
    target.write_bytes(b"another file")
    assert list(find_candidates(2, 3)) == []  # its checksum is not the published one
    monkeypatch.setattr("kcnn.weights.downloads._has_checksum", lambda *_: True)
    candidates = list(find_candidates(2, 3))
    assert [one.spec.options for one in candidates] == [{"width": 0.25}]
    assert (
        candidates[0].params == 213_586
    )  # mobilenet_v1 of width 0.25 with two classes: 256 x 2 + 2 for 256 x 1000 + 1000
    assert candidates[0].spec.weights == str(target)  # by name, transfer would download the file with a classifier


def test_make_candidate_knows_a_published_file_by_its_name_and_a_run_by_its_spec(tmp_path):
    published = shutil.copy(DEMO, tmp_path / FILE)
    candidate = make_candidate(kcnn.ModelSpec(network="mobilenet_v1", weights=published), 2, 3)
    assert candidate.spec.options == {"width": 0.25}
    assert candidate.license.startswith("Apache-2.0")
    written = shutil.copy(DEMO, tmp_path / "own.safetensors")
    candidate = make_candidate(kcnn.ModelSpec(network="convnet", weights=written), 2, 3)
    assert candidate.spec.options == {"activation": "relu"}
    assert candidate.spec.input_shape == (32, 32, 3)


def test_choose_refuses_bad_input_in_one_sentence(digits, tmp_path):
    color = replace(digits, input_shape=(32, 32, 3))
    with pytest.raises(ValueError, match="no pretrained weights are in the cache; give a file"):
        kcnn.choose(color, out=tmp_path)
    with pytest.raises(ValueError, match="within these limits; the smallest, convnet activation=relu, has 8,515"):
        kcnn.choose(digits, max_params=1000, out=tmp_path)
    with pytest.raises(ValueError, match="not in the cache; add --download"):
        kcnn.choose(color, [kcnn.ModelSpec(network="resnet50.keras", weights="imagenet")], out=tmp_path)
    with pytest.raises(ValueError, match="a candidate needs weights"):
        kcnn.choose(color, [kcnn.ModelSpec(network="resnet50")], out=tmp_path)
    with pytest.raises(FileNotFoundError, match="weights file not found"):
        kcnn.choose(color, [kcnn.ModelSpec(network="resnet50", weights="gone.h5")], out=tmp_path)
    with pytest.raises(ValueError, match="expects NETWORK=FILE"):
        parse_candidate("mobilenet.h5", None)


def test_parse_candidate_reads_options_and_files_with_equals_signs():
    spec = parse_candidate("mobilenet_v1,width=0.25=a=b.h5", "96")
    assert (spec.network, spec.options, spec.weights) == ("mobilenet_v1", {"width": 0.25}, "a=b.h5")
    assert spec.input_shape == (96, 96, 3)
    assert make_command(spec, "my photos") == (
        "kcnn transfer --data 'my photos' --network mobilenet_v1 --model-option width=0.25 --input-size 96x96x3 "
        "--weights a=b.h5"
    )


def test_rank_calls_a_difference_of_half_of_the_images_significant_and_of_one_image_not():
    candidate = next(iter(find_candidates(10, 1)))
    best, close, far = (np.arange(100) < count for count in (90, 89, 40))
    predictions = [ProbePredictions(one, 1.0) for one in (far, best, close)]
    results = _rank([candidate] * 3, predictions)
    assert [one.accuracy for one in results] == [0.9, 0.89, 0.4]
    assert [one.is_worse for one in results] == [False, False, True]


def test_probe_learns_what_is_linear_and_nothing_from_noise():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 240)
    noise = generator.normal(size=(240, 20)).astype("float32")
    clear = noise + 3 * np.eye(3, 20, dtype="float32")[labels]
    assert probe_split(clear[:120], labels[:120], clear[120:], labels[120:], 0).is_correct.mean() > 0.9
    assert probe_folds(clear, labels, 0).is_correct.mean() > 0.9
    assert probe_folds(noise, labels, 0).is_correct.mean() < 0.45


def test_choose_takes_what_train_takes(tmp_path, monkeypatch):
    """The source itself, loaded with the color channels that it has."""
    loaded = []
    monkeypatch.setattr("kcnn.fine_tuning.choice.load", lambda source, input_shape: loaded.append(input_shape))
    gray, color = np.zeros((4, 9, 9)), np.zeros((4, 9, 9, 3))
    for source in ("digits:0-2", (gray, [0, 1, 0, 1]), {"train": (gray[..., None], [0, 1, 0, 1])}):
        with pytest.raises(AttributeError):
            kcnn.choose(source, out=tmp_path)
    for source in ("photos/", tmp_path, "tfds:beans", (color, [0, 1, 0, 1])):
        with pytest.raises(AttributeError):
            kcnn.choose(source, out=tmp_path)
    assert loaded == [(32, 32, 1)] * 3 + [(32, 32, 3)] * 4


def test_choose_refuses_data_that_load_refuses(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder not found"):
        kcnn.choose(tmp_path / "nowhere", out=tmp_path)
    with pytest.raises(TypeError, match="data is"):
        kcnn.choose(3, out=tmp_path)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A server with a checkpoint of timm, and an empty cache of the Hub."""
    constants = pytest.importorskip("huggingface_hub.constants")
    server = serve()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    config = {
        "architecture": "mobilenetv3_small_050",
        "num_classes": CLASSES,
        "pretrained_cfg": {"input_size": [3, 64, 64], "mean": [0.5] * 3, "std": [0.5] * 3, "license": "apache-2.0"},
    }
    weights = safetensors.numpy.save(build_state("timm/mobilenetv3_small_050"))
    server.add(
        ADDRESS.removeprefix("hf://"), {"config.json": json.dumps(config).encode(), "model.safetensors": weights}
    )
    yield server
    server.shutdown()


ADDRESS = "hf://timm/mobilenetv3_small_050.lamb_in1k"
EMPTY = "hf://timm/mobilenetv3_small_050.empty"
TITLE = "mobilenet_v3_small.timm width=0.5 stem_width=1.0"


def test_find_candidates_takes_what_the_hub_has_cached_and_asks_no_server(hub, tmp_path, monkeypatch):
    assert list(find_candidates(3, 3)) == []
    kcnn.build(ADDRESS)  # which downloads it
    hub.add("someone/else", {"config.json": b'{"architectures": ["Bert"]}', "model.safetensors": b""})
    for name in ("config.json", "model.safetensors"):
        fetch_hub_file("hf://someone/else", name)
    hub.requests.clear()
    (candidate,) = find_candidates(3, 3)
    assert hub.requests == []
    assert candidate.title == "mobilenet_v3_small.timm width=0.5 stem_width=1.0"
    assert candidate.spec.classes == 3
    assert candidate.spec.input_shape == (64, 64, 3)
    assert candidate.license == "apache-2.0"
    assert candidate.fetch() == candidate.file
    assert candidate.published.url == f"{ADDRESS}@{COMMIT}"


def test_choose_ranks_a_checkpoint_of_the_hub_downloaded_only_if_asked_to(hub, digits, tmp_path):
    color = replace(digits, input_shape=(32, 32, 3)).subset(train=24, validation=8)
    with pytest.raises(ValueError, match="not in the cache; add --download"):
        kcnn.choose(color, [ADDRESS], out=tmp_path)
    assert not any(path.startswith("/cdn/") for _, path, _ in hub.requests)
    candidate = make_candidate(ADDRESS, 3, 3)
    candidate.fetch()
    choice = kcnn.choose(color, [ADDRESS], out=tmp_path, log=lambda _: None)
    assert len(choice.results) == 1  # given and in the cache, but one
    assert choice.command == f"kcnn transfer --data digits:0-2 --network {ADDRESS}@{COMMIT} --input-size 64x64x3"
    assert "timm/mobilenetv3_small_050.lamb_in1k  " in str(choice)


def add_empty(hub):
    """Add a checkpoint whose weights are missing, so that its download fails after its config was read."""
    hub.add(
        EMPTY.removeprefix("hf://"), {"config.json": hub.files[ADDRESS.removeprefix("hf://"), "main"]["config.json"]}
    )


def test_choose_downloads_the_given_candidates_alone_and_ranks_without_those_that_fail(
    hub, digits, tmp_path, monkeypatch
):
    monkeypatch.setenv("KCNN_WEIGHTS_MIRROR", str(tmp_path / "nothing"))  # so that every published file fails
    add_empty(hub)
    color = replace(digits, input_shape=(32, 32, 3)).subset(train=24, validation=8)
    with pytest.raises(DownloadError, match=f"of none of the 2 networks could be downloaded: {EMPTY}"):
        kcnn.choose(color, [EMPTY, EMPTY], download=True, out=tmp_path, log=lambda _: None)
    lines = []
    choice = kcnn.choose(color, [EMPTY, ADDRESS], download=True, out=tmp_path, log=lines.append)
    assert [one.spec.weights for one in choice.results] == [f"{ADDRESS}@{COMMIT}"]
    assert len(lines) == 2
    assert lines[0].startswith(f"{TITLE} is left out: {EMPTY}@{COMMIT} has neither model.safetensors nor ")
    assert lines[1].startswith(f"1 of 1: {TITLE}, features of 32 images computed")
    assert choice.failures == (lines[0].removeprefix(f"{TITLE} is left out: "),)
    assert f"not ranked, since their weights could not be downloaded: {EMPTY}" in str(choice)
    assert choice.to_json()["failures"] == list(choice.failures)


def test_cli_choose_exits_1_where_a_download_failed(hub, command, tmp_path):
    add_empty(hub)
    for label in range(2):
        folder = tmp_path / "photos" / str(label)
        folder.mkdir(parents=True)
        for number in range(6):
            Image.new("RGB", (64, 64), (200 * label, 20 * number, 0)).save(folder / f"{number}.png")
    words = ("choose", "--data", str(tmp_path / "photos"), "--download", "--out", str(tmp_path / "run"))
    done = command(*words, "--weights", ADDRESS, "--weights", EMPTY)
    assert done.returncode == 1, done.stderr
    assert "kcnn transfer --data" in done.stdout
    assert done.stderr.splitlines()[-1] == "1 of 2 networks not ranked: weights could not be downloaded"
    assert "Traceback" not in done.stderr


@pytest.mark.every
def test_cli_transfer_runs_the_command_that_choose_prints_for_a_checkpoint_of_the_hub(hub, command, tmp_path):
    make_candidate(ADDRESS, 3, 3).fetch()
    spec = replace(make_candidate(ADDRESS, 3, 3).spec, input_shape=(32, 32, 3))
    words = shlex.split(make_command(spec, "digits:0-2"))[1:]
    done = command(*words, "--head-epochs", "1", "--epochs", "1", "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    spec = json.loads((tmp_path / "run" / "transfer.json").read_text())["network"]
    assert (spec["network"], spec["options"]) == ("mobilenet_v3_small.timm", {"stem_width": 1.0, "width": 0.5})
    assert "rescale.scale" in spec["overrides"]  # that of the checkpoint


def test_choose_downloads_published_weights_where_it_is_asked_to(digits, tmp_path, monkeypatch):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    spec = kcnn.ModelSpec(network="mobilenet_v1", options={"width": 0.25}, input_shape=(32, 32, 3))
    kcnn.weights.save_weights(kcnn.build(spec, seed=0), mirror / "mobilenet.safetensors")
    facts = {"checksum": None, "source": "x", "mapping": "keras", "accuracy": None, "citation": "x", "license": "x"}
    listed = Weights(url="https://example.org/mobilenet.safetensors", options={"width": 0.25}, crop=32, **facts)
    architecture = replace(kcnn.get_architecture("mobilenet_v1"), weights=(listed,), input_shape=(32, 32, 3))
    monkeypatch.setattr("kcnn.fine_tuning.candidates.expand_names", lambda: ["mobilenet_v1"])
    for module in ("fine_tuning.candidates.load_architecture", "fine_tuning.candidates.get_architecture"):
        monkeypatch.setattr(f"kcnn.{module}", lambda _: architecture)
    monkeypatch.setattr("kcnn.fine_tuning.candidates.find_published", lambda *_: listed)
    monkeypatch.setenv("KCNN_WEIGHTS_MIRROR", str(mirror))
    color = replace(digits, input_shape=(32, 32, 3)).subset(train=24, validation=8)
    with pytest.raises(ValueError, match="no pretrained weights are in the cache"):
        kcnn.choose(color, out=tmp_path)
    first = kcnn.choose(color, download=True, out=tmp_path, log=lambda _: None)
    assert [one.title for one in first.results] == ["mobilenet_v1 width=0.25"]
    again = kcnn.choose(color, out=tmp_path, log=lambda _: None)  # now it is in the cache
    assert again.results == first.results
