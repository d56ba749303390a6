"""Rows of the catalogue are remembered for the very same source files, and for nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

import kcnn
from kcnn.architectures import catalogue, catalogue_rows
from kcnn.architectures.catalogue_rows import load_rows, make_row, save_rows


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KCNN_CACHE", str(tmp_path))
    return tmp_path / "catalogue"


def refuse(*_):
    pytest.fail("a network is traced again")


def test_load_rows_returns_what_was_saved(folder):
    assert load_rows() == {}
    rows = {name: make_row(name) for name in ("lenet5", "vgg11", "resnet50.keras")}
    save_rows(rows)
    assert load_rows() == rows
    assert rows["vgg11"].params == 132_863_336
    assert rows["vgg11"].variants == ("torchvision",)


def test_load_rows_of_other_source_files_returns_none(folder, monkeypatch, tmp_path):
    save_rows({"lenet5": make_row("lenet5")})
    (old,) = folder.iterdir()
    monkeypatch.setattr(catalogue_rows, "ROOMS", ("graph", "blocks"))
    assert load_rows() == {}
    save_rows({"lenet5": make_row("lenet5")})
    (new,) = folder.iterdir()
    assert new != old


def test_load_rows_depends_on_every_source_file_of_architectures(monkeypatch):
    read, digested = Path.read_bytes, set()
    monkeypatch.setattr(Path, "read_bytes", lambda file: (digested.add(file), read(file))[1])
    load_rows()
    sources = Path(kcnn.__file__).parent / "architectures"
    assert set(sources.rglob("*.py")) <= digested


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"[1]", b'{"lenet5": {}}', b'{"lenet5": {"params": "x"}}', b"\xff", b"{" * 9999]
)
def test_load_rows_of_a_damaged_file_returns_none(folder, content):
    save_rows({"lenet5": make_row("lenet5")})
    (file,) = folder.iterdir()
    file.write_bytes(content)
    assert load_rows() == {}


def test_save_rows_without_a_cache_folder_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KCNN_CACHE", str(tmp_path / "file"))
    save_rows({"lenet5": make_row("lenet5")})
    assert load_rows() == {}


@pytest.mark.parametrize(
    "words", [("mobilenet*",), ("mobilenet*", "--variants", "--weights"), ("mobilenet*", "--json")]
)
def test_cli_list_prints_the_same_from_remembered_rows(command, monkeypatch, words):
    first = command("list", *words)
    assert "mobilenet_v3_large" in first.stdout
    monkeypatch.setattr(catalogue, "make_entry", refuse)
    assert command("list", *words) == first


def test_cli_list_does_not_remember_a_network_that_a_rival_publishes_too(command, install):
    assert "132,863,336" in command("list", "vgg11").stdout
    save_rows({name: replace(load_rows()["vgg11"], network=name) for name in kcnn.list_models()})  # which take seconds
    install(
        "kcnn-rival",
        "rival_plugin",
        "from kcnn import Architecture\nfrom kcnn.blocks import conv\n"
        "net = Architecture(backbone=lambda x: conv(x, 4), reference='none')",
        vgg11="net",
    )
    (line,) = (line for line in command("list").stdout.splitlines() if line.startswith("vgg11 "))
    assert "kcnn-rival" in line
