"""Benchmarks alternate between processes that stay warm, and leave none behind."""

import contextlib
import json
import os
import sys
import time

import pytest

from benchmarks.alternation import SideError, describe_ratios, start_worker, take_passes, take_rounds

WORKER = """
import json, os, subprocess, sys
label, log, last = sys.argv[1], sys.argv[2], int(sys.argv[3])
child = subprocess.Popen(["sleep", "100"], stdout=subprocess.DEVNULL)
def write(word):
    with open(log, "a") as file:
        print(word, file=file)
write(f"{label} {os.getpid()} {child.pid}")
print("ready", flush=True)
for number, _ in enumerate(sys.stdin):
    if number == last:
        sys.exit(f"{label} lacks memory")
    write(label)
    print(json.dumps([number + 0.25, number + 0.5]), flush=True)
"""


def command(label, log, last=100):
    return [sys.executable, "-c", WORKER, label, str(log), str(last)]


def is_running(pid):
    with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"  # a child that nobody waits for may stay a zombie
    return False


def assert_ended(log, workers):
    pids = [int(pid) for line in log.read_text().splitlines() for pid in line.split()[1:]]
    assert len(pids) == 2 * workers
    end = time.monotonic() + 5
    while any(map(is_running, pids)) and time.monotonic() < end:
        time.sleep(0.01)
    assert not [pid for pid in pids if is_running(pid)]


def test_take_passes_asks_living_processes_in_an_order_that_reverses(tmp_path):
    log = tmp_path / "log"
    taken = take_passes({label: command(label, log) for label in ("a", "b")}, 3)
    assert list(taken) == ["a", "b"]
    assert taken["a"] == taken["b"] == [(0.25, 0.5), (1.25, 1.5), (2.25, 2.5)]  # one process counted on
    assert [line for line in log.read_text().split("\n") if len(line) == 1] == ["a", "b", "b", "a", "a", "b"]
    assert_ended(log, 2)


def test_take_passes_tells_why_a_worker_died_and_ends_the_others(tmp_path):
    log = tmp_path / "log"
    with pytest.raises(SideError, match=r"^b ended with status 1:\nb lacks memory$"):
        take_passes({"a": command("a", log), "b": command("b", log, last=1)}, 3)
    assert_ended(log, 2)


def test_start_worker_tells_why_it_never_was_ready():
    with (
        pytest.raises(SideError, match=r"(?s)^torch ended with status 1:.*No module named 'absent'$"),
        start_worker("torch", [sys.executable, "-c", "import absent"]),
    ):
        pass


def test_start_worker_ends_it_when_interrupted(tmp_path):
    log = tmp_path / "log"
    with pytest.raises(KeyboardInterrupt), start_worker("a", command("a", log)):
        raise KeyboardInterrupt
    assert_ended(log, 1)


def test_take_rounds_starts_a_process_each_time():
    script = f"import os; print({json.dumps([3, 4])}); print([os.getpid(), 2]); print([1, 9])"
    (taken,) = take_rounds({"a": [sys.executable, "-c", script]}, 2).values()
    assert taken == [(3, 4), (3, 4)]  # the medians of what it prints
    assert os.getpid() > 3
    with pytest.raises(SideError, match="a ended with status 1:\nno photo"):
        take_rounds({"a": [sys.executable, "-c", "import sys; sys.exit('no photo')"]}, 2)


def test_describe_ratios_gives_quartiles_of_many_and_the_range_of_few():
    assert describe_ratios([1, 2, 4], [2, 2, 2]) == "1.00 (0.50 to 2.00)"
    assert describe_ratios([2] * 9, [2, 4, 6, 8, 10, 12, 14, 16, 200]) == "5.00 (3.00 to 7.00)"
