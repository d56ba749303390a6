"""The command line accepts each command of the documentation, and each file that a page names exists."""

import re
import shlex
from pathlib import Path

import typer

from kcnn.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINE = re.compile(r"^```(?:sh|bash)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def commands(page: str) -> list[list[str]]:
    """Return the arguments of each `kcnn ...` in the shell blocks of a page."""
    lines = [line for block in LINE.findall(page) for line in block.replace("\\\n", " ").splitlines()]
    split = [shlex.split(line, comments=True) for line in lines]
    return [words[n + 1 :] for words in split for n, word in enumerate(words) if word == "kcnn"]


def test_pages_have_valid_commands():
    group = typer.main.get_command(app)
    for arguments in (arguments for page in PAGES for arguments in commands(page.read_text())):
        top = group.make_context("kcnn", list(arguments))
        name, command, rest = group.resolve_command(top, arguments)
        command.make_context(name, [word for word in rest if word != "--help"], parent=top)


def test_pages_name_existing_files():
    pattern = re.compile(r"\b(?:recipes|benchmarks|tests)/[\w/]+\.py\b")
    named = {(page, name) for page in PAGES for name in pattern.findall(page.read_text())}
    assert [(page, name) for page, name in sorted(named) if not (ROOT / name).is_file()] == []


def test_commands_reads_shell_blocks():
    assert ["list", "--max-params", "5M"] in commands((ROOT / "docs" / "guides" / "change-networks.md").read_text())
