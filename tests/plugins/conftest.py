"""An environment of its own that sees the packages of this one, and into which plugins are really installed."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAIN = "from kcnn.cli import main; main()"


class Place:
    """A virtual environment, and how to install, remove and run in it."""

    def __init__(self, folder):
        self.folder = folder
        venv.create(folder / "environment", with_pip=False)
        self.python = folder / "environment" / "bin" / "python"
        own = sysconfig.get_path("purelib", vars={"base": str(folder / "environment")})
        here = sysconfig.get_path("purelib")
        Path(own, "parent.pth").write_text(f"import site; site.addsitedir({here!r})\n")

    def pip(self, *words):
        command = [sys.executable, "-m", "pip", "--python", str(self.python), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]

    def install(self, source):
        """Build and install a distribution, from a copy of its folder."""
        copy = self.folder / "sources" / source.name
        shutil.copytree(source, copy, dirs_exist_ok=True)
        self.pip("install", "-q", "--no-deps", "--no-build-isolation", "--no-index", str(copy))
        return copy

    def uninstall(self, distribution):
        self.pip("uninstall", "-q", "-y", distribution)

    def run(self, *command, code=0, cwd=None, **variables):
        """Standard output and error of a Python process of that environment."""
        done = subprocess.run(
            [str(self.python), *command],
            cwd=cwd or self.folder,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, f"exit {done.returncode}: {done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        return done.stdout + done.stderr

    def kcnn(self, *words, **asked):
        """What the command line prints."""
        return self.run("-c", MAIN, *words, **asked)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("place"))
