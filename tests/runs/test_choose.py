"""kcnn choose: pretrained networks ranked for a dataset by a linear probe on frozen features."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

import kcnn
from kcnn import data
from kcnn.architectures.architecture import Weights
from kcnn.cli.choose import parse_candidate
from kcnn.fine_tuning import feature_store
from kcnn.fine_tuning.candidates import find_candidates, make_candidate
from kcnn.fine_tuning.choice import _rank, make_command
from kcnn.fine_tuning.linear_probe import ProbePredictions, probe_folds, probe_split
from kcnn.weights.downloads import _locate
from kcnn.weights.packaged import FOLDER

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
