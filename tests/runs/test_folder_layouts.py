"""Which folders are splits, which are classes, what is never read, and what is left out with a warning."""

import os

import pytest

from kcnn import data
from kcnn.data.sources import find_source
from tests.runs.photos import save_image, sizes

SPLIT = ["train/cat/1.png", "train/dog/2.png", "test/cat/3.png"]


def make_files(root, files):
    """Images, each of another color, and empty files; a name that ends in / is a folder."""
    for number, file in enumerate(files):
        path = root / file
        if file.endswith("/"):
            path.mkdir(parents=True)
        elif file.lower().endswith(("png", "jpg", "jpe", "jfif", "tif", "tiff", "ppm")):
            save_image(path, (number, 99, 0), (8, 8), format="png" if file.endswith("png") else None)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
    return root


def read(root, **options):
    """Classes, images by split, and warnings."""
    source = find_source(str(root), **options)
    return source.classes, {name: len(split.labels) for name, split in source.splits.items()}, source.warnings


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "val", "test"),
        ("Train", "Valid", "Test"),
        ("TRAINING", "VALIDATION", "TESTING"),
        ("training_set", "validation_set", "test_set"),
        ("train_set", "dev", "testset"),
        ("training set", "val-set", "Test-Images"),
        ("train_data", "eval", "test_data"),
        ("train2017", "val2017", "test2017"),
        ("images_train", "images_val", "images_test"),
        ("seg_train", "seg_val", "seg-test_images"),
    ],
)
def test_read_folder_knows_split_folders_by_their_usual_names(train, validation, test, tmp_path):
    make_files(tmp_path, [f"{train}/cat/1.png", f"{train}/dog/2.png", f"{validation}/cat/3.png", f"{test}/dog/4.png"])
    assert read(tmp_path) == (("cat", "dog"), {"train": 2, "validation": 1, "test": 1}, ())


@pytest.mark.parametrize("other", ["docs/readme.txt", "annotations/", "unlabeled/1.png", "holdout/cat/1.png"])
def test_read_folder_names_what_it_leaves_out_beside_splits(other, tmp_path):
    classes, images, warnings = read(make_files(tmp_path, [*SPLIT, other]))
    assert (classes, images) == (("cat", "dog"), {"train": 2, "test": 1})
    (warning,) = warnings
    assert "the splits of" in warning
    assert "test/, train/" in warning
    assert f"left out {other.partition('/')[0]}/ beside them ({'1 image' if 'png' in other else '0 images'})" in warning


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([*SPLIT, "val/cat/4.png", "valid/cat/5.png"], "has val/, valid/, each of which is the validation split"),
        (
            ["train/cat/1.png", "train/dog/2.png", "plane/3.png"],
            "if train is the training split, use .*train as the data",
        ),
        (["train/1.png", "test/2.png"], r"test has no class folders; .* \(it has 1 image without a class\)"),
        ([*SPLIT[:2], "test/2.png"], "test has no class folders; expected one folder .* such as cat/, dog/ in train"),
        ([*SPLIT, "val/"], "val has no class folders"),
        (["test/cat/1.png", "val/cat/2.png"], "has test/, val/ and no train folder"),
        (
            ["photos/train/cat/1.png", "photos/test/cat/2.png"],
            "if test/, train/ in it are the classes, use .*/photos as",
        ),
        (["cat/train/1.png", "cat/test/2.png", "dog/3.png"], "not splits in class folders"),
        (["data/train/cat/1.png", "data/train/dog/2.png", "docs/3.png"], "use .*/data as the data"),
        (["data/seg_train/cat/1.png", "data/seg_train/dog/2.png", "docs/3.txt"], "use .*/data as the data"),
        (["cat/train2017/1.png", "cat/val2017/2.png", "dog/3.png"], "not splits in class folders"),
        (
            ["trn/cat/1.png", "trn/dog/2.png", "tst/cat/3.png"],
            "trn/, tst/ of .* would be classes, but both contain cat/; if they are splits, call them train",
        ),
        (["test/cat/1.png", "images/dog/2.png", "images/cat/3.png"], "images/, test/ of .* both contain cat/"),
        (["photos/dog/1.png", "masks/dog/2.png", "masks/cat/2.png"], "masks/, photos/ of .* both contain dog/"),
        (["1.png", "2.png"], r"contains no folders; .* \(it has 2 images without a class\)"),
        (
            ["cat/1.dcm", "cat/2.dcm", "dog/3.png"],
            r"class 'cat' has no images: 2 files, such as .*2.dcm, and none ends in",
        ),
    ],
)
def test_read_folder_refuses_what_may_be_splits_or_classes(files, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        read(make_files(tmp_path, files))


def test_read_folder_takes_a_class_called_train_or_valid(tmp_path):
    assert read(make_files(tmp_path / "a", ["train/1.png", "plane/2.png"]))[::2] == (("plane", "train"), ())
    assert read(make_files(tmp_path / "b", ["valid/1.png", "invalid/2.png"]))[::2] == (("invalid", "valid"), ())


@pytest.mark.parametrize(
    ("files", "classes"),
    [
        (["test_tube/1.png", "train_station/2.png", "val/3.png"], ("test_tube", "train_station", "val")),
        (["test_tube/glass/1.png", "train_station/old/2.png"], ("test_tube", "train_station")),
        (["cat/images/1.png", "dog/images/2.png"], ("cat", "dog")),
        (["cat/test/1.png", "dog/2.png"], ("cat", "dog")),
    ],
)
def test_read_folder_takes_classes_whose_names_contain_a_split(files, classes, tmp_path):
    assert read(make_files(tmp_path, files)) == (classes, {"train": len(files)}, ())


def test_read_folder_leaves_out_a_folder_of_images_beside_long_split_names(tmp_path):
    files = [f"{split}/{name}/1.png" for split in ("seg_train", "seg_test") for name in ("sea", "ice")]
    classes, images, (warning,) = read(make_files(tmp_path, [*files, "seg_pred/2.png"]))
    assert (classes, images) == (("ice", "sea"), {"train": 2, "test": 2})
    assert "left out seg_pred/ beside them (1 image)" in warning


def test_read_folder_counts_links_that_it_leaves_out(tmp_path):
    root = make_files(tmp_path / "data", ["cat/1.png", "dog/2.png", "dog/deep/3.png"])
    make_files(tmp_path / "more", ["4.png"])
    (root / "cat" / "more").symlink_to(tmp_path / "more")
    (root / "dog" / "deep" / "gone.png").symlink_to(tmp_path / "gone.png")
    (root / "owl").symlink_to(tmp_path / "owl")
    classes, images, warnings = read(root)
    assert (classes, images) == (("cat", "dog"), {"train": 3})
    assert [warning.replace(str(root), "D") for warning in warnings] == [
        "left out 1 link to missing files in D, such as D/owl",
        "left out 2 links to folders or missing files under D, such as D/cat/more",
    ]


def test_read_folder_warns_of_split_names_without_a_train_folder(tmp_path):
    (warning,) = read(make_files(tmp_path / "b", ["test/cat/1.png", "images/dog/2.png"]))[2]
    assert "has no train folder: images/, test/ are its classes" in warning


SYSTEM = [
    *(".ipynb_checkpoints/1-checkpoint.png", "@eaDir/1.png", "__MACOSX/._1.png", "._1.png", ".thumbnails/1.png"),
    *("$RECYCLE.BIN/1.png", "#recycle/1.png", "lost+found/1.png", ".git/1.png", "Thumbs.db", ".DS_Store"),
    *("System Volume Information/1.png", "desktop.ini", "@Recycle/1.png"),
]


@pytest.mark.parametrize("place", ["", "cat/", "cat/deep/er/"])
@pytest.mark.parametrize("prefix", ["", "train/"])
def test_read_folder_never_reads_hidden_and_system_files(prefix, place, tmp_path):
    real = [f"{prefix}cat/1.png", f"{prefix}dog/2.png"]
    make_files(tmp_path, [*real, *(f"{prefix}{place}{name}" for name in SYSTEM), *(f"{name}" for name in SYSTEM)])
    source = find_source(str(tmp_path))
    assert source.classes == ("cat", "dog")
    assert source.splits["train"].images == [os.path.join(tmp_path, file) for file in real]
    assert source.warnings == ()


def test_read_folder_leaves_out_thumbnails_and_stray_images_with_a_warning(tmp_path):
    files = ["_background/1.png", "__dark/2.png", "dog/3.png", "dog/thumbnails/3.png", "thumbs/1.png", "a.png", "b.JPG"]
    classes, images, warnings = read(make_files(tmp_path, files))
    assert (classes, images) == (("__dark", "_background", "dog"), {"train": 3})
    assert [text.replace(f"{tmp_path}", "D") for text in warnings] == [
        "left out 2 images beside the folders of D, without a class, such as a.png",
        "left out thumbs/ in D, which is named as thumbnails",
        "left out 1 folder of thumbnails, such as D/dog/thumbnails",
    ]
    inner = [f"cat/{name}/1.png" for name in ("Thumb", "_thumbs", "thumbnail", "thumbs_128", "thumbnails-64x64")]
    classes, images, warnings = read(make_files(tmp_path / "inner", [*inner, "cat/1.png", "thumb/2.png"]))
    assert (classes, images) == (("cat", "thumb"), {"train": 2}), "a class may be a thumb"
    assert "thumb/ in D counts as a class; if it holds thumbnails" in warnings[0].replace(f"{tmp_path / 'inner'}", "D")
    assert warnings[1].startswith("left out 5 folders of thumbnails")
    warnings = read(make_files(tmp_path / "split", [*SPLIT, "train/1.png", "test/2.png", "3.png"]))[2]
    assert [warning.partition(" beside")[0] for warning in warnings] == ["left out 1 image"] * 3


def test_read_folder_reads_every_ending_that_a_csv_of_them_reads(tmp_path):
    names = ["cat/1.jfif", "cat/2.jpe", "cat/3.TIF", "dog/4.tiff", "dog/5.ppm", "dog/6.Jpg"]
    make_files(tmp_path, names)
    (tmp_path / "labels.csv").write_text("\n".join(["file,class", *(f"{name},{name[:3]}" for name in names)]))
    splits = {"test_split": 0.34, "validation_split": 0.34, "input_shape": (8, 8, 3)}
    for path in (tmp_path, tmp_path / "labels.csv"):
        found = data.load(path, **splits)
        assert (sizes(found), found.skipped, found.warnings) == ({"train": 2, "validation": 2, "test": 2}, [], ())


def test_load_tells_of_a_folder_that_a_built_in_name_hides(photos, monkeypatch, caplog):
    photos.rename(photos.with_name("digits"))
    monkeypatch.chdir(photos.parent)
    found = data.load("digits", input_shape=(8, 8, 1))
    assert len(found.classes) == 10
    assert found.warnings == ('"digits" is a built-in name; ./digits reads what is there',)
    assert found.warnings[0] in caplog.text
    for folder in ("./digits", photos.with_name("digits").relative_to(photos.parent)):
        own = data.load(folder, input_shape=(8, 8, 3))
        assert (own.classes, own.name, own.warnings) == (("blue", "red"), "./digits", ())
        assert data.load(own.name, input_shape=(8, 8, 3)).classes == ("blue", "red")  # what a run records


def test_load_warns_of_a_split_that_lacks_a_class_and_of_names_that_differ_by_case(tmp_path):
    files = [f"train/{name}/{number}.png" for name in ("Cat", "cat") for number in range(3)]
    found = data.load(make_files(tmp_path, [*files, "test/cat/7.png"]), input_shape=(8, 8, 3))
    assert found.warnings == (
        "classes that differ by case alone: Cat, cat",
        "the test split has no image of Cat: recall is not defined there, and means leave the class out",
    )
