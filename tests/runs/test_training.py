"""Training into a folder: what it leaves, and that nothing is lost when it is stopped."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

import kcnn
from kcnn.training import train

REQUEST = {"input_shape": (28, 28, 1), "epochs": 4, "seed": 3, "learning_rate": 1e-3}


def history(folder):
    with (folder / "history.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train("convnet", "digits", out=tmp_path_factory.mktemp("run") / "out", **REQUEST)


def test_a_run_learns_and_leaves_model_history_metrics_and_pictures(run):
    assert run.metrics["accuracy"] > 0.9
    assert {path.name for path in run.folder.iterdir()} == {
        "run.json",
        "model.keras",
        "history.csv",
        "metrics.json",
        "curves.png",
        "confusion.png",
    }
    assert len(history(run.folder)) == 4
    found = json.loads((run.folder / "metrics.json").read_text())
    assert found["accuracy"] == found["correct"] / 359
    assert np.trace(found["confusion"]) == found["correct"]
    assert set(found["per_class"]) == set("0123456789")
    assert found["request"]["seed"] == 3
    assert {"keras", "tensorflow", "kcnn"} <= set(found["versions"])
    assert found["command"]
    for name in ("curves.png", "confusion.png"):
        assert min(Image.open(run.folder / name).size) > 200


def test_the_saved_model_scores_what_the_metrics_say(run):
    from kcnn import data

    model = kcnn.load(run.folder / "model.keras")
    found = data.load("digits", input_shape=(28, 28, 1), seed=3)
    predicted = model.predict(found.test, verbose=0).argmax(-1)
    assert int((predicted == found.splits["test"].labels).sum()) == run.metrics["correct"]
    assert model.card["classes"] == list("0123456789")


def test_a_finished_run_is_not_run_again(run):
    again = train("convnet", "digits", out=run.folder, **REQUEST)
    assert again.resumed == 4
    assert again.metrics == run.metrics


def test_another_run_does_not_overwrite_one(run):
    with pytest.raises(ValueError, match=r"holds another run \(seed 3, not 4\)"):
        train("convnet", "digits", out=run.folder, **{**REQUEST, "seed": 4})


def test_a_run_killed_in_mid_epoch_goes_on_and_ends_the_same(run, tmp_path):
    folder = tmp_path / "out"
    code = (
        "from kcnn.training import train; import sys;"
        "train('convnet', 'digits', out=sys.argv[1], input_shape=(28, 28, 1), epochs=4, seed=3, learning_rate=1e-3)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(1200):
            if list(folder.glob("checkpoint-*.keras")):
                break
            time.sleep(0.05)
        else:
            pytest.fail("no checkpoint within a minute")
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not (folder / "metrics.json").exists()
    resumed = train("convnet", "digits", out=folder, **REQUEST)
    assert resumed.resumed >= 1
    ends, wanted = ([[float(n) for n in row.values()] for row in history(one)] for one in (folder, run.folder))
    assert len(ends) == len(wanted)
    for row, other in zip(ends, wanted, strict=True):  # the same but for the order in which threads add floats
        assert row == pytest.approx(other, rel=2e-3)


def test_a_mistake_is_told_before_data_is_read(tmp_path):
    with pytest.raises(ValueError, match="smallest input that fits"):
        train("convnet", "nowhere", out=tmp_path / "out", epochs=1, input_shape=(4, 4, 1))
    with pytest.raises(ValueError, match="learning_rate"):
        train("convnet", "digits", out=tmp_path / "out", epochs=1, learning_rate=0)
    assert not (tmp_path / "out").exists()


def test_auxiliary_classifiers_train_from_the_recipe(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (40, 65, 65, 1), "uint8")
    found = train("googlenet.bn", (x, np.arange(40) % 2), out=tmp_path / "out", epochs=1, aux=True)
    assert "aux2_loss" in found.history[0]


def kcnn_command(*words, cwd):
    code = "from kcnn.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *words], cwd=cwd, capture_output=True, text=True, check=False)


def test_the_command_line_trains_and_predicts_without_chatter(tmp_path):
    done = kcnn_command("train", "convnet", "--data", "digits", "--epochs", "2", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    assert not [
        line for line in lines if any(word in line for word in ("I0000", "WARNING", "cuda", "oneDNN", "Warning"))
    ]
    assert sum(line.startswith("epoch") for line in lines) >= 2
    seven = 255 - np.kron(np.array([[0, 255, 255, 0], [0, 0, 255, 0], [0, 255, 0, 0], [0, 255, 0, 0]]), np.ones((7, 7)))
    Image.fromarray(seven.astype("uint8")).save(tmp_path / "a.png")
    done = kcnn_command("predict", "out", "a.png", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    best = json.loads(done.stdout)["a.png"]
    assert len(best) == 3
    assert set(best) <= set("0123456789")
    (tmp_path / "broken.png").write_text("no picture")
    done = kcnn_command("predict", "out", "broken.png", cwd=tmp_path)
    assert done.returncode == 2
    assert "broken.png cannot be decoded" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_stops_with_a_word_and_the_same_command_goes_on(tmp_path):
    words = ["train", "convnet", "--data", "digits", "--epochs", "200", "--out", "out"]
    code = "from kcnn.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    for _ in range(1200):
        if list((tmp_path / "out").glob("checkpoint-*.keras")):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the same command goes on" in said
    assert "Traceback" not in said
