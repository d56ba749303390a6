"""The documentation, read: each command is one that the command line takes, each file is there."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from kcnn.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINE = re.compile(r"^```(?:sh|bash)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def lines(page: str) -> list[list[str]]:
    """The words of each `kcnn ...` in the page's shell blocks, without the first."""
    found = []
    for block in LINE.findall(page):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            found += [words[n + 1 :] for n, word in enumerate(words) if word == "kcnn"]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_have_valid_commands(page):
    group = typer.main.get_command(app)
    for words in lines(page.read_text()):
        top = group.make_context("kcnn", list(words))
        name, command, rest = group.resolve_command(top, words)
        command.make_context(name, [word for word in rest if word != "--help"], parent=top)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_existing_files(page):
    named = set(re.findall(r"\b(?:recipes|benchmarks|tests)/[\w/]+\.py\b", page.read_text()))
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_lines_finds_commands():
    assert ["list", "--max-params", "5M"] in lines((ROOT / "docs" / "guides" / "change-networks.md").read_text())
