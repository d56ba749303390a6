"""A search in several processes: keras-tuner's chief, which has the journal, and workers that are started again."""

import dataclasses
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from kcnn.atomic_io import write_text
from kcnn.data import ImageDataset
from kcnn.distribute.processes import assign_gpus, find_free_addresses
from kcnn.search.journal import JOURNAL, Journal, Trial
from kcnn.search.space import Space
from kcnn.training import Recipe, run_directory

ORDERS, LOGS = "crew.json", "logs"
RESTART, LOST = 75, 76  # exit codes of a worker that has done its one trial, and of one that has lost its chief
LOOK = 0.2  # seconds between looks at the processes
HEARD = 60.0  # seconds without a chief on another machine after which it is taken to be gone
STARTS = 5  # of one process, without a trial that ended in between
ID, IP, PORT = "KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"  # keras-tuner's own


def is_worker() -> bool:
    """Whether keras-tuner's variables say that this process works for a chief elsewhere."""
    return IP in os.environ and "chief" not in os.environ.get(ID, "chief")


class WorkerFailedError(RuntimeError):
    """A process of a search ended with an error that is no trial's."""


def resolve_address(data: Any, *, workers: int, chief: str | None, port: int | None) -> str:
    """HOST:PORT of the chief. ValueError where a word is wrong, or other processes cannot find the data."""
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    if isinstance(data, ImageDataset) or not isinstance(data, str | os.PathLike):
        raise ValueError("several processes find the data by a word: give a folder or a name, not arrays or a Data")
    if chief and port:
        raise ValueError("a chief listens on a port, or workers join one elsewhere by its address: give one of the two")
    found = chief or (f"0.0.0.0:{port}" if port else find_free_addresses(1)[0])
    host, _, number = found.rpartition(":")
    if not host or not number.isdigit():
        raise ValueError(f"a chief's address is HOST:PORT, not {found!r}")
    return found


def run_workers(
    space: Space,
    data: Any,
    out: Path,
    rules: Any,
    asked: Mapping[str, Any],
    *,
    address: str,
    joins: bool,
    waits: bool,
    workers: int,
    isolate: bool,
    tell: Callable[[Trial], None],
    say: Callable[[str], None],
) -> None:
    """Have a crew try until the budget is spent; processes that were killed are started again.

    The chief is at `address`, on another machine where the crew `joins` it; else it is one of the crew, and `waits`
    for workers of other machines too. CrewLost where a process fails.
    """
    host, _, number = address.rpartition(":")
    orders = {
        "space": space.to_json(),
        "data": os.fspath(data),
        "asked": _writable(asked),
        "rules": dataclasses.asdict(rules),
        "once": isolate,
    }
    write_text(out / ORDERS, json.dumps(orders))
    local = {IP: "127.0.0.1" if host == "0.0.0.0" else host, PORT: number}
    cores = max(1, (os.cpu_count() or 1) // workers)
    shared = {"TF_NUM_INTRAOP_THREADS": str(cores), "TF_NUM_INTEROP_THREADS": str(cores)} if workers > 1 else {}
    place = hashlib.blake2b(str(out.resolve()).encode(), digest_size=3).hexdigest()  # of two searches on one machine
    name = f"{socket.gethostname()}-{place}".replace("chief", "host")  # by which keras-tuner knows the chief
    crew = [
        _Process(f"worker-{n}", {**local, **shared, **own, ID: f"worker-{n}@{name}"}, out)
        for n, own in enumerate(assign_gpus(workers))
    ]
    head = None if joins else _Process("chief", {IP: host, PORT: number, ID: "chief", "CUDA_VISIBLE_DEVICES": ""}, out)
    journal = out / JOURNAL
    told = {trial.number for trial in Journal(out, writes=False).trials}
    size, looked, heard = -1, 0, time.monotonic()
    while joins and not _listens(address):
        if time.monotonic() - heard > HEARD:
            raise WorkerFailedError(f"nobody listens at {address}; start the search there first, with --port {number}")
        time.sleep(LOOK)
    try:
        for process in [*([head] if head else []), *crew]:
            process.start()
        last = [*crew, *([head] if head and waits else [])]  # such a chief ends when all workers have
        while any(process.alive for process in last):
            time.sleep(5 * LOOK if joins else LOOK)
            for process in crew if head is None else [head, *crew]:
                process.look(say)
            if joins and _listens(address):
                heard = time.monotonic()
            elif joins and time.monotonic() - heard > HEARD:
                say(f"the chief at {address} is gone: its search has ended, or the same command joins it again")
                break
            grown = journal.stat().st_size if journal.exists() and not joins else 0
            if grown != size:
                size = grown
                for trial in Journal(out, writes=False).trials:
                    if trial.number not in told:
                        told.add(trial.number)
                        tell(trial)
            if len(told) > looked:
                looked = len(told)
                for process in crew:
                    process.starts = 0
    finally:
        for process in crew if head is None else [*crew, head]:
            process.end()
    for trial in Journal(out, writes=False).trials if not joins else ():
        if trial.number not in told:
            tell(trial)


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 2).close()
    except OSError:
        return False
    return True


def _writable(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The words of a search as JSON: a recipe by its fields; callbacks and what is called stay in this process."""
    kept = {name: value for name, value in asked.items() if name not in ("callbacks", "say", "progress", "out")}
    if dataclasses.is_dataclass(kept.get("recipe")):
        kept["recipe"] = kept["recipe"].asdict()
    return kept


class _Process:
    """A chief or worker, started again when it was killed; it ends itself when this process is gone."""

    def __init__(self, name: str, environment: Mapping[str, str], out: Path):
        self.name, self.environment, self.out = name, environment, out
        self.log = out / LOGS / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.done = False
        self.starts = 0

    @property
    def alive(self) -> bool:
        return not self.done

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.starts += 1
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kcnn.search.workers", str(self.out)],
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **self.environment},
                stdin=subprocess.PIPE,  # at its end the process knows that this one is gone
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def look(self, say: Callable[[str], None]) -> None:
        """Start it again where it has died by a signal or asks for that. CrewLost where it failed."""
        code = None if self.process is None or self.done else self.process.poll()
        if code is None:
            return
        if code == 0:
            self.done = True
            return
        if code == RESTART:
            self.starts = 0
        if (code > 0 and code not in (RESTART, LOST)) or self.starts > STARTS:
            lines = self.log.read_text(errors="replace").strip().splitlines()
            raise WorkerFailedError(
                f"{self.name} stopped: {lines[-1] if lines else f'exit code {code}'}; see {self.log}"
            )
        if code < 0:
            say(f"{self.name} was killed by {signal.Signals(-code).name}; it is started again")
        self.end()
        self.start()

    def end(self) -> None:
        """End it and whatever it has started."""
        if self.process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)  # nothing is lost: journal and checkpoints are whole
            self.process.wait()
            if self.process.stdin:
                self.process.stdin.close()


def _with_parent() -> None:
    """End this process when the one that started it is gone."""

    def wait() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def main(arguments: Sequence[str]) -> int:
    """What a chief or a worker does, by the environment that it was given."""
    _with_parent()
    out = Path(arguments[0])
    orders = json.loads((out / ORDERS).read_text())
    if os.environ[ID] == "chief":
        return _lead(out, orders)
    return _try(out, orders)


def _lead(out: Path, orders: Mapping[str, Any]) -> int:
    from kcnn.search import run
    from kcnn.search.oracles import Budget
    from kcnn.search.tuner import Chief

    rules = run.SearchRules(**{**orders["rules"], "budget": Budget(**orders["rules"]["budget"])})
    with run_directory.lock_folder(out):
        Chief(run.open_oracle(rules, Space.from_json(orders["space"]), out), out).search()
    return 0


def _try(out: Path, orders: Mapping[str, Any]) -> int:
    from kcnn.search import run
    from kcnn.search.keras_tuner_api import grpc
    from kcnn.search.tuner import TrialDone, Tuner

    asked = dict(orders["asked"])
    if isinstance(asked.get("recipe"), Mapping):
        asked["recipe"] = Recipe.fromdict(asked["recipe"])
    found = run.prepare_search(Space.from_json(orders["space"]), orders["data"], out=out, **asked)
    try:
        Tuner(run.open_oracle(found.rules, found.space, out), found.space, found.setting, once=orders["once"]).search()
    except TrialDone:
        return RESTART
    except (ConnectionError, grpc.RpcError):
        return LOST
    return 0


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except Exception as error:
        import traceback

        traceback.print_exc()
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        code = 1
    sys.stderr.flush()
    os._exit(code)  # threads of gRPC and TensorFlow would keep a process that has nothing to do
