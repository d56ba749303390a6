"""compare_runs: a difference comes with its interval, and is paired where both runs have the same test images."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kcnn.reports import compare_runs
from kcnn.training import evidence, run_directory
from kcnn.training.run_data import read_run_record
from tests.runs.noise import SMALL
from tests.runs.training import train_with as train


def train_small(out, **fields):
    return train("mlp", "digits", out=out, input_shape=(8, 8, 1), **fields).folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train_small(tmp_path_factory.mktemp("run"), epochs=2)


def test_compare_runs_without_evidence_compares_unpaired(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / evidence.FILE).unlink()
    (one,) = compare_runs([run, copy]).differences
    assert not one.paired
    assert f"unpaired: {copy} has no predictions in test.npz), not significant (p = 1)" in str(one)


def test_compare_runs_says_why_two_seeds_are_not_paired(run, tmp_path):
    train_small(tmp_path, epochs=1, seed=7)
    (one,) = compare_runs([run, tmp_path]).differences
    assert not one.paired
    assert "unpaired: their test images or labels differ, split with seeds 0 and 7)" in str(one)


def test_compare_runs_rates_a_repeated_run_not_significant_and_a_worse_one_significant(run, tmp_path):
    train_small(tmp_path / "same", epochs=2)
    train_small(tmp_path / "worse", epochs=1, learning_rate=1e-4)
    found = compare_runs([run, tmp_path / "same", tmp_path / "worse"])
    same, worse, _ = found.differences
    assert (same.points, same.p, same.significant) == (0.0, 1.0, False)
    assert str(same).endswith("not significant (p = 1)")
    assert same.low < 0 < same.high
    assert worse.low <= worse.points <= worse.high
    assert str(worse).endswith(f"significant (p = {worse.p:.2g})")
    assert not any("noise" in str(one) for one in found.differences)
    assert worse.paired
    assert worse.significant
    assert worse.points > 10
    with pytest.raises(ValueError, match="at least 2 runs"):
        compare_runs([run])
    with pytest.raises(FileNotFoundError, match="holds no finished run"):
        compare_runs([run, tmp_path])


def test_compare_runs_does_not_compare_runs_of_different_classes(run, tmp_path):
    other = shutil.copytree(run, tmp_path / "other")
    metrics = run_directory.read_metrics(other)
    metrics["per_class"]["ten"] = metrics["per_class"].pop("9")
    run_directory.write_metrics(other, metrics)
    (one,) = compare_runs([run, other]).differences
    assert not one.significant
    assert str(one).endswith("not compared, their classes differ")


def test_compare_runs_computes_the_exact_mcnemar_test(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    held = evidence.read_evidence(copy)
    logits = held.logits.copy()
    right = np.flatnonzero(logits.argmax(-1) == held.truth)[:6]
    logits[right] = -logits[right]  # six pictures fewer
    evidence.save_evidence(Path(copy), evidence.TestEvidence(logits, held.truth, held.samples, held.mistakes))
    (found,) = compare_runs([run, copy]).differences
    assert found.p == pytest.approx(2 * 0.5**6)


def test_compare_runs_pairs_the_same_test_images_only(noise_run, noise_copy, tmp_path):
    for name in ("train", "test"):
        (noise_copy / name).mkdir()
    record = read_run_record(noise_run)
    for file, split in zip(record.files, record.splits, strict=True):
        target = noise_copy / ("test" if split == "test" else "train") / file
        target.parent.mkdir(exist_ok=True)
        (noise_copy / file).rename(target)
    for name in ("cat", "dog"):
        (noise_copy / name).rmdir()
    first = train(data=str(noise_copy), out=tmp_path / "a", seed=1, **{**SMALL, "input_shape": (10, 10, 1)}).folder
    (difference,) = compare_runs([noise_run, first]).differences
    assert difference.paired
    file = next(noise_copy.glob("test/*/*.png"))
    Image.new("L", (8, 8), 9).save(file)
    second = train(data=str(noise_copy), out=tmp_path / "b", seed=1, **SMALL).folder
    (difference,) = compare_runs([first, second]).differences
    assert not difference.paired
