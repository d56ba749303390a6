"""The recipes that users run and copy: each runs small, in seconds."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import hidden

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.py"))


SMALL = {"transfer_mobile": ["--seeds", "1", "--head-epochs", "1", "--epochs", "1"]}  # the demonstration, shorter


@pytest.mark.every
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_script_runs_small_and_prints_its_result(path, tmp_path):
    command = [sys.executable, str(path), *SMALL.get(path.stem, ["--smoke"]), "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"\d+\.\d\d%", done.stdout)
    assert any((tmp_path / "out").rglob("metrics.json"))
    page = (tmp_path / "out" / "report.html").read_text()
    assert not re.findall(r'<(?:script|img|link|iframe)[^>]*(?:src|href)="(?!data:)', page), "it asks for nothing"
    assert page.rstrip().endswith("</html>")


@pytest.mark.every
def test_recipe_script_refuses_missing_data_in_one_line(tmp_path):
    path = next(path for path in RECIPES if path.stem == "what_layers_see")
    command = [sys.executable, str(path), "--data", "nowhere/", "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")


SCRIPT = """
import runpy

del sys.argv[0]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as done:
    assert not done.code
assert "tensorflow" not in sys.modules
"""


@pytest.mark.every
def test_recipe_script_runs_in_full_on_jax_from_arrays_without_tensorflow(tmp_path):
    pytest.importorskip("jax")
    path = next(path for path in RECIPES if path.stem == "deeper_is_not_better")
    pixels = np.random.default_rng(0).integers(256, size=(400, 32, 32, 3), dtype="uint8")
    labels = (np.arange(400) % 10)[:, None]
    arrays = {"x_train": pixels[:300], "y_train": labels[:300], "x_test": pixels[300:], "y_test": labels[300:]}
    np.savez(tmp_path / "arrays.npz", **arrays)
    words = ("arrays.npz", "--smoke", "--full", "--out", "out")
    hidden.run(SCRIPT, str(path), *words, backend="jax", cwd=tmp_path)
    assert len(list((tmp_path / "out").rglob("metrics.json"))) == 8
