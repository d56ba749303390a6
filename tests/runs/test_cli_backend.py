"""Loading Keras for a command, and leaving it."""

import os
import subprocess
import sys

from kcnn.cli.backend import start_backend


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_start_backend_leaves_the_environment_of_child_processes_alone_once_tensorflow_is_loaded(monkeypatch):
    import tensorflow  # noqa: F401

    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    start_backend()
    assert "TF_ENABLE_ONEDNN_OPTS" not in os.environ


def test_start_backend_loads_no_packages_that_commands_do_not_use_but_leaves_them_to_others():
    done = run(
        "import sys\nfrom kcnn.cli.backend import UNUSED, UNUSED_BY_TENSORFLOW, start_backend\nstart_backend()\n"
        "assert not {*UNUSED, *UNUSED_BY_TENSORFLOW} & set(sys.modules)\n"
        "import jax, matplotlib.pyplot, pandas, scipy.sparse, sklearn.linear_model"
    )
    assert done.returncode == 0, done.stderr


PROGRAM = """
import atexit, sys, types
sys.modules["tensorflow"] = types.ModuleType("tensorflow")  # as if it were loaded
import kcnn.cli
from kcnn.__main__ import main

atexit.register(print, "goodbye")
def run():
    print("hello")
    raise SystemExit({code!r})
kcnn.cli.main = run
main()
"""


def test_program_with_tensorflow_ends_with_its_code_after_exit_functions_and_all_output():
    for code, expected in ((0, 0), (None, 0), (2, 2), ("sorry", 1)):
        done = run(PROGRAM.format(code=code))
        assert (done.returncode, done.stdout) == (expected, "hello\ngoodbye\n")
        assert done.stderr.endswith("sorry\n") == (expected == 1)
