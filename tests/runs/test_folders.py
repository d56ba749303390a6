"""Folders of photos as people have them: links, splits, broken files, duplicates, and too few images."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kcnn import data
from kcnn.data.decoding import ImageDecodeError, decode
from kcnn.data.splits import describe_duplicates
from tests.runs.photos import save_image, sizes

READERS = sys.modules["kcnn.data.readers"]


def test_load_follows_links_to_files_and_ignores_hidden_files(photos, tmp_path):
    (photos / "red" / ".hidden.png").write_text("")
    (photos / "red" / "deeper").mkdir()
    save_image(photos / "red" / "deeper" / "1.png", (99, 0, 0))
    save_image(tmp_path / "elsewhere" / "1.png", (98, 0, 0))
    (photos / "red" / "link.png").symlink_to(tmp_path / "elsewhere" / "1.png")
    (photos / "red" / "folder").symlink_to(tmp_path / "elsewhere")
    files = data.load(photos, input_shape=(8, 8, 3)).splits["train"].cache.names
    red = [str(Path(one).relative_to(photos / "red")) for one in files[10:]]
    assert red[:2] + red[9:] == ["0.jpg", "1.png", "9.webp", "deeper/1.png", "link.png"]


def test_load_takes_a_test_split_that_lacks_a_class(photos, tmp_path):
    os.renames(photos, tmp_path / "own" / "train")
    save_image(tmp_path / "own" / "test" / "red" / "a.png", (255, 0, 9))
    assert sizes(data.load(tmp_path / "own", input_shape=(8, 8, 3))) == {"train": 18, "validation": 2, "test": 1}


def test_load_keeps_split_folders_and_tests_on_a_lone_validation_folder(photos, tmp_path):
    os.renames(photos, tmp_path / "own" / "train")
    for word, color in (("red", (255, 0, 9)), ("blue", (0, 0, 9))):
        save_image(tmp_path / "own" / "val" / word / "a.png", color)
    found = data.load(tmp_path / "own", input_shape=(8, 8, 3))
    assert sizes(found) == {"train": 18, "validation": 2, "test": 2}
    assert "the validation split is used for testing" in found.warnings[0]


def test_load_skips_and_names_a_file_that_cannot_be_decoded(photos, caplog):
    whole = (photos / "red" / "0.jpg").read_bytes()
    (photos / "red" / "torn.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "red" / "text.png").write_text("not an image")
    (photos / "red" / "notes.txt").write_text("not even by its name")
    found = data.load(photos, input_shape=(8, 8, 3))
    assert {Path(one.file).name for one in found.skipped} == {"torn.jpg", "text.png"}
    assert all(one.reason for one in found.skipped)
    assert sum(sizes(found).values()) == 20
    assert "torn.jpg" in caplog.text
    assert "notes.txt" in found.warnings[0]
    with pytest.raises(ImageDecodeError):
        decode(photos / "red" / "torn.jpg", (8, 8, 3))


def test_duplicates_names_identical_images_in_two_splits(photos):
    for i in range(10):
        (photos / "red" / f"copy{i}.png").write_bytes((photos / "red" / "1.png").read_bytes())
    found = data.load(photos, input_shape=(8, 8, 3), test_split=0.3, validation_split=0.2)
    assert found.duplicates
    assert {one.second_split for one in found.duplicates} <= {"validation", "test"}
    assert all(one.first_split != one.second_split for one in found.duplicates)


@pytest.mark.parametrize(("ending", "resize_factor"), [("bmp", 1), ("webp", 1), ("tif", 1), ("bmp", 4 / 3)])
def test_duplicates_names_a_training_image_that_is_encoded_anew_without_loss(ending, resize_factor, tmp_path):
    generator = np.random.default_rng(0)
    for split in ("train", "test", "validation"):
        for number in range(6):
            path = tmp_path / split / ("red", "blue")[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (20, 24, 3), "uint8")).save(path)
    with Image.open(tmp_path / "train" / "red" / "0.png") as image:
        image.save(tmp_path / "test" / "blue" / f"copy.{ending}", lossless=True)
    (one,) = data.load(tmp_path, input_shape=(16, 16, 3), resize_factor=resize_factor).duplicates
    assert (Path(one.first).name, one.first_split, one.first_label) == ("0.png", "train", "red")
    assert (Path(one.second).name, one.second_split, one.second_label) == (f"copy.{ending}", "test", "blue")


def test_duplicates_are_the_same_where_training_images_stay_whole(tmp_path):
    generator = np.random.default_rng(0)
    for number in range(20):
        image = Image.fromarray(generator.integers(0, 256, (20, 24, 3), "uint8"))
        path = tmp_path / ("red", "blue")[number % 2] / str(number)
        path.parent.mkdir(exist_ok=True)
        image.save(path.with_suffix(".png"))
        image.save(path.with_suffix(".bmp"))
    found, whole = (data.load(tmp_path, input_shape=(16, 16, 3), resize_factor=factor) for factor in (1, 4 / 3))
    assert len(found.duplicates) > 5
    assert whole.duplicates == found.duplicates


def test_duplicates_reads_only_files_of_equal_size_at_its_first_use(photos, monkeypatch):
    found = data.load(photos, input_shape=(8, 8, 3), test_split=0.3, validation_split=0.2)
    train, test = found.splits["train"], found.splits["test"]
    Path(test.names[0]).write_bytes(Path(train.names[0]).read_bytes())
    read, content = [], READERS.read_bytes
    monkeypatch.setattr(sys.modules["kcnn.data.splits"], "read_bytes", lambda one: read.append(one) or content(one))
    (one,) = found.duplicates
    assert (one.first, one.first_split, one.second, one.second_split) == (
        train.names[0],
        "train",
        test.names[0],
        "test",
    )
    sizes = [Path(name).stat().st_size for name in read]
    assert all(sizes.count(size) > 1 for size in sizes)
    assert 2 <= len(read) < 20
    assert found.duplicates == (one,)
    assert len(read) == len(sizes)


def test_duplicates_ignores_a_deleted_file(photos):
    found = data.load(photos, input_shape=(8, 8, 3))
    Path(found.splits["test"].names[0]).unlink()
    assert found.duplicates == ()


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([], "contains no folders"),
        (["one/a.png", "one/b.png"], r"the dataset has only one class \('one'\); at least two are required"),
        (["one/a.png", "two/notes.txt"], "class 'two' has no images"),
        (["one/a.png", "one/b.png", "one/c.png", "two/a.png"], "class 'two' has too few images .1 left."),
        (["train/one/a.png", "train/two/a.png", "test/three/a.png"], "has the class 'three'"),
    ],
)
def test_load_refuses_an_invalid_folder_with_the_reason(files, says, tmp_path):
    (tmp_path / "photos").mkdir()
    for n, name in enumerate(files):
        path = tmp_path / "photos" / name
        if name.endswith("png"):
            save_image(path, (n, n, n))
        else:
            path.parent.mkdir(parents=True)
            path.write_text("")
    with pytest.raises(ValueError, match=says):
        data.load(tmp_path / "photos", input_shape=(8, 8, 3))


def test_load_names_a_broken_file_of_a_class_without_images(photos):
    for path in (photos / "red").iterdir():
        path.write_text("broken")
    with pytest.raises(ValueError, match=r"class 'red' has no images \(10 files could not be decoded, such as .*red"):
        data.load(photos, input_shape=(8, 8, 3))


def test_load_ignores_links_that_lead_in_a_circle(photos):
    os.symlink("second", photos / "red" / "first")
    os.symlink("first", photos / "red" / "second")
    os.symlink("self.jpg", photos / "red" / "self.jpg")
    os.symlink("..", photos / "red" / "up")
    os.symlink("../photos", photos / "round")
    found = data.load(photos, input_shape=(16, 16, 3))
    assert found.classes == ("blue", "red")
    assert sum(sizes(found).values()) == 20


def test_load_reads_unusual_images_and_names_files_that_are_not_images(photos):
    (photos / "red").rename(photos / "rot und ünicode 红")
    odd = photos / "rot und ünicode 红"
    save_image(odd / "wide panorama.jpg", (200, 0, 0), (20_000, 200))
    Image.new("CMYK", (40, 30), (0, 255, 255, 0)).save(odd / "für den Druck.jpg")
    (odd / "empty.jpg").write_bytes(b"")
    (odd / "text.jpg").write_text("a letter")
    found = data.load(photos, input_shape=(16, 16, 3))
    assert sum(sizes(found).values()) == 22
    told = {Path(one.file).name: one.reason for one in found.skipped}
    assert told == {"empty.jpg": "file is empty", "text.jpg": "not an image file"}


def test_load_takes_ten_photos_and_refuses_two(tmp_path):
    for number in range(5):
        save_image(tmp_path / "ten" / "red" / f"{number}.png", (200 + number, 0, 0))
        save_image(tmp_path / "ten" / "blue" / f"{number}.png", (0, 0, 200 + number))
    assert sizes(data.load(tmp_path / "ten", input_shape=(8, 8, 3))) == {"train": 6, "validation": 2, "test": 2}
    for name in ("red", "blue"):
        save_image(tmp_path / "two" / name / "one.png", (200, 0, 0))
    with pytest.raises(
        ValueError, match=r"has too few images .1 left.; train, validation and test each need at least one"
    ):
        data.load(tmp_path / "two", input_shape=(8, 8, 3))


def test_duplicates_names_an_image_in_two_class_folders_and_its_classes(photos):
    same = (photos / "red" / "1.png").read_bytes()
    (photos / "blue" / "x.png").write_bytes(same)
    (photos / "red" / "y.png").write_bytes(same)  # with the same label: no contradiction
    dataset = data.load(photos, input_shape=(8, 8, 3))
    contradictions = [one for one in dataset.duplicates if one.contradicts]
    assert contradictions
    for one in contradictions:
        labels = {one.first: one.first_label, one.second: one.second_label}
        assert labels[str(photos / "blue" / "x.png")] == "blue"
        assert set(labels.values()) == {"blue", "red"}
    assert all(one.contradicts or one.first_split != one.second_split for one in dataset.duplicates)
    text = describe_duplicates(dataset.duplicates)[-1]
    assert "with two labels, such as" in text
    assert "both are used: remove the wrong one, or use --multi-label" in text


def test_duplicates_finds_a_contradiction_within_one_split(tmp_path):
    for file in ("red/x.png", "blue/x.png", "red/z.png"):
        save_image(tmp_path / "train" / file, (9, 9, 9))
    for number in range(6):
        for blue, split in enumerate(("train", "test", "val")):
            save_image(tmp_path / split / ("red", "blue")[number % 2] / f"{number}.png", (number, 50, blue))
    dataset = data.load(tmp_path, input_shape=(8, 8, 3))
    (one, other) = dataset.duplicates
    assert (one.first_split, one.first_label, one.second_split, one.second_label) == ("train", "blue", "train", "red")
    assert [one.first, one.second, other.second] == [
        str(tmp_path / "train" / file) for file in ("blue/x.png", "red/x.png", "red/z.png")
    ]
