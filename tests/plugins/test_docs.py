"""Every command of the page for authors of plugins runs, on the code of the page."""

import os
import re
import subprocess
import sys

import pytest

from tests.plugins.conftest import MAIN, ROOT

PAGE = (ROOT / "docs" / "plugins.md").read_text()


@pytest.fixture
def commands(environment, tmp_path):
    """Return a folder with `kcnn`, `pytest` and `pip` of the environment; pip runs offline."""
    folder = tmp_path / "bin"
    folder.mkdir()
    offline = "--no-build-isolation --no-index"
    for name, line in {
        "kcnn": f'exec {environment.python} -c "{MAIN}" "$@"',
        "pytest": f'exec {environment.python} -m pytest -q -p no:cacheprovider "$@"',
        "pip": f"""case "$1" in
install) exec {sys.executable} -m pip --python {environment.python} install -q --no-deps {offline} "${{@:2}}" ;;
wheel) exec {environment.python} -m pip wheel -q {offline} "${{@:2}}" ;;
*) exec {sys.executable} -m pip --python {environment.python} "$@" ;;
esac""",
    }.items():
        (folder / name).write_text(f"#!/bin/bash\n{line}\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.every
def test_docs_commands_for_authors_of_plugins_run(commands, environment, tmp_path):
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
    environment.uninstall("kcnn-my-net")
