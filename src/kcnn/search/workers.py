"""A search in several processes: keras-tuner's chief, which has the journal, and workers that are restarted."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from kcnn.atomic_io import write_text
from kcnn.data import ImageDataset
from kcnn.distribute.processes import assign_gpus, find_free_addresses
from kcnn.parallel import count_cores
from kcnn.search.environment import CHIEF, ID, IP, PORT
from kcnn.search.job import SearchJob
from kcnn.search.journal import JOURNAL, Journal, Trial

ORDERS, LOGS = "workers.json", "logs"
RESTART, CHIEF_LOST = 75, 76  # exit codes of a worker: its one trial is completed, or its chief is gone
POLL = 0.2  # seconds between looks at the processes
TIMEOUT = 60.0  # seconds without an answer after which a chief on another machine is taken to be gone
MAX_STARTS = 5  # of one process without a completed trial in between
ANY_HOST = "0.0.0.0"


class WorkerFailedError(RuntimeError):
    """Raised where a process of a search fails with an error that is not a trial's."""


def check_data(data: Any) -> None:
    """Check that other processes can load the data.

    Args:
        data: The argument of a search.

    Raises:
        ValueError: It is neither a folder nor a name.
    """
    if isinstance(data, ImageDataset) or not isinstance(data, str | os.PathLike):
        raise ValueError("workers load the data themselves: give a folder or a name, not arrays or an ImageDataset")


def check_callbacks(callbacks: Sequence[Any]) -> None:
    """Refuse callbacks that would see no trial, since trials run in other processes.

    Args:
        callbacks: Keras callbacks. Those with a true attribute `is_local` are for this process only.

    Raises:
        ValueError: One has no such attribute.
    """
    lost = [type(one).__name__ for one in callbacks if not getattr(one, "is_local", False)]
    if lost:
        raise ValueError(
            f"callbacks run in this process, and trials in others: {', '.join(lost)} would see no trial; remove them, "
            "or run trials in this process, without workers, process_per_trial, chief and port"
        )


def run_workers(job: SearchJob, data: str | os.PathLike[str], on_trial_end: Callable[[Trial], None]) -> None:
    """Run the trials of a search in processes until its budget is spent.

    Args:
        job: The search.
        data: A folder or a name.
        on_trial_end: Called with each trial that has ended; never where the chief is on another machine.

    Raises:
        WorkerFailedError: A process failed, or no chief listens.
    """
    config, out = job.config, job.folder
    write_text(out / ORDERS, json.dumps({"data": os.fspath(data), "config": config.to_json()}))
    if config.chief:
        pool = WorkerPool(out, config.workers, config.chief, job.settings.log)
        RemoteChief(config.chief, job.settings.log).run(pool)
    else:
        address = f"{ANY_HOST}:{config.port}" if config.port is not None else find_free_addresses(1)[0]
        pool = WorkerPool(out, config.workers, address, job.settings.log)
        LocalChief(out, address, on_trial_end, job.settings.log, waits=config.port is not None).run(pool)


class WorkerPool:
    """The workers of a search on this machine, each with a GPU or a share of the CPU cores.

    Args:
        out: Folder of the search.
        count: Number of workers.
        address: HOST:PORT of the chief.
        log: Called with each message for a person.
    """

    def __init__(self, out: Path, count: int, address: str, log: Callable[[str], None]):
        host, _, port = address.rpartition(":")
        environment = {IP: "127.0.0.1" if host == ANY_HOST else host, PORT: port}
        if count > 1:
            cores = str(max(1, count_cores() // count))
            environment |= {"TF_NUM_INTRAOP_THREADS": cores, "TF_NUM_INTEROP_THREADS": cores}
        folder = hashlib.blake2b(str(out.resolve()).encode(), digest_size=3).hexdigest()  # of two searches on a machine
        machine = f"{socket.gethostname()}-{folder}".replace(CHIEF, "host")  # keras-tuner recognizes the chief by name
        self.log = log
        self.workers = [
            SearchProcess(f"worker-{n}", {**environment, **own, ID: f"worker-{n}@{machine}"}, out)
            for n, own in enumerate(assign_gpus(count))
        ]

    @property
    def is_running(self) -> bool:
        """Whether a worker has not ended."""
        return any(worker.is_running for worker in self.workers)

    def start(self) -> None:
        """Start all workers."""
        for worker in self.workers:
            worker.start()

    def poll(self) -> None:
        """Restart the workers that were killed. Raises WorkerFailedError where one failed."""
        for worker in self.workers:
            worker.poll(self.log)

    def reset_starts(self) -> None:
        """Allow all restarts again, since a trial was completed."""
        for worker in self.workers:
            worker.starts = 0

    def stop(self) -> None:
        """Kill all workers."""
        for worker in self.workers:
            worker.stop()


class LocalChief:
    """The chief of a search in a process of this machine, and the journal that it writes.

    Args:
        out: Folder of the search.
        address: HOST:PORT on which it listens.
        on_trial_end: Called with each trial that has ended.
        log: Called with each message for a person.
        waits: Whether to wait for workers of other machines at the end.
    """

    def __init__(
        self,
        out: Path,
        address: str,
        on_trial_end: Callable[[Trial], None],
        log: Callable[[str], None],
        *,
        waits: bool,
    ):
        host, _, port = address.rpartition(":")
        environment = {IP: host, PORT: port, ID: CHIEF, "CUDA_VISIBLE_DEVICES": ""}
        self.process = SearchProcess(CHIEF, environment, out)
        self.out, self.on_trial_end, self.log, self.waits = out, on_trial_end, log, waits
        self.reported = {trial.number for trial in Journal(out, read_only=True).trials}
        self.journal_size = -1

    def run(self, pool: WorkerPool) -> None:
        """Start the chief and the workers, and watch them until the search ends.

        Args:
            pool: The workers.

        Raises:
            WorkerFailedError: A process failed.
        """
        completed = 0
        try:
            self.process.start()
            pool.start()
            while pool.is_running or (self.waits and self.process.is_running):  # the chief ends after all workers
                time.sleep(POLL)
                self.process.poll(self.log)
                pool.poll()
                self.report_trials()
                if len(self.reported) > completed:
                    completed = len(self.reported)
                    pool.reset_starts()
        finally:
            pool.stop()
            self.process.stop()
        self.report_trials()

    def report_trials(self) -> None:
        """Report the trials that have ended since the last time."""
        path = self.out / JOURNAL
        size = path.stat().st_size if path.exists() else 0
        if size == self.journal_size:
            return
        self.journal_size = size
        for trial in Journal(self.out, read_only=True).trials:
            if trial.number not in self.reported:
                self.reported.add(trial.number)
                self.on_trial_end(trial)


class RemoteChief:
    """The chief of a search on another machine.

    Args:
        address: Its HOST:PORT.
        log: Called with each message for a person.
    """

    def __init__(self, address: str, log: Callable[[str], None]):
        self.address, self.log = address, log

    def run(self, pool: WorkerPool) -> None:
        """Wait for the chief, start the workers, and watch them until they end or the chief is gone.

        Args:
            pool: The workers.

        Raises:
            WorkerFailedError: A worker failed, or no chief listens at the address.
        """
        self.wait()
        last_answer = time.monotonic()
        try:
            pool.start()
            while pool.is_running:
                time.sleep(5 * POLL)
                pool.poll()
                if self.is_listening():
                    last_answer = time.monotonic()
                elif time.monotonic() - last_answer > TIMEOUT:
                    self.log(f"the chief at {self.address} is gone: its search has ended, or was interrupted")
                    return
        finally:
            pool.stop()

    def wait(self) -> None:
        """Wait until the chief listens. Raises WorkerFailedError after a minute."""
        start = time.monotonic()
        while not self.is_listening():
            if time.monotonic() - start > TIMEOUT:
                port = self.address.rpartition(":")[2]
                raise WorkerFailedError(
                    f"no chief listens at {self.address}; start the search there with --port {port}"
                )
            time.sleep(POLL)

    def is_listening(self) -> bool:
        """Return whether the chief accepts a connection."""
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), 2).close()
        except OSError:
            return False
        return True


class SearchProcess:
    """A chief or a worker, restarted where it was killed; it ends itself when this process is gone.

    Args:
        name: Name of its log.
        environment: Its environment variables beside those of this process.
        out: Folder of the search.
    """

    def __init__(self, name: str, environment: Mapping[str, str], out: Path):
        self.name, self.environment, self.out = name, environment, out
        self.log_path = out / LOGS / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.is_running = True
        self.starts = 0

    def start(self) -> None:
        """Start the process."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        self.starts += 1
        with self.log_path.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kcnn.search.worker", str(self.out)],
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **self.environment},
                stdin=subprocess.PIPE,  # closed where this process is gone
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def poll(self, log: Callable[[str], None]) -> None:
        """Restart the process where it was killed or asks for it.

        Args:
            log: Called with each message for a person.

        Raises:
            WorkerFailedError: It failed, or was restarted too often.
        """
        code = None if self.process is None or not self.is_running else self.process.poll()
        if code is None:
            return
        if code == 0:
            self.is_running = False
            return
        if code == RESTART:
            self.starts = 0
        if (code > 0 and code not in (RESTART, CHIEF_LOST)) or self.starts > MAX_STARTS:
            lines = self.log_path.read_text(errors="replace").strip().splitlines()
            reason = lines[-1] if lines else f"exit code {code}"
            raise WorkerFailedError(f"{self.name} failed: {reason}; see {self.log_path}")
        if code < 0:
            log(f"{self.name} was killed by {signal.Signals(-code).name}; restarting it")
        self.stop()
        self.start()

    def stop(self) -> None:
        """Kill the process and all that it started; journal and checkpoints are complete at any time."""
        if self.process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            if self.process.stdin:
                self.process.stdin.close()
