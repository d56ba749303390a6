"""Files that are whole or not there, and text that every file can hold."""

import os
import subprocess
import sys

import pytest

from kcnn.atomic_io import replace_atomically, write_text
from kcnn.graph.formatting import join_names, to_printable


def test_replace_atomically_leaves_the_old_file_after_an_error(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(UnicodeEncodeError), replace_atomically(tmp_path / "a.txt") as temporary:
        temporary.write_text("half \ud800", encoding="utf-8")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "old"}


def test_replace_atomically_removes_what_a_killed_process_left_and_nothing_else(tmp_path):
    code = (
        "import os, signal, sys; from kcnn.atomic_io import replace_atomically\n"
        "with replace_atomically(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.txt")], check=False)
    (leftover,) = tmp_path.iterdir()
    ours = tmp_path / leftover.name.replace(leftover.name.split("-")[-2], str(os.getpid()))  # of a living process
    ours.write_text("being written")
    others = tmp_path / ".a-notes.txt"
    others.write_text("of a person")
    write_text(tmp_path / "a.txt", "new")
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "a.txt", ours, others])


def test_write_text_writes_a_name_in_another_encoding_as_escapes(tmp_path):
    write_text(tmp_path / "a.txt", os.fsdecode(b"caf\xe9"))
    assert (tmp_path / "a.txt").read_bytes() == b"caf\\udce9"


@pytest.mark.parametrize(
    ("text", "printable"),
    [
        ("golden retriever, 犬\n", "golden retriever, 犬\n"),
        ("bell\x07 \x1b[31mred", r"bell\x07 \x1b[31mred"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("\ud800 \u202egnp.exe", r"\ud800 \u202egnp.exe"),
    ],
)
def test_to_printable_escapes_what_is_no_character(text, printable):
    assert to_printable(text) == printable


def test_join_names_counts_what_it_leaves_out():
    assert join_names(["a", "b"], 2) == "a, b"
    assert join_names(iter("abcde"), 2) == "a, b and 3 more"
    assert join_names([]) == ""
