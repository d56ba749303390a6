"""How long the names of all networks take where 1,000 distributions are installed and 50 of them publish 200.

    python benchmarks/names.py

On 2 CPU cores that did other work as well: 76 ms in a new process (at most 94), 0.001 ms from then on.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

COLD = """
import time, kcnn
begun = time.perf_counter()
names = kcnn.list_models()
cold = time.perf_counter() - begun
begun = time.perf_counter()
for _ in range(100):
    kcnn.list_models()
print(len(names), 1e3 * cold, 10 * (time.perf_counter() - begun))
"""


def many(folder: Path) -> None:
    """1,000 distributions as pip would lay them out, of which 50 publish 4 networks each."""
    for number in range(1000):
        info = folder / f"dist_{number}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dist-{number}\nVersion: 1.0\n\n" + "text\n" * 100)
        points = "\n".join(f"net{number}_{k} = mod{number}:net{k}" for k in range(4))
        lines = f"[kcnn.architectures]\n{points}" if number < 50 else f"[console_scripts]\ntool{number} = mod:main"
        (info / "entry_points.txt").write_text(lines + "\n")


def main(times: int = 9) -> None:
    with tempfile.TemporaryDirectory() as folder:
        many(Path(folder))
        found = []
        for _ in range(times):
            done = subprocess.run(
                [sys.executable, "-c", COLD],
                env={**os.environ, "PYTHONPATH": folder},
                capture_output=True,
                text=True,
                check=True,
            )
            found.append(tuple(map(float, done.stdout.split())))
    names, cold, warm = (statistics.median(column) for column in zip(*found, strict=True))
    most = max(row[1] for row in found)
    print(f"{names:.0f} names: {cold:.0f} ms in a new process (at most {most:.0f}), {warm:.4f} ms from then on")


if __name__ == "__main__":
    main()
