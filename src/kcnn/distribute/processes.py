"""Launch several processes on this machine as the workers of one cluster. No TensorFlow here."""

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from kcnn.distribute.machine import list_visible_gpus
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_integer

MAX_WORKERS = 128  # of one machine
GRACE = 10.0  # seconds between SIGTERM and SIGKILL


@check_arguments
def launch(workers: int, command: Sequence[str]) -> int:
    """Run a command in several processes that find each other through TF_CONFIG.

    Each line of their output begins with the number of the worker. Ctrl-C, SIGTERM, SIGHUP and SIGQUIT are passed on; a
    second one kills. When one fails, the others are stopped, with all processes that workers have started. GPUs are
    split evenly, in their order.

    Args:
        workers: Number of processes.
        command: Program and arguments.

    Returns:
        The exit code of the worker that failed first, 128 + n after signal n; 0 if none failed.

    Raises:
        ValueError: The command is empty, there is no worker, or there are fewer GPUs than workers.
        OSError: The command cannot be started.
    """
    check_integer("workers", workers, 1, f"an integer from 1 to {MAX_WORKERS}", maximum=MAX_WORKERS)
    if not command:
        raise ValueError("missing command, such as: kcnn train googlenet.bn --data digits")
    events: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
    processes: list[subprocess.Popen[str]] = []
    readers: list[threading.Thread] = []
    screen = threading.Lock()
    with _queue_signals(events):
        try:
            for index, environment in enumerate(_make_environments(workers)):
                process = _start(command, environment)
                processes.append(process)
                for source, target in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
                    readers.append(_start_thread(_copy_lines, source, target, f"worker {index} | ", screen))
                _start_thread(_await_end, process, index, events)
            return _supervise(processes, events, screen)
        finally:
            for process in processes:
                send_signal(process, signal.SIGKILL)
            for process in processes:
                process.wait()
            for reader in readers:
                reader.join(GRACE)


def _make_environments(workers: int) -> list[dict[str, str]]:
    """Environment variables of each worker: its TF_CONFIG, with free ports of the loopback device, and its GPUs."""
    addresses = find_free_addresses(workers)
    environments = []
    for index, gpus in enumerate(assign_gpus(workers)):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environments.append({**os.environ, "PYTHONUNBUFFERED": "1", "TF_CONFIG": json.dumps(config), **gpus})
    return environments


def assign_gpus(workers: int) -> list[dict[str, str]]:
    """Split the GPUs evenly among workers, in their order.

    Args:
        workers: Number of workers.

    Returns:
        CUDA_VISIBLE_DEVICES of each worker; empty without GPUs.

    Raises:
        ValueError: There are fewer GPUs than workers.
    """
    gpus = list_visible_gpus()
    if 0 < len(gpus) < workers:
        raise ValueError(
            f"{workers} workers need a GPU each, found {len(gpus)}; "
            f"start at most {len(gpus)}, or set CUDA_VISIBLE_DEVICES to nothing to train on the CPU"
        )
    count = len(gpus) // workers
    return [
        {"CUDA_VISIBLE_DEVICES": ",".join(gpus[index * count : (index + 1) * count])} if count else {}
        for index in range(workers)
    ]


def find_free_addresses(count: int) -> list[str]:
    """Return addresses HOST:PORT of the loopback device whose ports are free."""
    with contextlib.ExitStack() as stack:  # all open at once, so that no port is returned twice
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]


def _start(command: Sequence[str], environment: Mapping[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # a process group of its own, to be stopped with all that it starts
    )


def _start_thread(target: Any, *args: Any) -> threading.Thread:
    thread = threading.Thread(target=target, args=args, daemon=True)
    thread.start()
    return thread


def _copy_lines(source: IO[str], target: IO[str], prefix: str, screen: threading.Lock) -> None:
    for line in source:
        with screen:
            target.write(prefix + line.rstrip("\n") + "\n")
            target.flush()


def _await_end(process: "subprocess.Popen[str]", index: int, events: "queue.SimpleQueue[tuple[str, int]]") -> None:
    process.wait()
    events.put(("ended", index))


@contextlib.contextmanager
def _queue_signals(events: "queue.SimpleQueue[tuple[str, int]]") -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # Python handles signals in no other
        yield
        return
    # a terminal that closes or quits reaches only this process: workers have process groups of their own
    kinds = [
        signal.SIGINT,
        signal.SIGTERM,
        *(getattr(signal, name) for name in ("SIGHUP", "SIGQUIT") if hasattr(signal, name)),
    ]
    kinds = [kind for kind in kinds if signal.getsignal(kind) != signal.SIG_IGN]  # such as SIGHUP by nohup
    before = [signal.signal(kind, lambda number, _: events.put(("signal", number))) for kind in kinds]
    try:
        yield
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)


def _supervise(
    processes: Sequence["subprocess.Popen[str]"], events: "queue.SimpleQueue[tuple[str, int]]", screen: threading.Lock
) -> int:
    """Wait until every worker has ended, stop all when one fails, and return the exit code."""
    alive = set(range(len(processes)))
    code = 0
    is_stopping = False
    while alive:
        try:
            kind, number = events.get(timeout=GRACE if is_stopping else None)
        except queue.Empty:
            _send_signal_to_all(processes, alive, signal.SIGKILL)
            continue
        if kind == "signal":
            _send_signal_to_all(processes, alive, signal.SIGKILL if is_stopping else number)
            code = code or 128 + number
            is_stopping = True
            continue
        alive.discard(number)
        send_signal(processes[number], signal.SIGKILL)  # processes that it has started
        returncode = processes[number].returncode
        if returncode and not is_stopping:
            code = returncode if returncode > 0 else 128 - returncode
            is_stopping = True
            others = "; stopping the other workers" if alive else ""
            with screen:
                print(f"worker {number} {_describe_exit(returncode)}{others}", file=sys.stderr, flush=True)
            _send_signal_to_all(processes, alive, signal.SIGTERM)
    return code


def _describe_exit(returncode: int) -> str:
    if returncode > 0:
        return f"failed with exit code {returncode}"
    return f"was killed by {signal.Signals(-returncode).name}"


def _send_signal_to_all(processes: Sequence["subprocess.Popen[str]"], indices: set[int], number: int) -> None:
    for index in indices:
        send_signal(processes[index], number)


def send_signal(process: "subprocess.Popen[str]", number: int) -> None:
    """Send a signal to a process and all processes that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
