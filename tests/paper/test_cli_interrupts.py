"""Ctrl-C: the program ends without a traceback, whatever it does, also while it loads."""

import signal
import subprocess
import sys

import pytest

from kcnn.cli import app

INTERRUPTED_WHILE_IT_LOADS = """
import signal, sys
class Press:
    def find_spec(self, name, path=None, target=None):
        if name == "kcnn.cli.console":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Press())
"""


INTERRUPTED_TWICE = """
import signal, sys, kcnn.cli
def press():
    signal.raise_signal(signal.SIGINT)
kcnn.cli.fail = lambda *arguments: press()
for command in kcnn.cli.app.registered_commands:
    command.callback = press
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("code", [INTERRUPTED_WHILE_IT_LOADS, INTERRUPTED_TWICE])
def test_program_ends_on_ctrl_c_without_a_traceback(code):
    heed = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"  # also in the background
    code = f"{heed}{code}sys.argv[1:] = ['list']\nfrom kcnn.__main__ import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


INTERRUPTED_IN_A_LIBRARY = """
import signal, sys, kcnn.cli
def press():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise ImportError("initialization failed")
for command in kcnn.cli.app.registered_commands:
    command.callback = press
"""


INTERRUPTED_AS_THE_BACKEND_LOADS = """
import signal, sys, kcnn.cli
from kcnn.cli import backend
def press():
    class Press:
        def find_spec(self, name, path=None, target=None):
            signal.raise_signal(signal.SIGINT)
    sys.meta_path.insert(0, Press())
    sys.modules.pop("keras", None)
    backend.check_backend = lambda: None
    backend.start_backend()
for command in kcnn.cli.app.registered_commands:
    command.callback = press
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(
    ("code", "end"),
    [
        (INTERRUPTED_IN_A_LIBRARY, (1, "error: interrupted\n")),
        (INTERRUPTED_AS_THE_BACKEND_LOADS, (-signal.SIGINT, "")),
    ],
)
def test_program_ends_on_ctrl_c_that_an_import_would_lose(code, end):
    heed = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"  # also in the background
    code = f"{heed}{code}sys.argv[1:] = ['list']\nfrom kcnn.__main__ import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == end


def test_command_line_says_that_it_was_interrupted(command, monkeypatch):
    def press():
        raise KeyboardInterrupt

    (plugins,) = (one for one in app.registered_commands if one.callback.__name__ == "plugins")
    monkeypatch.setattr(plugins, "callback", press)
    done = command("plugins")
    assert (done.returncode, done.stderr) == (1, "error: interrupted\n")
