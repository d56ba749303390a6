"""A virtual environment that sees the packages of this one, into which plugins are installed."""

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


class Environment:
    """A virtual environment: install, uninstall and run in it."""

    def __init__(self, folder):
        self.folder = folder
        venv.create(folder / "environment", with_pip=False)
        self.python = folder / "environment" / "bin" / "python"
        own = sysconfig.get_path("purelib", vars={"base": str(folder / "environment")})
        here = sysconfig.get_path("purelib")
        Path(own, "parent.pth").write_text(f"import site; site.addsitedir({here!r})\n")

    def pip(self, *arguments):
        command = [sys.executable, "-m", "pip", "--python", str(self.python), *arguments]
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
        """Return standard output and error of a Python process of this environment."""
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

    def kcnn(self, *arguments, **options):
        """Return what the command line prints."""
        return self.run("-c", MAIN, *arguments, **options)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return Environment(tmp_path_factory.mktemp("environment"))
