"""`kcnn predict` on folders, globs and lists: lines, CSV, JSON lines, and sorted folders."""

import csv
import io
import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from kcnn.cli import app, main
from kcnn.export.opened_model import OpenedModel

DARK, LIGHT, MIDDLE = 0, 255, 128
METADATA = {"classes": ["dark", "light"], "input_shape": [8, 8, 1]}


def run_fake(pixels):
    """Probability of light: the brightness."""
    light = pixels.mean(axis=(1, 2, 3)) / 255
    return np.stack([1 - light, light], axis=1)


@pytest.fixture
def photos(tmp_path):
    for name, value in {"a.png": DARK, "b/a.png": LIGHT, "b/c.png": MIDDLE, "b/d/a.png": 2}.items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), value, "uint8")).save(path)
    return tmp_path / "photos"


@pytest.fixture
def predict(monkeypatch, tmp_path):
    """Run `kcnn predict` with a model of brightness in the folder of the test."""
    monkeypatch.chdir(tmp_path)

    def run(*words, code=0, stdin=None, **metadata):
        opened = OpenedModel("fake", METADATA | metadata, lambda: run_fake)
        monkeypatch.setattr("kcnn.cli.predict.open_quietly", lambda *_: opened)
        done = CliRunner().invoke(app, ["predict", "fake", *words], input=stdin)
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        return SimpleNamespace(stdout=done.stdout, stderr=" ".join(done.stderr.split()))

    return run


def test_predict_prints_a_line_for_each_image_of_folders_globs_and_standard_input(photos, predict):
    lines = predict("photos").stdout.splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        "photos/a.png: dark 100.0%",
        "photos/b/a.png: light 100.0%",
        "photos/b/c.png: light 50.2%",
        "photos/b/d/a.png: dark 99.2%",
    ]
    assert predict("photos/b/*.png").stdout.splitlines() == lines[1:3]
    assert predict("-", stdin="photos/a.png\n\nphotos/b/d/a.png\n").stdout.splitlines() == [lines[0], lines[3]]


def test_predict_prints_json_lines_with_the_label(photos, predict):
    rows = list(map(json.loads, predict("photos", "--jsonl", "--threshold", "0.8").stdout.splitlines()))
    assert [row["label"] for row in rows] == ["dark", "light", "unsure", "dark"]
    assert rows[0] == {
        "file": "photos/a.png",
        "label": "dark",
        "probability": 1.0,
        "probabilities": {"dark": 1.0, "light": 0.0},
    }
    (row,) = map(json.loads, predict("photos/a.png", "--jsonl", multi_label=True).stdout.splitlines())
    assert (row["label"], row["labels"]) == ("dark", ["dark"])
    assert json.loads(predict("photos/a.png", "--json").stdout) == {"photos/a.png": {"dark": 1.0, "light": 0.0}}
    held = json.loads(predict("photos/b/c.png", "--json", "--threshold", "0.8").stdout)["photos/b/c.png"]
    assert (held["label"], [*held["probabilities"]]) == ("unsure", ["light", "dark"])


def test_predict_writes_a_csv_that_no_spreadsheet_runs(photos, predict):
    (photos / "a.png").rename("=1+1.png")
    done = predict("photos", "=1+1.png", "--csv", "out/p.csv")
    rows = list(csv.DictReader(io.StringIO(Path("out/p.csv").read_text())))
    assert [row["file"] for row in rows] == ["photos/b/a.png", "photos/b/c.png", "photos/b/d/a.png", "'=1+1.png"]
    assert rows[1] == {
        "file": "photos/b/c.png",
        "label": "light",
        "probability": "0.501961",
        "p(dark)": "0.498039",
        "p(light)": "0.501961",
    }
    assert done.stdout == "4 images: light 2, dark 2; in out/p.csv\n"


def test_predict_csv_has_one_header_for_many_batches(photos, predict):
    predict("-", "--csv", "p.csv", stdin="photos/a.png\n" * 70)
    lines = Path("p.csv").read_text().splitlines()
    assert (len(lines), len(set(lines))) == (71, 2)


def test_predict_names_and_counts_broken_images_and_goes_on(photos, predict):
    (photos / "b" / "a.png").write_text("no image")
    done = predict("photos", "nowhere.png", "--csv", "p.csv", code=1)
    assert "cannot decode photos/b/a.png: not an image file" in done.stderr
    assert "file not found: nowhere.png" in done.stderr
    assert done.stderr.endswith("2 of 5 images could not be read, and are left out")
    assert len(Path("p.csv").read_text().splitlines()) == 4


def test_predict_refuses_at_the_door(photos, predict, monkeypatch, capsys):
    def refuse(*words, **metadata):
        opened = OpenedModel("fake", METADATA | metadata, lambda: run_fake)
        monkeypatch.setattr("kcnn.cli.predict.open_quietly", lambda *_: opened)
        monkeypatch.setattr("sys.argv", ["kcnn", "predict", "fake", *words])
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 2
        return " ".join(capsys.readouterr().err.split()).removeprefix("error: ")

    assert refuse("nowhere.png") == "file not found: nowhere.png"
    assert refuse("photos/*.gif") == "no image matches photos/*.gif"
    assert refuse("photos", "--link") == "--link requires --sort-into"
    assert refuse("photos", "--json", "--jsonl") == "--json and --jsonl exclude each other; choose one"
    assert refuse("photos", "--sort-into", "photos/a.png").startswith("--sort-into photos/a.png is a file")
    assert "one label per image" in refuse("photos", "--sort-into", "s", multi_label=True)
    assert "cannot be the name of a folder" in refuse("photos", "--sort-into", "s", classes=["..", "light"])
    assert "cannot be the name of a folder" in refuse("photos", "--sort-into", "s", classes=["a/b", "light"])
    (photos / "a.png").write_text("no image")
    assert refuse("photos/a.png") == "cannot decode photos/a.png: not an image file"
    assert not os.path.exists("s")


def files(folder):
    return sorted(
        os.path.relpath(os.path.join(root, name), folder) for root, _, names in os.walk(folder) for name in names
    )


def test_predict_sorts_copies_into_folders_of_classes_and_again_without_change(photos, predict, tmp_path):
    sorted_files = ["dark/a-2.png", "dark/a.png", "light/a.png", "unsure/c.png"]
    done = predict("photos", "--threshold", "0.8", "--sort-into", "sorted")
    assert files("sorted") == sorted_files
    assert done.stdout == "4 images: dark 2, light 1, unsure 1; into sorted\n"
    assert (tmp_path / "sorted/light/a.png").read_bytes() == (photos / "b/a.png").read_bytes()
    predict("photos", "--threshold", "0.8", "--sort-into", "sorted")
    assert files("sorted") == sorted_files


def test_predict_never_overwrites_what_is_in_sorted_folders(photos, predict, tmp_path):
    (tmp_path / "sorted" / "dark").mkdir(parents=True)
    (tmp_path / "sorted" / "dark" / "a.png").write_text("mine")
    predict("photos/a.png", "--sort-into", "sorted")
    assert (tmp_path / "sorted/dark/a.png").read_text() == "mine"
    assert (tmp_path / "sorted/dark/a-2.png").read_bytes() == (photos / "a.png").read_bytes()


def test_predict_sorts_links_and_leaves_the_sorted_folder_out(photos, predict):
    for _ in range(2):
        predict("photos", "--sort-into", "photos/sorted", "--link")
    assert files("photos/sorted") == ["dark/a-2.png", "dark/a.png", "light/a.png", "light/c.png"]
    assert os.readlink("photos/sorted/dark/a.png") == str(photos / "a.png")
    assert os.readlink("photos/sorted/dark/a-2.png") == str(photos / "b/d/a.png")
