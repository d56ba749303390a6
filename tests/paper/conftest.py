"""Plugins that are really on the path, as pip would lay them out."""

import sys

import pytest

from kcnn import registry


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a distribution with entry points on the path, as pip would lay it out."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def one(distribution, module, code, **points):
        (tmp_path / f"{module}.py").write_text(code)
        folder = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = [f"{name} = {module}:{attribute}" for name, attribute in points.items()]
        (folder / "entry_points.txt").write_text("[kcnn.architectures]\n" + "\n".join(lines))
        registry.refresh()

    yield one
    registry.refresh()
    for name in ("broken_plugin", "rival_plugin", "wrong_plugin"):
        sys.modules.pop(name, None)
