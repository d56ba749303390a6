"""Searches in a process of their own, which tests kill."""

import json
import os
import subprocess
import sys
import time

SCRIPT = """
import sys
import json
from tests.runs.searches import SPACE, search_with

if __name__ == "__main__":
    values = {"trials": 4, "epochs": 3, "batch_size": 64, "reduction_factor": 0}
    search_with(SPACE, "digits", sys.argv[1], **{**values, **json.loads(sys.argv[2])})
"""


def start(folder, **values):
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", SCRIPT, str(folder), json.dumps(values)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def list_processes(folder):
    command = ["pgrep", "-f", f"kcnn.search.worker {folder}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()


def wait_until(condition, process, seconds=180):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()[-3000:]
        assert time.monotonic() < end
        time.sleep(0.02)
