"""The documentation: what a page tells to run runs, and prints what the page says it prints."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
WHOLE = [DOCS / "index.md", DOCS / "design.md", *sorted(DOCS.glob("tour/*.md"))]
TASKS = [
    ROOT / "README.md",
    *sorted(DOCS.glob("tasks/*.md")),
]  # their commands want photos; tests/paper/test_pages.py reads them
BLOCK = re.compile(r"^```(python|sh|text)\n(.*?)^```", re.DOTALL | re.MULTILINE)
MARK = "\0"  # between what one block prints and what the next one does


def script(page: str, commands: bool) -> tuple[str, dict[int, str]]:
    """The blocks of a page as one Python script, and by their numbers what the page says that they print."""
    steps, printed = [], {}
    for kind, text in BLOCK.findall(page):
        if kind == "python":
            steps.append(text)
        elif kind == "text" and steps:
            printed[len(steps)] = text
        elif kind == "sh" and commands:  # recipes run in test_recipe_scripts
            own = "\n".join(line for line in text.splitlines() if not line.startswith("python recipes/"))
            steps.append(f"import subprocess\nsubprocess.run(['bash', '-e', '-c', {own!r}], check=True)\n")
    return f"\nprint({MARK!r}, flush=True)\n".join(["", *steps]), printed


@pytest.mark.every
@pytest.mark.parametrize("path", [*WHOLE, *TASKS], ids=lambda path: path.stem)
def test_what_a_page_tells_to_run_prints_what_the_page_says(path, tmp_path):
    source, printed = script(path.read_text(), path in WHOLE)
    (tmp_path / "page.py").write_text(source)
    here = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, "page.py"],
        cwd=tmp_path,
        env={**os.environ, "PATH": here, "TERM": "dumb", "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    outputs = done.stdout.split(f"{MARK}\n")
    for number, text in printed.items():
        assert outputs[number] == text, f"block {number} of {path.name}"
