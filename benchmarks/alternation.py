"""Alternate between processes that do the same work: a ratio then compares what ran within seconds of each other.

A worker is a process that prints "ready" once it is warm. For every line it reads it does one repetition and prints
[processor seconds, wall seconds] of one unit of its work; between them it waits, and takes no processor time.
"""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import IO

QUARTILES = 8  # ratios from which on quartiles are told; of fewer, the range

Seconds = tuple[float, float]  # of processor and wall, for one unit


class SideError(RuntimeError):
    """A process that measures ended early."""


@dataclass(frozen=True)
class Worker:
    """A process that waits to be asked for a repetition, and the file of its standard error."""

    label: str
    process: subprocess.Popen[bytes]
    errors: IO[bytes]


@contextlib.contextmanager
def start_worker(label: str, command: Sequence[str]) -> Iterator[Worker]:
    """Start a worker and wait until it is warm; end it and its child processes in any case."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stderr=errors, start_new_session=True, **pipes) as process,
    ):
        worker = Worker(label, process, errors)
        try:
            if (line := read_line(worker)) != "ready":
                raise SideError(f'{label}: expected a worker that prints "ready", got {line!r}')
            yield worker
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def read_line(worker: Worker) -> str:
    line = worker.process.stdout.readline()
    if not line:
        worker.errors.seek(0)
        raise_failure(worker.label, worker.process.wait(), worker.errors.read())
    return line.decode().strip()


def raise_failure(label: str, status: int, errors: bytes) -> None:
    raise SideError(f"{label} ended with status {status}:\n{errors.decode(errors='replace')[-2000:].strip()}")


def ask(worker: Worker) -> Seconds:
    """Return the seconds of one repetition."""
    with contextlib.suppress(BrokenPipeError):  # it has ended: the line that is missing tells
        worker.process.stdin.write(b"\n")
    processor, wall = json.loads(read_line(worker))
    return processor, wall


def run_once(label: str, command: Sequence[str]) -> Seconds:
    """Return the median seconds that a new process prints, a line for each repetition."""
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise_failure(label, done.returncode, done.stderr)
    processor, wall = zip(*map(json.loads, done.stdout.splitlines()), strict=True)
    return median(processor), median(wall)


def take_passes(commands: Mapping[str, Sequence[str]], passes: int) -> dict[str, list[Seconds]]:
    """Return the seconds of each pass by label: a worker lives for each command, and does a repetition in each pass."""
    with contextlib.ExitStack() as stack:
        workers = {label: stack.enter_context(start_worker(label, words)) for label, words in commands.items()}
        return alternate({label: lambda worker=worker: ask(worker) for label, worker in workers.items()}, passes)


def take_rounds(commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, list[Seconds]]:
    """Return the seconds of each round by label, each of a new process."""
    sides = {label: lambda one=(label, words): run_once(*one) for label, words in commands.items()}
    return alternate(sides, rounds)


def alternate(sides: Mapping[str, Callable[[], Seconds]], passes: int) -> dict[str, list[Seconds]]:
    """Call every side in each pass, in the reversed order every second time."""
    taken: dict[str, list[Seconds]] = {label: [] for label in sides}
    for number in range(passes):
        for label in list(sides)[:: -1 if number % 2 else 1]:
            taken[label].append(sides[label]())
    return taken


def describe_ratios(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Return the median of the ratios within each pass, and their quartiles, or of few ratios the range."""
    ratios = sorted(other / one for one, other in zip(ours, theirs, strict=True))
    low, high = ratios[0], ratios[-1]
    if len(ratios) >= QUARTILES:
        low, _, high = quantiles(ratios, n=4, method="inclusive")
    return f"{median(ratios):.2f} ({low:.2f} to {high:.2f})"
