"""Threads for work on images: as many as the process may use cores, and every item once."""

import os
import subprocess
import sys

import pytest

from kcnn.parallel import map_parallel, split_into_runs

PINNED = "import os; os.sched_setaffinity(0, {next(iter(os.sched_getaffinity(0)))})\n"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no process to cores")
def test_thread_pool_has_no_more_threads_than_the_process_may_use_cores():
    code = (
        f"{PINNED}from kcnn.parallel import count_cores, thread_pool; print(count_cores(), thread_pool()._max_workers)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"]


@pytest.mark.parametrize("count", [0, 1, 7, 100])
def test_map_parallel_calls_its_work_with_every_item_once(count):
    seen = []
    map_parallel(seen.append, range(count))
    assert sorted(seen) == list(range(count))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_map_parallel_works_in_a_forked_process_whose_parent_has_used_it():
    """The threads of the parent are not in its child, which waited for them forever."""
    code = (
        "import os, signal; from kcnn.parallel import map_parallel; map_parallel(str, range(9)); child = os.fork()\n"
        "if not child: signal.alarm(20); map_parallel(str, range(9)); os._exit(0)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0"]


def test_map_parallel_raises_what_its_work_raises():
    with pytest.raises(ZeroDivisionError):
        map_parallel(lambda n: 1 // n, [1, 0])


def test_split_into_runs_covers_every_number_in_order():
    assert [list(run) for run in split_into_runs(7, 3)] == [[0, 1, 2], [3, 4, 5], [6]]
