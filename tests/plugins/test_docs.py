"""The page for authors of plugins: every command in it runs, and its code is what the commands run on."""

import os
import re
import subprocess
import sys

import pytest

from tests.plugins.conftest import MAIN, ROOT

PAGE = (ROOT / "docs" / "plugins.md").read_text()


@pytest.fixture
def commands(place, tmp_path):
    """A folder with `kcnn`, `pytest` and `pip` as that environment has them; pip without a network."""
    folder = tmp_path / "bin"
    folder.mkdir()
    offline = "--no-build-isolation --no-index"
    for name, line in {
        "kcnn": f'exec {place.python} -c "{MAIN}" "$@"',
        "pytest": f'exec {place.python} -m pytest -q -p no:cacheprovider "$@"',
        "pip": f"""case "$1" in
install) exec {sys.executable} -m pip --python {place.python} install -q --no-deps {offline} "${{@:2}}" ;;
wheel) exec {place.python} -m pip wheel -q {offline} "${{@:2}}" ;;
*) exec {sys.executable} -m pip --python {place.python} "$@" ;;
esac""",
    }.items():
        (folder / name).write_text(f"#!/bin/bash\n{line}\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.every
def test_every_command_of_the_page_runs(commands, place, tmp_path):
    script = ["set -e"]
    for kind, text in re.findall(r"```(sh|python)\n(.*?)```", PAGE, re.DOTALL):
        named = re.match(r"# (\S+\.py)\n", text)
        if kind == "sh":
            script += [line for line in text.splitlines() if line]
        elif named:
            script += [f"cat > {named[1]} <<'END'", text, "END"]
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{commands}:{os.environ['PATH']}", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    assert "2 of 2 are as declared" in done.stdout
    place.uninstall("kcnn-my-net")
