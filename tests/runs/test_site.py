"""The documentation as a site: it builds without a warning, and its reference has every public word."""

import os
import re
import subprocess
import sys
from importlib import import_module
from inspect import isclass, isroutine
from pathlib import Path

import pytest

import kcnn

pytest.importorskip("mkdocs", reason='the site is built by MkDocs: pip install "kcnn[docs]"')
ROOT = Path(__file__).parents[2]
KEPT = {"runs": {"config", "metrics", "history", "listed", "Summary"}}  # the rest is for kcnn's own rooms
ROOMS = [path.stem for path in sorted((ROOT / "docs" / "reference").glob("*.md")) if path.stem != "index"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("room", ROOMS)
def test_the_reference_has_every_public_function_and_class(site, room):
    module = import_module("kcnn" if room == "kcnn" else f"kcnn.{room}")
    there = {
        name.rpartition(".")[2]
        for name in re.findall(r'id="(kcnn\.[\w.]+)"', (site / "reference" / f"{room}.html").read_text())
    }
    words = getattr(module, "__all__", None) or [
        word for word, found in vars(module).items() if getattr(found, "__module__", "") == module.__name__
    ]
    found = {word: getattr(module, word) for word in words if word[0] != "_"}
    own = {word for word, it in found.items() if isclass(it) or isroutine(it)}
    own = {word for word in own if found[word].__module__.startswith("kcnn")}
    own &= KEPT.get(room, own)
    assert own
    assert own - there == set()


def test_every_room_of_the_package_has_a_page():
    assert set(kcnn._ROOMS) - {"lower"} <= set(ROOMS)  # lower puts ops into Keras for kcnn's own rooms


def test_drawings_are_those_of_the_networks(site):
    assert "inception_3a" in (site / "drawings" / "googlenet.svg").read_text()


def test_no_page_asks_the_network_for_anything(site):
    asking = re.compile(r'(?:<script[^>]*src|<link[^>]*rel="stylesheet"[^>]*href|<img[^>]*src)="(?:https?:)?//')
    assert [page.name for page in site.rglob("*.html") if asking.search(page.read_text())] == []
