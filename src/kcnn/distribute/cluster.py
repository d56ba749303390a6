"""The cluster of workers, and the position of this process in it: from TF_CONFIG or Slurm. No TensorFlow here."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kcnn.atomic_io import parse_json

FIRST_PORT, PORTS = 16000, 16000  # below the ports that Linux gives to clients, from 32768 on
START_ONCE = "start it once, without kcnn launch and with one task"
EXAMPLE = '{"cluster": {"worker": ["host1:12345", "host2:12345"]}, "task": {"type": "worker", "index": 0}}'


@dataclass(frozen=True)
class Cluster:
    """Hold the workers of a cluster.

    Attributes:
        workers: Addresses, HOST:PORT; the first is worker 0 (the chief).
        index: Number of this process.
    """

    workers: tuple[str, ...]
    index: int

    @property
    def config(self) -> str:
        """The cluster as a TF_CONFIG."""
        return json.dumps({"cluster": {"worker": list(self.workers)}, "task": {"type": "worker", "index": self.index}})


def detect_cluster(environment: Mapping[str, str] = os.environ, *, port: int | None = None) -> Cluster | None:
    """Detect the cluster of this process.

    Args:
        environment: Environment variables.
        port: Under Slurm, the tasks of a node listen on port, port + 1, ...; by default it follows from the job ID.

    Returns:
        The cluster; None unless TF_CONFIG or a Slurm step of several tasks defines one.

    Raises:
        ValueError: TF_CONFIG or a Slurm variable is malformed.
    """
    if environment.get("TF_CONFIG", "").strip():
        return _parse_tf_config(environment["TF_CONFIG"])
    # Only srun sets this one. A batch script or a shell of salloc has the other variables as well, and this process
    # would wait for workers that are never started.
    if "SLURM_STEP_NODELIST" in environment:
        return _read_slurm(environment, port)
    return None


def require_one_process(job: str, advice: str, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse a job that runs in one process where this process is one of several workers.

    Args:
        job: What runs in one process; it opens the message of the error.
        advice: What to do instead; it ends the message.
        environment: Environment variables.

    Raises:
        ValueError: TF_CONFIG or a Slurm step of several tasks makes this process one of several workers.
    """
    cluster = detect_cluster(environment)
    if cluster is None or len(cluster.workers) == 1:
        return
    source = "TF_CONFIG (kcnn launch sets it)" if environment.get("TF_CONFIG", "").strip() else "srun"
    raise ValueError(
        f"{job} runs in one process, but {source} makes this process worker {cluster.index} of {len(cluster.workers)}; "
        f"{advice}"
    )


def _parse_tf_config(text: str) -> Cluster | None:
    def malformed(problem: str) -> ValueError:
        return ValueError(f"TF_CONFIG {problem}; got {text!r}, expected a value like {EXAMPLE}")

    try:
        config = parse_json(text)
    except json.JSONDecodeError as error:
        raise malformed(f"is not JSON ({error})") from None
    jobs = config.get("cluster") if isinstance(config, dict) else None
    if jobs is None and isinstance(config, dict) and "task" not in config:
        return None  # {} and {"environment": ...}: a job of one process
    if not isinstance(jobs, dict) or not jobs:
        raise malformed('has no "cluster" with addresses of workers')
    for job, addresses in jobs.items():
        if job not in ("chief", "worker"):
            raise malformed(f"has a job {job!r}; only chief and worker are supported")
        if not isinstance(addresses, list) or not all(isinstance(one, str) and _is_address(one) for one in addresses):
            raise malformed(f"gives {job} {addresses!r}, not a list of addresses HOST:PORT")
    chiefs, workers = jobs.get("chief", []), jobs.get("worker", [])
    if len(chiefs) > 1:
        raise malformed("has more than one chief")
    everyone = (*chiefs, *workers)
    if len(set(everyone)) < len(everyone):
        raise malformed("gives two workers the same address")
    task: Any = config.get("task")
    if not isinstance(task, dict) or task.get("type") not in jobs:
        raise malformed('has no "task" with a "type" that is in the cluster')
    index = task.get("index")
    if type(index) is not int or not 0 <= index < len(jobs[task["type"]]):
        raise malformed(f"has {index!r} as the index of a {task['type']}, of which there are {len(jobs[task['type']])}")
    return Cluster(everyone, index + (len(chiefs) if task["type"] == "worker" else 0))


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdigit()


def _read_slurm(environment: Mapping[str, str], port: int | None) -> Cluster | None:
    def number(*names: str) -> int:
        for name in names:
            if environment.get(name, "").isdigit():
                return int(environment[name])
        raise ValueError(f"Slurm: {names[0]} must be a number, got {environment.get(names[0])!r}; start with srun")

    tasks = number("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")
    if tasks == 1:
        return None
    nodes = expand_hosts(environment["SLURM_STEP_NODELIST"])
    text = environment.get("SLURM_STEP_TASKS_PER_NODE") or environment.get("SLURM_TASKS_PER_NODE")
    if text is None and tasks % len(nodes):
        raise ValueError(
            f"Slurm: {tasks} tasks cannot be split evenly among {len(nodes)} nodes, and SLURM_STEP_TASKS_PER_NODE is "
            "missing; start with srun"
        )
    counts = _parse_task_counts(text) if text is not None else [tasks // len(nodes)] * len(nodes)
    if len(counts) != len(nodes) or sum(counts) != tasks:
        raise ValueError(f"Slurm: {text!r} tasks per node do not match {len(nodes)} nodes and {tasks} tasks")
    base = FIRST_PORT + number("SLURM_JOB_ID") % PORTS if port is None else port
    workers = tuple(f"{node}:{base + i}" for node, count in zip(nodes, counts, strict=True) for i in range(count))
    if "SLURM_NODEID" in environment and "SLURM_LOCALID" in environment:
        # SLURM_PROCID depends on how Slurm distributes tasks over nodes; this does not
        index = sum(counts[: number("SLURM_NODEID")]) + number("SLURM_LOCALID")
    else:
        index = number("SLURM_PROCID")
    if index >= tasks:
        raise ValueError(f"Slurm: the index of this task must be below {tasks}, got {index}; start with srun")
    return Cluster(workers, index)


def expand_hosts(nodes: str) -> list[str]:
    """Return the names in a node list of Slurm: "n[01-03,7],login" gives n01, n02, n03, n7, login.

    Args:
        nodes: The node list.

    Returns:
        The names.

    Raises:
        ValueError: A bracket is not closed, or a range is invalid.
    """
    return [name for part in re.split(r",(?![^\[]*\])", nodes) for name in _expand_part(part, nodes)]


def _expand_part(part: str, node_list: str) -> Iterator[str]:
    match = re.fullmatch(r"([^\[\],\s]*)\[([^\[\]]+)\](.*)", part)
    if match is None:
        if not re.fullmatch(r"[^\[\],\s]+", part):
            raise ValueError(f"invalid node list {node_list!r} at {part!r}; expected one like 'n[01-03,7],login'")
        yield part
        return
    before, ranges, after = match.groups()
    for text in ranges.split(","):
        ends = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
        if ends is None or (ends[2] and int(ends[2]) < int(ends[1])):
            raise ValueError(f"invalid node list {node_list!r}: invalid range {text!r}; expected one like 01-03")
        for number in range(int(ends[1]), int(ends[2] or ends[1]) + 1):
            name = f"{before}{number:0{len(ends[1])}}"
            yield from (name + rest for rest in (_expand_part(after, node_list) if after else [""]))


def _parse_task_counts(text: str) -> list[int]:
    """Tasks of each node: "2(x3),1" gives 2, 2, 2, 1."""
    counts = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if match is None:
            raise ValueError(f"Slurm: invalid tasks per node {text!r} at {part!r}; expected a value like '2(x3),1'")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts
