"""Who the workers are and which one this process is: from TF_CONFIG, or from Slurm; nothing here needs TensorFlow."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

FIRST_PORT, PORTS = 16000, 16000  # below the ports that Linux gives to clients, from 32768 on
EXAMPLE = '{"cluster": {"worker": ["host1:12345", "host2:12345"]}, "task": {"type": "worker", "index": 0}}'


@dataclass(frozen=True)
class Cluster:
    """The workers' addresses, HOST:PORT, the chief's first, and the place of this process among them."""

    workers: tuple[str, ...]
    index: int

    @property
    def config(self) -> str:
        """The same as a TF_CONFIG."""
        return json.dumps({"cluster": {"worker": list(self.workers)}, "task": {"type": "worker", "index": self.index}})


def detect_cluster(environment: Mapping[str, str] = os.environ, *, port: int | None = None) -> Cluster | None:
    """The cluster of this process, or None where neither TF_CONFIG nor a Slurm step of several tasks names one.

    Under Slurm a node's tasks listen on `port`, port + 1, ...; by default a number that follows from the job's.
    ValueError for a TF_CONFIG or a Slurm variable that does not say so.
    """
    if environment.get("TF_CONFIG", "").strip():
        return _named(environment["TF_CONFIG"])
    # srun alone sets this one: in a batch script or a shell of salloc the other variables tell of
    # several tasks as well, and this process would wait for workers that nobody starts
    if "SLURM_STEP_NODELIST" in environment:
        return _slurm(environment, port)
    return None


def _named(text: str) -> Cluster | None:
    def wrong(what: str) -> ValueError:
        return ValueError(f"TF_CONFIG {what}; it was {text!r}, and should be like {EXAMPLE}")

    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise wrong(f"is not JSON ({error})") from None
    jobs = config.get("cluster") if isinstance(config, dict) else None
    if jobs is None and isinstance(config, dict) and "task" not in config:
        return None  # {} and {"environment": ...}: a job of one process
    if not isinstance(jobs, dict) or not jobs:
        raise wrong('has no "cluster" with addresses of workers')
    for job, addresses in jobs.items():
        if job not in ("chief", "worker"):
            raise wrong(f"has a job {job!r}, where there may only be chief and worker")
        if not isinstance(addresses, list) or not all(isinstance(one, str) and _address(one) for one in addresses):
            raise wrong(f"gives {job} {addresses!r}, not a list of addresses HOST:PORT")
    chiefs, workers = jobs.get("chief", []), jobs.get("worker", [])
    if len(chiefs) > 1:
        raise wrong("has more than one chief")
    everyone = (*chiefs, *workers)
    if len(set(everyone)) < len(everyone):
        raise wrong("gives two workers one address")
    task: Any = config.get("task")
    if not isinstance(task, dict) or task.get("type") not in jobs:
        raise wrong('has no "task" with a "type" that is in the cluster')
    index = task.get("index")
    if type(index) is not int or not 0 <= index < len(jobs[task["type"]]):
        raise wrong(f"has {index!r} as the index of a {task['type']}, of which there are {len(jobs[task['type']])}")
    return Cluster(everyone, index + (len(chiefs) if task["type"] == "worker" else 0))


def _address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdigit()


def _slurm(environment: Mapping[str, str], port: int | None) -> Cluster | None:
    def number(*names: str) -> int:
        for name in names:
            if environment.get(name, "").isdigit():
                return int(environment[name])
        raise ValueError(f"Slurm's {names[0]} should be a number and is {environment.get(names[0])!r}; start with srun")

    tasks = number("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")
    if tasks == 1:
        return None
    nodes = expand_hosts(environment["SLURM_STEP_NODELIST"])
    shares = environment.get("SLURM_STEP_TASKS_PER_NODE") or environment.get("SLURM_TASKS_PER_NODE")
    if shares is None and tasks % len(nodes):
        raise ValueError(f"{tasks} tasks on {len(nodes)} nodes, and no SLURM_STEP_TASKS_PER_NODE says how; use srun")
    counts = _counts(shares) if shares is not None else [tasks // len(nodes)] * len(nodes)
    if len(counts) != len(nodes) or sum(counts) != tasks:
        raise ValueError(f"Slurm names {len(nodes)} nodes and {tasks} tasks, but {shares!r} tasks for each node")
    base = FIRST_PORT + number("SLURM_JOB_ID") % PORTS if port is None else port
    workers = tuple(f"{node}:{base + i}" for node, count in zip(nodes, counts, strict=True) for i in range(count))
    if "SLURM_NODEID" in environment and "SLURM_LOCALID" in environment:
        # right in whatever order Slurm dealt the tasks to the nodes
        index = sum(counts[: number("SLURM_NODEID")]) + number("SLURM_LOCALID")
    else:
        index = number("SLURM_PROCID")
    if index >= tasks:
        raise ValueError(f"Slurm says that this is task {index} of {tasks}, counted from 0; start with srun")
    return Cluster(workers, index)


def expand_hosts(nodes: str) -> list[str]:
    """The names in one of Slurm's node lists: "n[01-03,7],login" gives n01, n02, n03, n7, login.

    ValueError for a list with a bracket that does not close or a range that is none.
    """
    return [name for part in re.split(r",(?![^\[]*\])", nodes) for name in _expanded(part, nodes)]


def _expanded(part: str, whole: str) -> Iterator[str]:
    match = re.fullmatch(r"([^\[\],\s]*)\[([^\[\]]+)\](.*)", part)
    if match is None:
        if not re.fullmatch(r"[^\[\],\s]+", part):
            raise ValueError(f"the node list {whole!r} cannot be read at {part!r}; one is like 'n[01-03,7],login'")
        yield part
        return
    before, ranges, after = match.groups()
    for one in ranges.split(","):
        ends = re.fullmatch(r"(\d+)(?:-(\d+))?", one)
        if ends is None or (ends[2] and int(ends[2]) < int(ends[1])):
            raise ValueError(f"the node list {whole!r} has the range {one!r}, which is none; one is like 01-03")
        for number in range(int(ends[1]), int(ends[2] or ends[1]) + 1):
            name = f"{before}{number:0{len(ends[1])}}"
            yield from (name + rest for rest in (_expanded(after, whole) if after else [""]))


def _counts(shares: str) -> list[int]:
    """Tasks of each node: "2(x3),1" gives 2, 2, 2, 1."""
    found = []
    for part in shares.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if match is None:
            raise ValueError(f"Slurm's tasks for each node, {shares!r}, cannot be read at {part!r}; like '2(x3),1'")
        found += [int(match[1])] * int(match[2] or 1)
    return found
