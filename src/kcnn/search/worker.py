"""The program of a search's processes: `python -m kcnn.search.worker OUT`, a chief or a worker by its environment."""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kcnn.atomic_io import parse_json
from kcnn.search.chief import RemoteScheduler, serve
from kcnn.search.config import SearchConfig
from kcnn.search.environment import CHIEF, ID, name_worker
from kcnn.search.job import check_images, prepare_search
from kcnn.search.keras_tuner_api import grpc
from kcnn.search.objectives import read_objectives
from kcnn.search.open_scheduler import open_scheduler
from kcnn.search.result import read_request
from kcnn.search.space import Space
from kcnn.search.trial_loop import run_trials
from kcnn.search.workers import CHIEF_LOST, ORDERS, RESTART
from kcnn.training import run_directory


def main(arguments: Sequence[str]) -> int:
    """Run a chief or a worker, by the environment.

    Args:
        arguments: The folder of the search.

    Returns:
        The exit code.
    """
    _exit_with_parent()
    out = Path(arguments[0])
    orders = parse_json((out / ORDERS).read_text())
    config = SearchConfig.from_json(orders["config"])
    if os.environ[ID] == CHIEF:
        return _run_chief(out, config)
    return _run_worker(out, config, orders)


def _exit_with_parent() -> None:
    """Kill this process when the one that started it is gone."""

    def wait() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def _run_chief(out: Path, config: SearchConfig) -> int:
    request = read_request(out)
    with run_directory.lock_folder(out):
        space, identity = Space.from_json(request["space"]), run_directory.hash_request(request)
        serve(open_scheduler(space, config, out, objectives=read_objectives(request)), identity)
    return 0


def _run_worker(out: Path, config: SearchConfig, orders: Mapping[str, Any]) -> int:
    space = Space.from_json(read_request(out)["space"])
    job = prepare_search(space, orders["data"], config, out=out)
    check_images(job)
    scheduler = RemoteScheduler(job.settings.identity)
    try:
        has_ended = run_trials(scheduler, name_worker(), job.space, job.settings, single_trial=config.process_per_trial)
    except (ConnectionError, grpc.RpcError):
        return CHIEF_LOST
    return 0 if has_ended else RESTART


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except Exception as error:
        traceback.print_exc()
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        code = 1
    sys.stderr.flush()
    os._exit(code)  # threads of gRPC and TensorFlow would keep a process that has nothing to do
