"""Labels of arrays and of CSV files in every form, and messages that name the row and the cure."""

import numpy as np
import pytest

from kcnn import data
from kcnn.data.sources import find_source
from tests.runs.photos import sizes

IMAGES = np.arange(12 * 4 * 4, dtype="uint8").reshape(12, 4, 4)
NUMBERS = np.arange(12) % 3


def labels_of(source, **options):
    found = find_source(source, **options)
    return found.classes, found.splits["train"].labels.tolist()


@pytest.mark.parametrize(
    "labels",
    [
        NUMBERS.astype("uint8")[:, None],  # keras.datasets.cifar10
        *(NUMBERS.astype(dtype) for dtype in ("uint8", "int8", "uint16", "int32", "uint32", "uint64", "int64")),
        NUMBERS.tolist(),
        NUMBERS.astype(object),  # what a nullable column of pandas becomes
        NUMBERS.astype(object)[:, None],
        np.array([*map(np.int32, NUMBERS)], object),
        np.eye(3, dtype="float32")[NUMBERS],
        np.eye(3, dtype=bool)[NUMBERS],
    ],
    ids=lambda labels: f"{np.asarray(labels).dtype}{np.shape(labels)}",
)
def test_read_arrays_takes_labels_of_every_integer_type_and_one_hot(labels):
    assert labels_of((IMAGES, labels)) == (("0", "1", "2"), NUMBERS.tolist())


@pytest.mark.parametrize("dtype", [str, bytes, object])
def test_read_arrays_numbers_class_names(dtype):
    names = np.array(["owl", "cat", "ant"])[NUMBERS].astype(dtype)
    names = np.array([str(name) for name in names], object) if dtype is object else names
    assert labels_of((IMAGES, names)) == (("ant", "cat", "owl"), (2 - NUMBERS).tolist())
    assert labels_of((IMAGES, names[:, None]), classes=("owl", "cat", "ant"))[1] == NUMBERS.tolist()
    with pytest.raises(LookupError, match="labels: unknown class 'owl'; choose from cat, ant"):
        find_source((IMAGES, names), classes=("cat", "ant"))


def test_load_takes_the_pairs_of_keras_datasets():
    rng = np.random.default_rng(0)
    pairs = [
        (rng.integers(0, 256, (n, 8, 8, 3), "uint8"), (np.arange(n) % 3).astype("uint8")[:, None]) for n in (30, 9)
    ]
    found = data.load((pairs[0], pairs[1]), input_shape=(8, 8, 3))
    assert sizes(found) == {"train": 27, "validation": 3, "test": 9}


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (NUMBERS.astype("float32"), r"one integer per image, .*; got float32 of shape \(12,\); convert .*astype"),
        (NUMBERS.reshape(1, 12), r"one integer per image, .*; got int64 of shape \(1, 12\)"),
        (np.eye(3)[NUMBERS] / 2, r"or 0 and 1 for each class; got float64 of shape \(12, 3\)"),
        ([[0], [0, 1], *[[1]] * 10], "train: labels are arrays of one shape"),
        (NUMBERS * 10**6, "labels go up to 2000000, but there are only 12 training images"),
        (np.full(12, 2**63, "uint64"), "labels count the classes from 0, got 9223372036854775808"),
        (NUMBERS - 1, "labels count from 0, got -1"),
        ((NUMBERS - 1).astype(object), "labels count the classes from 0, got -1 to 1"),
        (np.array([2**80] * 12, object), "labels count the classes from 0, got 1208925819614629174706176"),
        (np.array([0, None] * 6, object), r"one integer per image, .*; got object"),
    ],
)
def test_read_arrays_says_what_labels_are(labels, says):
    with pytest.raises(ValueError, match=says):
        find_source((IMAGES, labels))


def test_read_arrays_refuses_two_of_one_split_or_class_and_unlike_labels():
    pair = (IMAGES, NUMBERS)
    with pytest.raises(ValueError, match="val_set: the validation split is given twice"):
        find_source({"train": pair, "val": pair, "val_set": pair})
    with pytest.raises(ValueError, match=r"labels of different kinds .*: train int64 .*, test <U"):
        find_source({"train": pair, "test": (IMAGES, NUMBERS.astype(str))})
    with pytest.raises(ValueError, match="has two classes 'a'; class names must differ"):
        find_source(pair, classes=("a", "b", "a"))
    with pytest.raises(ValueError, match="train: images are arrays of one shape"):
        find_source(([np.zeros((4, 4)), np.zeros((5, 4))], [0, 1]))


@pytest.fixture
def write_csv(photos):
    """A function that writes lines beside the photos; FILE1 and so on become names of files."""
    files = [f"{path.parent.name}/{path.name}" for path in sorted(photos.glob("*/*"))]

    def write(*lines, encoding="utf-8", name="labels.csv"):
        text = "\n".join(lines)
        for number in reversed(range(len(files))):
            text = text.replace(f"FILE{number}", files[number])
        (photos / name).write_bytes(text.encode(encoding))
        return str(photos / name)

    return write


LABELS = ("golden retriever", "tench, Tinca tinca")


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize(
    ("first", "encoding"), [("", "utf-8"), ("", "utf-8-sig"), ("sep={}\n", "utf-8"), ("", "utf-16")]
)
def test_read_csv_takes_any_delimiter_and_a_cell_is_one_label(mark, first, encoding, write_csv):
    rows = [f'FILE{number}{mark}"{LABELS[number % 2]}"' for number in range(4)]
    path = write_csv(f"{first.format(mark)}file{mark}label", "", *rows, "", encoding=encoding)
    assert labels_of(path) == (LABELS, [0, 1, 0, 1])


def test_read_csv_takes_tsv_files_and_splits_in_any_case(write_csv):
    rows = [
        f"FILE{n}\t{'ab'[n % 2]}\t{split}" for n, split in enumerate(["Train", "training_set", "VAL", "Test", "dev"])
    ]
    source = find_source(write_csv("file\tlabel\tSplit", *rows, name="labels.tsv"))
    assert {name: len(split.labels) for name, split in source.splits.items()} == {
        "train": 2,
        "validation": 2,
        "test": 1,
    }


@pytest.mark.parametrize(
    ("header", "cells", "named"),
    [
        (",file,label,,", ["{},FILE{},cat,,", "{},FILE{},dog,,"], ["1, an index"]),
        ("Unnamed: 0,file,label", ["{},FILE{},cat", "{},FILE{},dog"], ["1, the index 'Unnamed: 0'"]),
        ("index,file,label", ["{},FILE{},cat", "{},FILE{},dog"], ["1, the index 'index'"]),
        (",index,file,label", ["0,{},FILE{},cat", "1,{},FILE{},dog"], ["1, an index", "2, the index 'index'"]),
        (
            "Unnamed: 0.1,Unnamed: 0,file,label",
            ["0,{},FILE{},cat", "1,{},FILE{},dog"],
            ["1, the index 'Unnamed: 0.1'", "2, the index 'Unnamed: 0'"],
        ),
        ("Index,file,cat,dog", ["{},FILE{},1,0", "{},FILE{},0,1"], ["1, the index 'Index'"]),
    ],
)
def test_read_csv_leaves_out_the_index_of_a_spreadsheet_and_empty_columns(header, cells, named, write_csv):
    path = write_csv(header, *(row.format(7 * number, number) for number, row in enumerate(cells)))
    source = find_source(path)
    assert (source.classes, source.splits["train"].labels.tolist()) == (("cat", "dog"), [0, 1])
    assert source.warnings == tuple(f"{path}: left out column {text}" for text in named)


def test_read_csv_keeps_a_class_of_the_name_index(write_csv):
    path = write_csv("file,index,thumb", "FILE0,1,0", "FILE1,0,1")
    assert labels_of(path) == (("index", "thumb"), [0, 1])


def test_read_csv_of_several_labels_warns_where_it_separates_at_spaces(write_csv):
    path = write_csv("file,tags", "FILE0,haze primary", "FILE1,haze", "FILE2,")
    source = find_source(path, multi_label=True)
    assert (source.classes, source.splits["train"].labels.tolist()) == (("haze", "primary"), [[1, 1], [1, 0], [0, 0]])
    assert "labels are separated at spaces, such as haze, primary; write ; between labels" in source.warnings[0]
    long = write_csv("file,tag", "FILE0,golden retriever", "FILE0,tennis ball", "FILE1,tennis ball")
    assert labels_of(long, multi_label=True) == (("golden retriever", "tennis ball"), [[1, 1], [0, 1]])
    marked = write_csv("file;tags", 'FILE0;"golden retriever|tennis ball"', "FILE1;tennis ball")
    assert labels_of(marked, multi_label=True) == (("golden retriever", "tennis ball"), [[1, 1], [0, 1]])


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (
            ["file,label", "FILE0,cat", "FILE1,cat;dog"],
            "row 3: expected one label .* the labels cat, dog; .*--multi-label",
        ),
        (["file,label", "", "FILE0,cat", "FILE1,"], "row 4: expected one label per image, but .* has no label"),
        (["file,label", "FILE0,cat", "FILE0,dog"], r"row 3: .* the labels cat, dog \(see row 2\); for any number"),
        (["file,label", "FILE0,cat", "FILE1,tench, Tinca"], "row 3: 3 cells, but the header has 2 .* quotes around"),
        (["id,file,label", "7,FILE0,cat"], "row 2: files belong in the first column, which is 'id'; .* in 'file'"),
        (["gone/1.png,cat", "gone/2.png,dog"], "has no header: its first row is gone/1.png, cat"),
        (["file,label,x", "FILE0,cat,4"], "row 2: expected 0 or 1 in 'label', got 'cat'; .* remove other columns"),
        (["file,label,", "FILE0,cat,why"], "row 1: column 3 has no name; name it, or remove it"),
        (
            ["file,label", "1,cat"],
            "none of them exists, such as .* in row 2; paths are relative to the folder of the CSV",
        ),
        (["file,a;b", "FILE0,1;0"], "row 1: it is not clear whether ',' or ';' separates the cells"),
        (["file,a,a", "FILE0,1,0"], "has two classes 'a'"),
    ],
)
def test_read_csv_names_the_row_and_the_cure(lines, says, write_csv):
    path = write_csv(*lines)
    with pytest.raises(ValueError, match=f"labels.csv.*{says}" if "two classes" not in says else says):
        find_source(path)


def test_read_csv_names_the_line_that_is_not_utf8_and_other_files(write_csv):
    with pytest.raises(ValueError, match=r"labels.csv, line 3: not in UTF-8 .*; save it as a CSV in UTF-8"):
        find_source(write_csv("file,label", "FILE0,cat", "FILE1,kätzchen", encoding="cp1252"))
    for encoding in ("utf-16-le", "utf-32"):
        with pytest.raises(
            ValueError, match=r"labels.csv is not in UTF-8: it has zero bytes.*; save it as a CSV in UTF-8"
        ):
            find_source(write_csv("file,label", "FILE0,cat", encoding=encoding))
    with pytest.raises(ValueError, match=r"labels.txt is a file; data is a folder .*, or a .csv of labels"):
        find_source(write_csv("file,label", name="labels.txt"))


def test_read_csv_takes_one_column_of_0_and_1_as_an_indicator(photos):
    files = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.*"))
    path = photos / "labels.csv"
    path.write_text("\n".join(["file,is_red", *(f"{file},{int(file.startswith('red'))}" for file in files)]))
    found = find_source(path, multi_label=True)
    assert found.classes == ("is_red",)
    assert found.splits["train"].labels.tolist() == [[int(file.startswith("red"))] for file in files]
    assert find_source(path).classes == ("0", "1"), "one label per image"
    path.write_text("\n".join(["file,label", *(f"{file},{label}" for file in files for label in (0, 1))]))
    assert find_source(path, multi_label=True).classes == ("0", "1"), "a row for each label"


def test_read_csv_knows_a_file_by_any_spelling_of_its_path(write_csv):
    path = write_csv("file,label", "FILE0,cat", "FILE1,dog", "./FILE0,cat")
    assert labels_of(path)[1] == [0, 1]
    path = write_csv("file,label", "FILE0,cat", "FILE1,dog", "./FILE0,dog")
    with pytest.raises(
        ValueError, match=r"row 4: expected one label per image, .* has the labels cat, dog \(see row 2"
    ):
        find_source(path)


def test_find_source_warns_of_classes_that_differ_by_the_encoding_of_their_letters():
    names = ["caf\u00e9", "cafe\u0301", "tea"]
    found = find_source((IMAGES, NUMBERS), classes=names)
    assert found.warnings == (f"classes that differ by how their letters are encoded alone: {', '.join(names[:2])}",)
