"""Whether a network is the same each time it is traced, and in each process."""

import hashlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from kcnn.architectures import registry
from kcnn.architectures.spec import ModelSpec
from kcnn.graph.graph import Graph
from kcnn.graph.tracing import topological_order

TRACES = 500  # a backbone that differs in one of fifty passes with probability 0.98 ** 500 = 4e-5
SECONDS = 5.0  # for a network of Keras code, which takes long to trace
HASH_SEEDS = ("0", "1", "2", "3")  # they fix the order of sets of strings, which differs by process


def digest_graph(graph: Graph) -> str:
    """Return a hash of the layers of a graph: their names, ops, shapes, inputs and order."""
    layers = topological_order(*graph.outputs.values())
    rows = [(x.name, repr(x.op), x.shape, [source.name for source in x.inputs]) for x in layers]
    return hashlib.blake2b(repr(rows).encode(), digest_size=8).hexdigest()


def find_unstable_traces(name: str) -> Iterator[str]:
    """Trace a network many times, one of kcnn's own three times.

    Args:
        name: A network or variant.

    Yields:
        A text if two graphs differ.
    """
    own = registry.find_distribution(registry.find_entry_point(name)[0]) == registry.BUILTIN
    spec, start = ModelSpec(network=name), time.monotonic()
    first = digest_graph(spec.trace())
    for count in range(1, 3 if own else TRACES):
        if digest_graph(spec.trace()) != first:
            yield f"trace {count + 1} differs from the first; its backbone must give the same layers in the same order"
            return
        if time.monotonic() - start > SECONDS:
            return


def compare_processes(names: Sequence[str]) -> dict[str, str]:
    """Trace networks in processes that differ in the order of sets.

    Args:
        names: Networks and variants; each can be traced.

    Returns:
        A text for each network that differs from process to process.
    """
    command = [sys.executable, "-m", "kcnn.architectures.determinism", *names]
    path = os.pathsep.join(filter(None, sys.path))
    children = [
        subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for seed in HASH_SEEDS
    ]
    lines = [child.communicate()[0].decode().strip().rpartition("\n")[2] for child in children]
    digests = [json.loads(line) if line.startswith("{") else {} for line in lines]  # one that fails has none
    differ = {name for a, b in itertools.pairwise(digests) for name in names if a.get(name) != b.get(name)}
    text = "its layers differ from process to process; iterate over a tuple or sorted(...), never over a set"
    return dict.fromkeys(differ, text)


if __name__ == "__main__":
    print(json.dumps({name: digest_graph(ModelSpec(network=name).trace()) for name in sys.argv[1:]}))
