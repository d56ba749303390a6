"""Plugins that are really on the path, as pip would lay them out, and the command line as a person uses it."""

import os
import sys
from types import SimpleNamespace

import hypothesis
import pytest

from kcnn.architectures import registry
from kcnn.cli import main

hypothesis.settings.register_profile("kcnn", deadline=None)  # a busy machine is no fault
hypothesis.settings.load_profile("kcnn")


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a distribution with entry points on the path, as pip would lay it out."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    modules = []

    def one(distribution, module, code, needs=(), **points):
        modules.append(module)
        (tmp_path / f"{module}.py").write_text(code)
        folder = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        lacks = "".join(f"Requires-Dist: {need}\n" for need in needs)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n{lacks}")
        lines = [f"{name} = {module}:{attribute}" for name, attribute in points.items()]
        (folder / "entry_points.txt").write_text("[kcnn.architectures]\n" + "\n".join(lines))
        registry.refresh_plugins()

    yield one
    registry.refresh_plugins()
    for name in modules:
        sys.modules.pop(name, None)


@pytest.fixture
def command(monkeypatch, capsys):
    """Run `kcnn` with words, as its entry point does, and give what it printed and its exit code."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["kcnn", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=printed.out, stderr=printed.err)

    return run
