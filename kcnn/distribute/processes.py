"""Several processes on this machine as the workers of one cluster; nothing here needs TensorFlow."""

import contextlib
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

GRACE = 10.0  # seconds from the first signal to the last


def launch(workers: int, command: Sequence[str]) -> int:
    """Run `command` in `workers` processes that find each other through TF_CONFIG; the exit code of them all.

    Each line they write comes with its worker's number in front. Ctrl-C and SIGTERM are passed on, a second one kills.
    Where one fails the others are ended, and its exit code is the answer (128 + n after signal n); whatever a
    worker started itself is gone afterwards as well. GPUs are shared out evenly, in their order.
    ValueError for no command, fewer than one worker, or fewer GPUs than workers; OSError where it does not start.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    if not command:
        raise ValueError("no command to launch; give one, such as: kcnn train googlenet.bn --data digits")
    events: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
    crew: list[subprocess.Popen[str]] = []
    readers: list[threading.Thread] = []
    screen = threading.Lock()
    with _signals_into(events):
        try:
            for index, environment in enumerate(_environments(workers)):
                process = _started(command, environment)
                crew.append(process)
                for source, target in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
                    readers.append(_thread(_copied, source, target, f"worker {index} | ", screen))
                _thread(_awaited, process, index, events)
            return _watched(crew, events, screen)
        finally:
            for process in crew:
                send_signal(process, signal.SIGKILL)
            for process in crew:
                process.wait()
            for reader in readers:
                reader.join(GRACE)


def _environments(workers: int) -> list[dict[str, str]]:
    """Each worker's variables: its TF_CONFIG, with free ports of the loopback device, and its GPUs."""
    addresses = find_free_addresses(workers)
    found = []
    for index, own in enumerate(assign_gpus(workers)):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        found.append({**os.environ, "PYTHONUNBUFFERED": "1", "TF_CONFIG": json.dumps(config), **own})
    return found


def assign_gpus(workers: int) -> list[dict[str, str]]:
    """The variable that names each worker's GPUs, shared out evenly in their order; none where there are none.

    ValueError where there are some, and fewer than workers.
    """
    cards = _cards()
    if 0 < len(cards) < workers:
        raise ValueError(
            f"{workers} workers need a GPU each, and there are {len(cards)}; "
            f"start at most {len(cards)}, or set CUDA_VISIBLE_DEVICES to nothing to train on the CPU"
        )
    share = len(cards) // workers
    return [
        {"CUDA_VISIBLE_DEVICES": ",".join(cards[index * share : (index + 1) * share])} if share else {}
        for index in range(workers)
    ]


def find_free_addresses(count: int) -> list[str]:
    """HOST:PORT of the loopback device, so many that nobody listens on."""
    with contextlib.ExitStack() as held:  # all held at once, so that no port comes twice
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]


def _cards() -> list[str]:
    """The GPUs that CUDA may use, as it names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip() not in ("", "-1")]
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
    return [str(n) for n, line in enumerate(listed.stdout.splitlines()) if line.startswith("GPU ")]


def _started(command: Sequence[str], environment: Mapping[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # a group of its own: what a worker starts can be ended with it
    )


def _thread(target: Any, *args: Any) -> threading.Thread:
    thread = threading.Thread(target=target, args=args, daemon=True)
    thread.start()
    return thread


def _copied(source: IO[str], target: IO[str], prefix: str, screen: threading.Lock) -> None:
    for line in source:
        with screen:
            target.write(prefix + line.rstrip("\n") + "\n")
            target.flush()


def _awaited(process: "subprocess.Popen[str]", index: int, events: "queue.SimpleQueue[tuple[str, int]]") -> None:
    process.wait()
    events.put(("ended", index))


@contextlib.contextmanager
def _signals_into(events: "queue.SimpleQueue[tuple[str, int]]") -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # Python hands signals to the main thread alone
        yield
        return
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(kind, lambda number, _: events.put(("signal", number))) for kind in kinds]
    try:
        yield
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)


def _watched(
    crew: Sequence["subprocess.Popen[str]"], events: "queue.SimpleQueue[tuple[str, int]]", screen: threading.Lock
) -> int:
    """The exit code, once every worker has ended."""
    alive = set(range(len(crew)))
    code = 0
    ending = False
    while alive:
        try:
            kind, number = events.get(timeout=GRACE if ending else None)
        except queue.Empty:
            _send_all(crew, alive, signal.SIGKILL)
            continue
        if kind == "signal":
            _send_all(crew, alive, signal.SIGKILL if ending else number)
            code = code or 128 + number
            ending = True
            continue
        alive.discard(number)
        send_signal(crew[number], signal.SIGKILL)  # what it left behind
        failed = crew[number].returncode
        if failed and not ending:
            code = failed if failed > 0 else 128 - failed
            ending = True
            others = "; the others are ended" if alive else ""
            with screen:
                print(f"worker {number} {_fate(failed)}{others}", file=sys.stderr, flush=True)
            _send_all(crew, alive, signal.SIGTERM)
    return code


def _fate(returncode: int) -> str:
    if returncode > 0:
        return f"stopped with exit code {returncode}"
    return f"was killed by {signal.Signals(-returncode).name}"


def _send_all(crew: Sequence["subprocess.Popen[str]"], chosen: set[int], number: int) -> None:
    for index in chosen:
        send_signal(crew[index], number)


def send_signal(process: "subprocess.Popen[str]", number: int) -> None:
    """A signal to the process and all it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
