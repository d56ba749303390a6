"""The code of the documentation runs, and prints what the page shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs.photos import save_image

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
COMPLETE = [DOCS / "index.md", DOCS / "design.md", *sorted(DOCS.glob("tutorial/*.md"))]
# The commands of these need images of the reader; tests/paper/test_pages.py parses them.
PYTHON_ONLY = [ROOT / "README.md", *sorted(DOCS.glob("guides/*.md"))]
BLOCK = re.compile(r"^```(python|sh|text)\n(.*?)^```", re.DOTALL | re.MULTILINE)
MARK = "\0"  # between the outputs of two blocks


def make_script(page: str, commands: bool) -> tuple[str, dict[int, str]]:
    """Return the blocks of a page as one Python script, and the output that the page shows, by number of the block."""
    steps, printed = [], {}
    for kind, text in BLOCK.findall(page):
        if kind == "python":
            steps.append(text)
        elif kind == "text" and steps:
            printed[len(steps)] = text
        elif kind == "sh" and commands:  # test_recipe_scripts runs the recipes
            lines = "\n".join(line for line in text.splitlines() if not line.startswith("python recipes/"))
            steps.append(f"import subprocess\nsubprocess.run(['bash', '-e', '-c', {lines!r}], check=True)\n")
    return f"\nprint({MARK!r}, flush=True)\n".join(["", *steps]), printed


@pytest.mark.every
@pytest.mark.parametrize("path", [*COMPLETE, *PYTHON_ONLY], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_page_code_prints_what_the_page_shows(path, tmp_path):
    source, printed = make_script(path.read_text(), path in COMPLETE)
    (tmp_path / "page.py").write_text(source)
    for name, color in {"ant": (200, 0, 0), "bee": (0, 200, 0), "cat": (0, 0, 200)}.items():
        for number in range(20):
            save_image(tmp_path / "my_photos" / name / f"{number}.png", tuple(value + number for value in color))
    for number in range(2):
        save_image(tmp_path / "inbox" / f"{number}.png", (200, number, 0))
    search_path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, "page.py"],
        cwd=tmp_path,
        env={**os.environ, "PATH": search_path, "TERM": "dumb", "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    outputs = done.stdout.split(f"{MARK}\n")
    for number, text in printed.items():
        assert outputs[number] == text, f"block {number} of {path.name}"
