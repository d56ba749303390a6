"""Run code in a process of its own as if TensorFlow were not installed, on another backend of Keras."""

import os
import subprocess
import sys

HIDE = """
import sys

class Hidden:  # torch only asks whether TensorFlow is there
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "tensorflow" and "torch" not in sys.modules:
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
