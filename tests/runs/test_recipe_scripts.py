"""The recipes that users run and copy: each runs small, in seconds."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.py"))


SMALL = {"transfer_mobile": ["--seeds", "1", "--head-epochs", "1", "--epochs", "1"]}  # the demonstration, shorter


@pytest.mark.every
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_runs_small_and_tells_its_result(path, tmp_path):
    command = [sys.executable, str(path), *SMALL.get(path.stem, ["--smoke"]), "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"\d+\.\d\d%", done.stdout)
    assert any((tmp_path / "out").rglob("metrics.json"))
    page = (tmp_path / "out" / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page), "it asks the network for nothing"
    assert page.rstrip().endswith("</html>")
