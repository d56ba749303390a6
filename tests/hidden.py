"""Run code in a process of its own as if TensorFlow were not installed, on another backend of Keras."""

import os
import subprocess
import sys

HIDE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        caller = sys._getframe(1)
        while "importlib._bootstrap" in caller.f_code.co_filename:
            caller = caller.f_back
        is_import = "importlib.util" not in caller.f_code.co_filename  # torch only asks whether TensorFlow is there
        if name.partition(".")[0] == "tensorflow" and is_import:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
"""


def run(code: str, *arguments: str, backend: str, cwd: object) -> str:
    """Return what the code prints; raise an AssertionError with its error where it fails."""
    done = subprocess.run(
        [sys.executable, "-c", HIDE + code, *arguments],
        env={**os.environ, "KERAS_BACKEND": backend},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
