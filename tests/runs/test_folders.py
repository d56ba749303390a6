"""Folders of photos as people have them: links, splits, broken files, repeated pictures, and what is too little."""

import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from kcnn import data
from kcnn.data.decoding import ImageDecodeError, decode
from tests.runs.photos import picture, sizes

RAW = sys.modules["kcnn.data.readers"]


def test_links_and_hidden_files_are_listed_as_a_person_expects(photos, tmp_path):
    (photos / "red" / ".hidden.png").write_text("")
    (photos / "red" / "deeper").mkdir()
    picture(photos / "red" / "deeper" / "1.png", (99, 0, 0))
    picture(tmp_path / "elsewhere" / "1.png", (98, 0, 0))
    (photos / "red" / "link.png").symlink_to(tmp_path / "elsewhere" / "1.png")
    (photos / "red" / "folder").symlink_to(tmp_path / "elsewhere")
    files = data.load(photos, input_shape=(8, 8, 3)).splits["train"].store.names
    red = [str(Path(one).relative_to(photos / "red")) for one in files[10:]]
    assert red[:2] + red[9:] == ["0.jpg", "1.png", "9.webp", "deeper/1.png", "link.png"]


def test_a_test_split_may_lack_a_class(photos, tmp_path):
    os.renames(photos, tmp_path / "own" / "train")
    picture(tmp_path / "own" / "test" / "red" / "a.png", (255, 0, 9))
    assert sizes(data.load(tmp_path / "own", input_shape=(8, 8, 3))) == {"train": 18, "validation": 2, "test": 1}


def test_split_folders_are_kept_and_a_lone_validation_folder_is_the_test(photos, tmp_path):
    os.renames(photos, tmp_path / "own" / "train")
    for word, color in (("red", (255, 0, 9)), ("blue", (0, 0, 9))):
        picture(tmp_path / "own" / "val" / word / "a.png", color)
    found = data.load(tmp_path / "own", input_shape=(8, 8, 3))
    assert sizes(found) == {"train": 18, "validation": 2, "test": 2}
    assert "validation split is kept for the test" in found.warnings[0]


def test_a_file_that_cannot_be_decoded_is_skipped_counted_and_named(photos, caplog):
    whole = (photos / "red" / "0.jpg").read_bytes()
    (photos / "red" / "torn.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "red" / "text.png").write_text("no picture")
    (photos / "red" / "notes.txt").write_text("not even by its name")
    found = data.load(photos, input_shape=(8, 8, 3))
    assert {Path(one.file).name for one in found.skipped} == {"torn.jpg", "text.png"}
    assert all(one.reason for one in found.skipped)
    assert sum(sizes(found).values()) == 20
    assert "torn.jpg" in caplog.text
    assert "notes.txt" in found.warnings[0]
    with pytest.raises(ImageDecodeError):
        decode(photos / "red" / "torn.jpg", (8, 8, 3))


def test_identical_pictures_in_two_splits_are_reported(photos):
    for i in range(10):
        (photos / "red" / f"copy{i}.png").write_bytes((photos / "red" / "1.png").read_bytes())
    found = data.load(photos, input_shape=(8, 8, 3), test=0.3, validation=0.2)
    assert found.duplicates
    assert {one.second_split for one in found.duplicates} <= {"validation", "test"}
    assert all(one.first_split != one.second_split for one in found.duplicates)


def test_pictures_are_compared_when_asked_and_read_only_where_sizes_are_equal(photos, monkeypatch):
    found = data.load(photos, input_shape=(8, 8, 3), test=0.3, validation=0.2)
    train, test = found.splits["train"], found.splits["test"]
    Path(test.names[0]).write_bytes(Path(train.names[0]).read_bytes())
    read, content = [], RAW.read_bytes
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


def test_a_file_that_is_gone_is_no_repetition(photos):
    found = data.load(photos, input_shape=(8, 8, 3))
    Path(found.splits["test"].names[0]).unlink()
    assert found.duplicates == ()


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([], "holds no folders"),
        (["one/a.png", "one/b.png"], "has one class, 'one'"),
        (["one/a.png", "two/notes.txt"], "class 'two' has no picture"),
        (["one/a.png", "one/b.png", "one/c.png", "two/a.png"], "class 'two' is down to 1 picture"),
        (["train/one/a.png", "train/two/a.png", "test/three/a.png"], "has the class 'three'"),
    ],
)
def test_a_folder_that_cannot_be_learned_from_says_what_was_found_where(files, says, tmp_path):
    (tmp_path / "photos").mkdir()
    for n, name in enumerate(files):
        path = tmp_path / "photos" / name
        if name.endswith("png"):
            picture(path, (n, n, n))
        else:
            path.parent.mkdir(parents=True)
            path.write_text("")
    with pytest.raises(ValueError, match=says):
        data.load(tmp_path / "photos", input_shape=(8, 8, 3))


def test_a_class_left_empty_by_broken_files_names_one(photos):
    for path in (photos / "red").iterdir():
        path.write_text("broken")
    with pytest.raises(ValueError, match=r"class 'red' has no picture \(10 files could not be decoded, such as .*red"):
        data.load(photos, input_shape=(8, 8, 3))


def test_links_that_lead_in_a_circle_are_no_pictures_and_no_classes(photos):
    os.symlink("second", photos / "red" / "first")
    os.symlink("first", photos / "red" / "second")
    os.symlink("self.jpg", photos / "red" / "self.jpg")
    os.symlink("..", photos / "red" / "up")
    os.symlink("../photos", photos / "round")
    found = data.load(photos, input_shape=(16, 16, 3))
    assert found.classes == ("blue", "red")
    assert sum(sizes(found).values()) == 20


def test_what_people_leave_in_folders_of_photos_is_read_or_named(photos):
    (photos / "red").rename(photos / "rot und ünicode 红")
    odd = photos / "rot und ünicode 红"
    picture(odd / "wide panorama.jpg", (200, 0, 0), (20_000, 200))
    Image.new("CMYK", (40, 30), (0, 255, 255, 0)).save(odd / "für den Druck.jpg")
    (odd / "empty.jpg").write_bytes(b"")
    (odd / "text.jpg").write_text("a letter")
    found = data.load(photos, input_shape=(16, 16, 3))
    assert sum(sizes(found).values()) == 22
    told = {Path(one.file).name: one.reason for one in found.skipped}
    assert told == {"empty.jpg": "file is empty", "text.jpg": "not an image file"}


def test_ten_photos_are_enough_and_two_are_told_to_be_too_few(tmp_path):
    for number in range(5):
        picture(tmp_path / "ten" / "red" / f"{number}.png", (200 + number, 0, 0))
        picture(tmp_path / "ten" / "blue" / f"{number}.png", (0, 0, 200 + number))
    assert sizes(data.load(tmp_path / "ten", input_shape=(8, 8, 3))) == {"train": 6, "validation": 2, "test": 2}
    for name in ("red", "blue"):
        picture(tmp_path / "two" / name / "one.png", (200, 0, 0))
    with pytest.raises(ValueError, match="is down to 1 picture; train, validation and test each need one"):
        data.load(tmp_path / "two", input_shape=(8, 8, 3))
