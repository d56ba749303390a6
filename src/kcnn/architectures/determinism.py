"""Whether a network is the same each time it is traced, and in each process."""

import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from kcnn.architectures import plugins, registry
from kcnn.architectures.spec import ModelSpec
from kcnn.atomic_io import write_text
from kcnn.graph.graph import Graph
from kcnn.graph.tracing import topological_order

TRACES = 500  # a backbone that differs in one of fifty passes with probability 0.98 ** 500 = 4e-5
SECONDS = 5.0  # for a network of Keras code, which takes long to trace
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # in the repr of functions, which differs by process
HASH_SEEDS = ("0", "1", "2", "3")  # they fix the order of sets of strings, which differs by process


def digest_graph(graph: Graph) -> str:
    """Return a hash of the layers of a graph: their names, ops, shapes, inputs and order."""
    layers = topological_order(*graph.outputs.values())
    rows = [(x.name, repr(x.op), x.shape, [source.name for source in x.inputs]) for x in layers]
    text = ADDRESS.sub("", repr(rows))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def hash_unpublished(spec: ModelSpec) -> dict[str, str]:
    """Return {"graph_hash": a hash of the layers} for a request; nothing where a distribution publishes the network.

    The checksum of a file covers neither what it imports nor code that a notebook has imported and then changed.
    """
    if spec.definition is None and isinstance(spec.network, str):
        return {}
    return {"graph_hash": digest_graph(spec.trace_candidate())}


def find_unstable_traces(name: str) -> Iterator[str]:
    """Trace a network many times, one of kcnn's own three times.

    Args:
        name: A network or variant.

    Yields:
        A text if two graphs differ.
    """
    own = registry.is_own(name)
    spec, start = ModelSpec(network=name), time.monotonic()
    first = digest_graph(spec.trace())
    for count in range(1, 3 if own else TRACES):
        if digest_graph(spec.trace()) != first:
            yield f"trace {count + 1} differs from the first; its backbone must give the same layers in the same order"
            return
        if time.monotonic() - start > SECONDS:
            return


def compare_processes(names: Sequence[str], seconds: float = 120.0) -> dict[str, str]:
    """Trace networks in processes that differ in the order of sets.

    Args:
        names: Networks and variants; each can be traced.
        seconds: Time limit of all processes together.

    Returns:
        A text for each network that differs from process to process, or that a process does not trace.
    """
    path, end = os.pathsep.join(filter(None, sys.path)), time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        children = []
        for seed in HASH_SEEDS:
            report, output = Path(folder) / f"{seed}.json", Path(folder) / f"{seed}.txt"
            command = [sys.executable, "-m", "kcnn.architectures.determinism", str(report), *names]
            env = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed}
            children.append((stack.enter_context(plugins.start_process(command, output, env)), report, output))
        digests = []
        for child, report, output in children:
            try:
                code = child.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                return dict.fromkeys(names, f"tracing it in another process takes more than {seconds:g} seconds")
            if not report.exists():
                text = f"another process cannot trace it (exit {code}): {plugins.read_last_line(output)}"
                return dict.fromkeys(names, text)
            digests.append(json.loads(report.read_text()))
    differ = {name for a, b in itertools.pairwise(digests) for name in names if a[name] != b[name]}
    text = "its layers differ from process to process; iterate over a tuple or sorted(...), never over a set"
    return dict.fromkeys(differ, text)


if __name__ == "__main__":
    traced = {name: digest_graph(ModelSpec(network=name).trace()) for name in sys.argv[2:]}
    write_text(sys.argv[1], json.dumps(traced))
    os._exit(0)  # threads of a plugin would keep the process
