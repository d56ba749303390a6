"""Tell which workers have not started, while the others wait for them. No TensorFlow here.

TensorFlow waits minutes for a worker that was never started, and names none. No other thread runs meanwhile, so that
another process looks for the workers: `python -m kcnn.distribute.waiting TF_CONFIG`.
"""

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

from kcnn.distribute.cluster import Cluster, detect_cluster

PATIENCE = 10.0  # seconds before the first message
INTERVAL = 30.0  # seconds between further ones


@contextlib.contextmanager
def report_missing_workers(config: str) -> Iterator[None]:
    """Write to standard error which workers do not listen yet, while this one waits for them.

    Args:
        config: The TF_CONFIG of this worker.
    """
    process = subprocess.Popen([sys.executable, "-m", "kcnn.distribute.waiting", config], stdin=subprocess.PIPE)
    try:
        yield
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


def find_missing_workers(cluster: Cluster) -> list[str]:
    """Return the other workers of a cluster to which no connection can be made, such as "worker 1 (host:port)".

    Args:
        cluster: The cluster.
    """
    return [
        f"worker {n} ({address})"
        for n, address in enumerate(cluster.workers)
        if n != cluster.index and not _is_listening(address)
    ]


def _is_listening(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 2).close()
    except OSError:
        return False
    return True


def _watch(config: str) -> None:
    """Report missing workers until the process that waits for them is gone."""
    cluster, is_over = detect_cluster({"TF_CONFIG": config}), threading.Event()
    assert cluster is not None

    def wait_for_parent() -> None:
        sys.stdin.buffer.read()
        is_over.set()

    threading.Thread(target=wait_for_parent, daemon=True).start()
    pause = PATIENCE
    while not is_over.wait(pause):
        pause = INTERVAL
        if missing := find_missing_workers(cluster):
            verb = "has" if len(missing) == 1 else "have"
            text = f"waits for {', '.join(missing)}, which {verb} not started, or cannot be reached from here"
            print(f"worker {cluster.index} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    _watch(sys.argv[1])
