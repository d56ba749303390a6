"""Ctrl-C ends a training at the next step, with a line that says how to resume."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from kcnn.cli.progress import InterruptHandler
from tests.runs.test_faults import states


def test_interrupt_handler_interrupts_at_the_next_step():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which is ignored in the background
    try:
        with InterruptHandler() as heard:
            heard.on_train_batch_end(0)
            with contextlib.suppress(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(5)
            with pytest.raises(KeyboardInterrupt):
                heard.on_train_batch_end(1)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_interrupt_handler_leaves_an_ignored_signal_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as of a job in the background of a script
    try:
        with InterruptHandler() as handler:
            signal.raise_signal(signal.SIGINT)
            handler.on_train_batch_end(0)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_cli_train_on_ctrl_c_prints_how_to_resume(tmp_path):
    words = ["train", "convnet", "--data", "digits", "--epochs", "200", "--out", "out"]
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # also in the background
    code = f"{heed}; from kcnn.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    for _ in range(1200):
        if states(tmp_path / "out"):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "interrupted; run the same command to resume" in said
    assert "Traceback" not in said
