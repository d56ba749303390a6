"""Measure kcnn.list_models where 1,000 distributions are installed and 50 of them publish 200 networks.

    python benchmarks/names.py

On 2 CPU cores with other load: 76 ms in a new process (at most 94), 0.001 ms afterwards.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

COLD = """
import time, kcnn
start = time.perf_counter()
names = kcnn.list_models()
cold = time.perf_counter() - start
start = time.perf_counter()
for _ in range(100):
    kcnn.list_models()
print(len(names), 1e3 * cold, 10 * (time.perf_counter() - start))
"""


def install(folder: Path) -> None:
    """Write 1,000 distributions as pip installs them, of which 50 publish 4 networks each."""
    for number in range(1000):
        info = folder / f"dist_{number}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dist-{number}\nVersion: 1.0\n\n" + "text\n" * 100)
        points = "\n".join(f"net{number}_{k} = mod{number}:net{k}" for k in range(4))
        lines = f"[kcnn.architectures]\n{points}" if number < 50 else f"[console_scripts]\ntool{number} = mod:main"
        (info / "entry_points.txt").write_text(lines + "\n")


def run(code: str, folder: Path) -> str:
    """Return what a new process prints in which these distributions are installed."""
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    command, environment = [sys.executable, "-c", code], {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def main(times: int = 9) -> None:
    with tempfile.TemporaryDirectory() as folder:
        install(Path(folder))
        rows = [tuple(map(float, run(COLD, Path(folder)).split())) for _ in range(times)]
    names, cold, warm = (statistics.median(column) for column in zip(*rows, strict=True))
    slowest = max(row[1] for row in rows)
    print(f"{names:.0f} names: {cold:.0f} ms in a new process (at most {slowest:.0f}), {warm:.4f} ms afterwards")


if __name__ == "__main__":
    main()
