"""The words that kcnn does not use any more are used nowhere: one list, in retired_words.txt."""

import ast
import re
from functools import cache
from pathlib import Path

import click
import pytest
import typer
from click.testing import CliRunner

from kcnn.cli import app
from tests.paper.test_imports import ROOT, SOURCES, STUBS, exported_names, package_name

DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = sorted((SOURCES / "kcnn" / "reports").glob("*.html"))
SCAFFOLD = [
    path
    for path in (SOURCES / "kcnn/architectures/scaffold").rglob("*")
    if path.suffix in (".py", ".txt", ".toml", ".md")
]
READ = [  # by people who copy them, and as labels of plots and texts of pages
    *(ROOT / "recipes").glob("*.py"),
    *(
        path
        for path in (ROOT / "examples").rglob("*")
        if path.suffix in (".py", ".md", ".toml") and "build" not in path.parts
    ),
    *SCAFFOLD,
    *(SOURCES / "kcnn/plots").rglob("*.py"),
    *(SOURCES / "kcnn/reports").glob("*.py"),
    *(SOURCES / "kcnn/explain").glob("plots.py"),
    *(SOURCES / "kcnn/fine_tuning").glob("plots.py"),
]


@cache
def retired(section):
    text = Path(__file__).with_name("retired_words.txt").read_text()
    block = re.search(rf"^\[{section}\]$(.*?)(?=^\[|\Z)", text, re.MULTILINE | re.DOTALL)[1]
    return [line for line in block.splitlines() if line and not line.startswith("#")]


def phrases_in(text):
    """(retired phrase, where it is) in a text."""
    for phrase in retired("phrases"):
        for match in re.finditer(phrase, text, re.IGNORECASE):
            yield phrase, text[max(0, match.start() - 30) : match.end() + 30].replace("\n", " ")


def phrases_in_page(html):
    """(retired phrase, where it is) in what a page shows."""
    without_code = re.sub(r"<(script|style)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return phrases_in(re.sub(r"<[^>]*>", " ", without_code))


def retired_options(command):
    """The options that are retired in a command; one behind a command's name is retired there alone."""
    pairs = [line.rpartition(" ")[::2] for line in retired("options")]
    return [option for where, option in pairs if where in ("", command)]


def options_in(text, command):
    for option in retired_options(command):
        for match in re.finditer(rf"(?<![\w-]){option}(?![\w-])", text):
            yield option, text[max(0, match.start() - 60) : match.end() + 10]


def parameters(function):
    arguments = function.args
    return [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]


def names_of(node):
    """The name of a function or class, and those of its parameters, attributes and methods, with and without it."""
    yield node.name
    if isinstance(node, ast.ClassDef):
        for child in node.body:
            if isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name):
                yield from (child.target.id, f"{node.name}.{child.target.id}")
            elif isinstance(child, ast.FunctionDef) and not child.name.startswith("_"):
                yield from (f"{node.name}.{name}" for name in names_of(child))
                yield from names_of(child)
        return
    for parameter in parameters(node):
        yield from (parameter, f"{node.name}({parameter})")


@cache
def definitions(module):
    path = SOURCES / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    nodes = ast.parse(path.read_text()).body if path.exists() else []
    return {node.name: node for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def public_names(stub):
    """Every name that a package exports, with what belongs to it; of an exported module that of its public names."""
    package = package_name(stub)
    for name, module in exported_names(stub).items():
        if module == f"{package}.{name}":
            nodes = [node for public, node in definitions(module).items() if not public.startswith("_")]
        else:
            yield from (name, f"{package}.{name}")
            nodes = [definitions(module)[name]] if name in definitions(module) else []
        for node in nodes:
            yield from names_of(node)


@pytest.mark.parametrize("stub", STUBS, ids=package_name)
def test_public_names_are_not_retired(stub):
    assert sorted(set(public_names(stub)) & set(retired("names"))) == []


COMMANDS = typer.main.get_command(app)


@cache
def show_help(*words):
    result = CliRunner().invoke(COMMANDS, [*words, "--help"], prog_name="kcnn", terminal_width=200)
    assert result.exit_code == 0
    return result.stdout


@pytest.mark.parametrize("name", COMMANDS.commands)
def test_help_has_no_retired_word(name):
    command = COMMANDS.commands[name]
    options = {text for option in command.params if isinstance(option, click.Option) for text in option.opts}
    assert sorted(options & set(retired_options(name))) == []
    shown = show_help(name)
    assert [*phrases_in(shown), *options_in(shown, name)] == []


def test_help_of_kcnn_has_no_retired_word():
    assert list(phrases_in(show_help())) == []


def test_help_of_every_command_shows_examples():
    for name in COMMANDS.commands:
        assert "Examples" in show_help(name)
        assert f"kcnn {name}" in show_help(name)


def test_documentation_has_no_retired_word():
    functions = [name for name in retired("names") if name.startswith("kcnn.")]
    for page in DOCS:
        text = page.read_text()
        called = [name for name in functions if re.search(rf"\b{name}\(", text)]
        lines = [(line, match[1]) for line in text.splitlines() for match in re.finditer(r"kcnn ([a-z-]*)", line)]
        options = [one for line, command in lines for one in options_in(line, command)]
        assert [*phrases_in(text), *options, *called] == [], page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_have_no_retired_word(page):
    text = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", " ", page.read_text(), flags=re.DOTALL)
    assert list(phrases_in_page(text)) == []


def texts_in(path):
    """The strings and docstrings of a Python file; all of another file."""
    if path.suffix != ".py":
        return path.read_text()
    nodes = ast.walk(ast.parse(path.read_text()))
    return "\n".join(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


def test_scripts_examples_and_plots_have_no_retired_word():
    assert READ
    assert {path: found for path in sorted(READ) if (found := list(phrases_in(texts_in(path))))} == {}
