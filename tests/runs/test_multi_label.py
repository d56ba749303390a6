"""Images with any number of labels: from a CSV or from class folders that share images, trained and used."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import kcnn
from kcnn import classification, data
from kcnn.data.stratification import split_indices
from kcnn.export.formats import export_model
from kcnn.export.verification import verify_exports
from kcnn.training import losses
from tests.runs.photos import save_image, sizes
from tests.runs.training import train_with as train

CLASSES = ("dark", "left", "top")


def marked(count, seed=0):
    """Gray images 16x16 with a bright bar on the left, at the top, both or none; dark ones have less light."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (count, 3))
    images = np.where(labels[:, 0, None, None] == 1, 40, 160) + rng.integers(-20, 20, (count, 16, 16))
    images[labels[:, 1] == 1, :, :4] += 60
    images[labels[:, 2] == 1, :4] += 60
    return images.clip(0, 255).astype("uint8")[..., None], labels


@pytest.fixture
def table(tmp_path):
    """A CSV of labels by name, its images beside it."""
    images, labels = marked(60)
    (tmp_path / "pictures").mkdir()
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "labels"])
        for i, (image, row) in enumerate(zip(images, labels, strict=True)):
            Image.fromarray(image[..., 0]).save(tmp_path / "pictures" / f"{i}.png")
            rows.writerow([f"pictures/{i}.png", ";".join(CLASSES[n] for n in np.flatnonzero(row))])
    return tmp_path / "labels.csv"


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A run on 400 images of three labels, and its dataset."""
    served = data.load(marked(400), classes=CLASSES, input_shape=(32, 32, 1), batch_size=16, multi_label=True)
    folder = tmp_path_factory.mktemp("several") / "run"
    run = train("lenet5.modern", served, out=folder, epochs=8, learning_rate=3e-3, recipe_overrides={"batch_size": 16})
    return run, served


def rows(split):
    """Labels by the name of the file."""
    return {name.rpartition("/")[2]: label.tolist() for name, label in zip(split.names, split.labels, strict=True)}


def all_rows(found):
    return {name: label for split in found.splits.values() for name, label in rows(split).items()}


def test_read_csv_of_names_gives_each_image_its_labels(table):
    found = data.load(table, input_shape=(16, 16, 1), multi_label=True)
    assert found.classes == CLASSES
    assert found.multi_label
    expected = {f"{i}.png": row.tolist() for i, row in enumerate(marked(60)[1])}
    assert all_rows(found) == expected
    pixels, labels = next(iter(found.test))
    assert labels.shape == (len(pixels), 3)


def test_read_csv_of_columns_or_of_a_row_per_label_is_the_same(table):
    expected = all_rows(data.load(table, input_shape=(16, 16, 1), multi_label=True))
    columns, long = table.with_name("columns.csv"), table.with_name("long.csv")
    lines = [f"pictures/{name},{','.join(map(str, row))}" for name, row in expected.items()]
    columns.write_text("\n".join(["file,dark,left,top", *lines]))
    pairs = [
        f"pictures/{name},{CLASSES[n]}"
        for name, row in expected.items()
        for n in (np.flatnonzero(row) if any(row) else ())
    ]
    long.write_text("\n".join(["file,label", *pairs]))
    assert all_rows(data.load(columns, input_shape=(16, 16, 1), multi_label=True)) == expected
    labeled = {name: row for name, row in expected.items() if any(row)}
    assert all_rows(data.load(long, input_shape=(16, 16, 1), multi_label=True)) == labeled


def test_read_csv_takes_splits(table):
    lines = table.read_text().splitlines()
    words = ["train"] * 40 + ["val"] * 10 + ["test"] * 10
    split = table.with_name("split.csv")
    split.write_text("\n".join([f"{lines[0]},split", *(f"{a},{b}" for a, b in zip(lines[1:], words, strict=True))]))
    found = data.load(split, input_shape=(16, 16, 1), multi_label=True)
    assert sizes(found) == {"train": 40, "validation": 10, "test": 10}


def test_read_csv_with_one_label_per_image_needs_no_option(photos):
    lines = [f"{path.relative_to(photos)},{path.parent.name}" for path in sorted(photos.rglob("*.*"))]
    (photos / "one.csv").write_text("\n".join(["file,class", *lines]))
    found = data.load(photos / "one.csv", input_shape=(8, 8, 3))
    assert found.classes == ("blue", "red")
    assert sorted(np.concatenate([split.labels for split in found.splits.values()])) == [0] * 10 + [1] * 10


def test_merge_folders_gives_an_image_in_several_folders_all_labels(photos):
    shutil.copy(photos / "red" / "0.jpg", photos / "blue" / "both.jpg")
    shutil.copy(photos / "red" / "0.jpg", photos / "red" / "both.jpg")
    for path in (photos / "red").iterdir():
        path.rename(path.with_name(f"r{path.name}" if path.name != "both.jpg" else path.name))
    found = data.load(photos, input_shape=(8, 8, 3), multi_label=True)
    assert all_rows(found)["both.jpg"] == [1, 1]
    assert sorted(map(tuple, all_rows(found).values())) == [(0, 1)] * 10 + [(1, 0)] * 10 + [(1, 1)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty; a CSV of labels has a header"),
        ("file,labels\n", "has no images"),
        ("file\npictures/1.png\n", "has no labels"),
        ("pictures/1.png,left\npictures/2.png,top\n", "has no header"),
        ("file,a,b\npictures/1.png,1,maybe\n", "row 2: expected 0 or 1 in 'b', got 'maybe'"),
        ("file,labels\npictures/1.png\n", "row 2: 1 cells, but the header has 2"),
        ("file,labels,split\npictures/1.png,left,tomorrow\n", "row 2: a split is train, validation or test, got"),
        ("file,labels\nnowhere/1.png,left;top\n", "names 1 images, and none of them exists, such as .*nowhere/1.png"),
        (
            "file,labels\npictures/1.png,left\npictures/2.png,left\n",
            r"the dataset has only one class \('left'\); at least two are required",
        ),
    ],
)
def test_read_csv_refuses_an_invalid_table_with_reason_and_line(text, says, table):
    table.write_text(text)
    with pytest.raises(ValueError, match=says):
        data.load(table, input_shape=(16, 16, 1), multi_label=True)


def test_check_labels_refuses_several_labels_without_multi_label(table):
    with pytest.raises(
        ValueError, match=r"expected one label per image, but .* has (the labels|no label).*; .*use --multi-label"
    ):
        data.load(table, input_shape=(16, 16, 1))


def test_merge_folders_refuses_different_images_of_one_name(photos):
    with pytest.raises(ValueError, match=r"are different images: .* the same name in two class folders"):
        data.load(photos, input_shape=(8, 8, 3), multi_label=True)


def test_load_multi_label_warns_if_no_image_has_more_than_one_label(photos):
    for path in (photos / "red").iterdir():
        path.rename(path.with_name(f"r{path.name}"))
    found = data.load(photos, input_shape=(8, 8, 3), multi_label=True)
    assert "no image has more than one label" in found.warnings


@pytest.mark.parametrize("share", [0.1, 0.3])
@pytest.mark.parametrize("seed", [0, 1])
def test_split_indices_keeps_the_share_of_every_label(share, seed):
    rng = np.random.default_rng(5)
    labels = (rng.random((500, 6)) < [0.5, 0.3, 0.2, 0.1, 0.05, 0.01]).astype("int64")
    stay, go = split_indices(labels, round(share * 500), seed, "abcdef")
    assert sorted([*stay, *go]) == list(range(500))
    assert len(go) == pytest.approx(share * 500, abs=12)
    there = labels.sum(axis=0)
    assert labels[go].sum(axis=0) == pytest.approx(there * share, abs=1 + 0.05 * there.max())
    assert labels[go].sum(axis=0).min() >= 1
    assert labels[stay].sum(axis=0).min() >= 1
    assert list(go) == list(split_indices(labels, round(share * 500), seed, "abcdef")[1])


def test_choose_thresholds_is_midway_between_positives_and_negatives():
    found = np.array([[0.1, 0.9], [0.2, 0.2], [0.6, 0.8], [0.8, 0.1]])
    truth = np.array([[0, 0], [0, 0], [1, 0], [1, 0]])
    assert classification.choose_thresholds(found, truth) == pytest.approx([0.4, 0.5])  # of the second there is none
    # one miss below all others: 3 of 4 found without error (F1 6/7) against all found with two errors (F1 8/10)
    scores = np.array([[0.9], [0.8], [0.7], [0.3], [0.5], [0.4]])
    assert classification.choose_thresholds(scores, np.array([[1], [1], [1], [1], [0], [0]])) == pytest.approx([0.6])


def test_average_precision_is_the_mean_of_precisions_at_each_hit():
    found = np.array([[0.9], [0.8], [0.7], [0.6]])
    assert classification.average_precision(found, np.array([[1], [0], [1], [0]])) == pytest.approx([(1 + 2 / 3) / 2])
    assert classification.average_precision(found, np.zeros((4, 1))) == [None]


def test_train_learns_several_labels_and_writes_their_metrics(learned):
    run, served = learned
    found = run.metrics
    assert found["mean_average_precision"] > 0.95
    assert found["accuracy"] > 0.7
    assert "confusion" not in found
    assert list(found["per_class"]) == list(CLASSES)
    for row in found["per_class"].values():
        assert 0 < row["threshold"] < 1
        assert row["average_precision"] > 0.9
    metadata = kcnn.load_model(run.folder / "model.keras").metadata
    assert metadata["multi_label"]
    assert metadata["thresholds"] == [row["threshold"] for row in found["per_class"].values()]
    assert run.history[-1]["val_average_precision"] > 0.9
    assert (run.folder / "average_precision.png").stat().st_size > 1000
    assert not (run.folder / "confusion.png").exists()
    assert found["test_images"] == len(served.splits["test"])


def test_export_gives_the_same_labels_and_keeps_thresholds(learned, tmp_path):
    run, served = learned
    model = kcnn.load_model(run.folder / "model.keras")
    examples = served.splits["train"].read_batch(np.arange(50))[0]
    formats = ("litert", "litert-int8", "onnx", "keras")
    files = {name: export_model(model, tmp_path / name / name, name, calibration_images=examples) for name in formats}
    ours, *theirs = verify_exports(files, model, run.folder / "model.keras", served.test)
    assert ours.accuracy == run.metrics["accuracy"]
    for one in theirs:
        assert one.agreement >= (0.8 if one.name == "litert-int8" else 1.0), one


def test_cli_predict_prints_labels(learned, tmp_path, command):
    run, served = learned
    pixels, labels = served.splits["test"].read_batch(np.array([0]))
    Image.fromarray(pixels[0, ..., 0]).save(tmp_path / "one.png")
    phone = export_model(kcnn.load_model(run.folder / "model.keras"), tmp_path / "phone")
    said = []
    for model in (run.folder, phone):
        done = command("predict", model, tmp_path / "one.png", "--json")
        assert done.returncode == 0, done.stderr
        said.append(json.loads(done.stdout)[str(tmp_path / "one.png")])
    assert said[0]["labels"] == said[1]["labels"] == [CLASSES[i] for i in np.flatnonzero(labels[0])]
    assert set(said[0]["probabilities"]) == set(CLASSES)
    assert list(said[0]["probabilities"])[: len(said[0]["labels"])] == said[0]["labels"]  # labels first


def test_build_with_weights_of_a_multi_label_head_is_multi_label(learned, tmp_path):
    run, _ = learned
    trained = kcnn.load_model(run.folder / "model.keras")
    kcnn.weights.save_weights(trained, tmp_path / "own.safetensors")
    model = kcnn.build("lenet5.modern", input_shape=(32, 32, 1), classes=3, weights=tmp_path / "own.safetensors")
    assert model.metadata["multi_label"]
    assert model.metadata["thresholds"] == trained.metadata["thresholds"]
    # going on from there with one label a picture: the labels' own kind counts
    images, labels = marked(120)
    one = data.load((images, labels[:, 0] + labels[:, 1]), input_shape=(32, 32, 1))
    found = train("lenet5.modern", one, out=tmp_path / "run", weights=tmp_path / "own.safetensors", epochs=1)
    assert "confusion" in found.metrics
    metadata = kcnn.load_model(tmp_path / "run" / "model.keras").metadata
    assert not metadata["multi_label"]
    assert not metadata["thresholds"]


def test_cli_train_and_evaluate_take_a_csv(table, tmp_path, command):
    words = ("--data", table, "--multi-label", "--input-size", "32x32x1", "--epochs", "1", "--out", tmp_path / "run")
    done = command("train", "lenet5.modern", *words)
    assert done.returncode == 0, done.stderr
    assert "mean average precision" in done.stdout
    done = command("evaluate", tmp_path / "run", "--json")
    assert done.returncode == 0, done.stderr
    told, metrics = json.loads(done.stdout), json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert told["mean_average_precision"] == pytest.approx(metrics["mean_average_precision"], abs=1e-6)
    assert command("runs", tmp_path).returncode == 0


def test_train_mixes_several_labels(learned, tmp_path):
    _, served = learned
    mixed = train(
        "lenet5.modern", served, out=tmp_path / "run", epochs=1, recipe_overrides={"mixup": 0.2, "cutmix": 1.0}
    )
    assert np.isfinite(mixed.metrics["loss"])


def test_train_of_several_labels_refuses_options_that_need_one_label_per_image(learned, tmp_path):
    _, served = learned
    with pytest.raises(ValueError, match="class_weights need images with one label each"):
        train("lenet5.modern", served, out=tmp_path, recipe_overrides={"class_weights": "balanced"})
    with pytest.raises(ValueError, match="auxiliary classifiers need images with one label each"):
        train("googlenet", data.load(marked(40), input_shape=(224, 224, 1), multi_label=True), out=tmp_path, aux=True)
    one = data.load("digits", input_shape=(32, 32, 1))
    with pytest.raises(ValueError, match="load it with multi_label=True"):
        train("lenet5.modern", one, out=tmp_path, multi_label=True)


@pytest.mark.every
def test_cli_transfer_takes_images_of_several_labels(tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images, labels = marked(60, seed=3)
    lines = []
    for i, (image, row) in enumerate(zip(images, labels, strict=True)):
        save_image(
            tmp_path / "own" / f"{i}.png", tuple(int(image.mean() * (1 + row[n]) / 2) for n in range(3)), (16, 16)
        )
        lines.append(f"{i}.png,{','.join(map(str, row))}")
    (tmp_path / "own" / "labels.csv").write_text("\n".join(["file,dark,left,top", *lines]))
    model = kcnn.build("lenet5.modern", input_shape=(32, 32, 3), classes=4, seed=0)
    kcnn.weights.save_weights(model, tmp_path / "body.safetensors")
    words = ("--network", "lenet5.modern", "--weights", "body.safetensors", "--input-size", "32x32", "--multi-label")
    done = command(
        *("transfer", "--data", "own/labels.csv", *words, "--head-epochs", "1", "--epochs", "1", "--out", "out")
    )
    assert done.returncode == 0, done.stderr
    assert "mean AP" in done.stdout
    assert (tmp_path / "out" / "phone.tflite").exists()
    page = (tmp_path / "out" / "report.html").read_text()
    for words in ("lenet5.modern fine-tuned on own/labels.csv", "mean AP", "subset accuracy", "average precision"):
        assert words in page


def test_mean_average_precision_leaves_out_a_class_without_images():
    truth = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]])
    logits = np.array([[2.0, -1, 3], [1, 2, -2], [3, 1, 0], [-1, 0, 1]], "float32")
    measured = []
    for columns in ([0, 1], [0, 1, 2]):
        (_, metric) = losses.make_metrics(True, len(columns))
        metric.update_state(truth[:, columns], logits[:, columns])
        measured.append(float(metric.result()))
    assert measured[0] == pytest.approx(measured[1], abs=1e-6)
    assert measured[0] > 0.8
