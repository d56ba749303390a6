"""Measure kcnn beside its peers, row by row, in processes that alternate.

    make bench                                   # everything, one thread and two; peers by pip install "kcnn[bench]"
    python benchmarks/bench.py --threads 1 --only photos
    python benchmarks/bench.py --torch ~/torch/bin/python  # torch and its friends from another environment

Of work that can be repeated each library has one process, pinned to the cores. Once all are warm they take turns, in
passes: a repetition of about a second, or an epoch of photos, of each, the order reversed every second time; who waits
takes no processor time. What only a new process shows (first steps, photos to classes, commands) gets one for each
round, and rounds alternate likewise. A ratio is the peer's seconds over kcnn's in the same pass or round: the median,
with the lower and upper quartile, or of fewer than 8 with the lowest and highest. Processor time is of all threads and
child processes. A peer that is not installed is named and left out.

Measured on 2 cores of an Intel Xeon with AVX-512, 24 GiB, TensorFlow 2.21, torch 2.13, torchvision 0.28, timm 1.0.29,
albumentations 2.0.8; of steps and builds the second core at work on other things. Milliseconds of kcnn, and ratios of
processor time (photos to classes and strong photos: 3 rounds or passes, with the range):

    one core                             kcnn   keras                   torch
    step resnet50                        1362   1.31 (1.27 to 1.35)     1.25 (1.15 to 1.29)
    step mobilenet_v2                     276   1.70 (1.67 to 1.77)     1.48 (1.44 to 1.51)
    step inception_v3                     775   1.23 (1.19 to 1.27)     1.30 (1.19 to 1.33)
    step resnet18                         579                           1.09 (1.07 to 1.14)
    step googlenet                        524                           1.19 (1.17 to 1.30)
    first step resnet50                  6553   2.83 (2.76 to 3.70)
    first step mobilenet_v2              4728   2.99 (2.32 to 3.39)
    build resnet50                        600   1.04 (0.92 to 1.13)
    build mobilenet_v2                    490   0.99 (0.94 to 1.12)
    build inception_v3                    790   1.40 (1.30 to 1.50)
    predict one mobilenet_v2             13.9   5.79 (5.51 to 6.25), of wall time 7.79 (7.22 to 8.44)
    predict one optimized mobilenet_v2   9.83   9.46 (8.94 to 9.86), of wall time 12.65 (11.24 to 12.92)
    photos to classes                    15.6   1.58 (1.52 to 1.78)     2.53 (2.23 to 2.69)

    one core              kcnn   keras                 albumentations        timm                   torchvision
    photos decoded        1.60   0.89 (0.85 to 0.93)                         2.36 (2.25 to 2.47)    2.28 (2.22 to 2.49)
    photos standard       1.59   3.38 (3.28 to 3.57)   1.33 (1.16 to 1.35)   2.09 (2.02 to 2.24)    2.10 (2.01 to 2.32)
    photos strong         2.02   28.13 (25.20 to 29.91)                      2.25 (2.08 to 2.41)    2.19 (1.97 to 2.56)
    photos 6 MP decoded   10.5   2.09 (2.01 to 2.14)                         5.88 (5.32 to 6.20)    7.87 (7.39 to 8.19)

    two cores             kcnn   keras                 albumentations        timm                   torchvision
    photos decoded        1.95   0.93 (0.91 to 0.95)                         2.58 (2.53 to 2.63)    2.41 (2.36 to 2.47)
      of wall time        1.05   0.96 (0.90 to 1.01)                         2.51 (2.27 to 2.70)    2.29 (2.14 to 2.36)
    photos standard       1.97   3.20 (3.06 to 3.30)   1.37 (1.32 to 1.42)   2.24 (2.21 to 2.39)    2.18 (2.08 to 2.29)
      of wall time        1.10   3.73 (3.20 to 4.21)   1.34 (1.30 to 1.38)   2.18 (2.11 to 2.29)    2.07 (2.00 to 2.22)

    two cores, 3 rounds   milliseconds of processor and of wall time
    kcnn list               284   284
    kcnn summary            259   262
    kcnn report            2370  2024
    kcnn predict .keras    5084  4975
    kcnn predict .tflite    848   683

On two cores steps were only measured before processes took turns, in two rounds of new ones, by processor; wall time:
ResNet-50 1.35; 1.35 of keras and 1.19; 1.03 of torch, MobileNet v2 1.55; 1.45 and 1.23; 1.05, Inception v3 1.17; 1.16
and 1.35; 1.25, ResNet-18 1.03; 0.98 of torch, GoogLeNet 1.29; 1.15.

Why some rows are near 1, by profiles: convolutions are 85% of a step of ResNet-18 in TensorFlow and 79% in torch, and
both call the same kernels of oneDNN for them (ONEDNN_VERBOSE), at about 110 GFLOP/s; they are 80% and 74% of
ResNet-50, 82% and 75% of Inception v3. Of a decoded photo libjpeg-turbo, which all call, takes 1.0 of 1.6 ms, and
resizing 0.35, of which 0.2 to weigh every pixel of what shrinks: Keras takes four of them for one, and skips others.
Of the 15.6 ms of a photo to its class MobileNet v2 computes 8 to 9 (13 before its batch norms are folded); to load,
fold and trace it takes 2.0 s once (1.1, 0.4 and 0.5), 3 ms of each of 640 photos. Of `predict` by a .keras file the
import of Keras takes half.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import psutil
import typer
from alternation import SideError, describe_ratios, take_passes, take_rounds
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sample_photos import write_photos

SIDES = Path(__file__).with_name("sides.py")
ONCE = ("first_step", "classes", "command")  # work that only a new process shows
PASSES, ROUNDS = 12, 3
NEEDS = {"torch": "torchvision"}  # packages by library, where another is meant


@dataclass(frozen=True)
class Row:
    """One kind of work: a function of sides.py, with its arguments after the library."""

    name: str
    work: str
    arguments: tuple[Any, ...]
    peers: tuple[str, ...]


def list_rows(small: Path, large: Path, run: Path) -> list[Row]:
    """Return the rows of the table, by folders of photos of 500x375 and of 6 megapixels, and the folder of a run."""
    both = dict.fromkeys(("mobilenet_v2", "inception_v3"), ("keras", "torch"))
    steps = {"resnet50.keras": ("keras",), "resnet50.torchvision": ("torch",), **both}
    steps |= dict.fromkeys(("resnet18", "googlenet.torchvision"), ("torch",))
    rows = [Row(f"step {name}", "step", (name,), peers) for name, peers in steps.items()]
    names = ("resnet50.keras", *both)
    rows += [Row(f"first step {name}", "first_step", (name,), ("keras",)) for name in names[:2]]
    rows += [Row(f"build {name}", "build", (name,), ("keras",)) for name in names]
    for end in ((), (True,)):
        name = f"predict one {'optimized ' * len(end)}mobilenet_v2"
        rows.append(Row(name, "predict_one", ("mobilenet_v2", *end), ("keras",)))
    rows.append(Row("photos decoded", "photos", ("none", str(small)), ("keras", "timm", "torchvision")))
    peers = ("keras", "albumentations", "timm", "torchvision")
    rows.append(Row("photos standard", "photos", ("standard", str(small)), peers))
    rows.append(Row("photos strong", "photos", ("strong", str(small)), ("keras", "timm", "torchvision")))
    rows.append(Row("photos 6 MP decoded", "photos", ("none", str(large)), ("keras", "timm", "torchvision")))
    rows.append(Row("photos to classes", "classes", (str(small),), ("keras", "torch")))
    photo = str(next(small.rglob("*.jpg")))
    commands = {
        "list": ("list",),
        "summary": ("summary", "resnet50"),
        "report": ("report", str(run)),
        "predict .keras": ("predict", str(run / "model.keras"), photo),
        "predict .tflite": ("predict", str(run / "export" / "litert.tflite"), photo),
    }
    return rows + [Row(f"kcnn {name}", "command", ("kcnn", *words), ()) for name, words in commands.items()]


def is_installed(python: str, library: str) -> bool:
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec('{NEEDS.get(library, library)}') is None)"
    return not subprocess.run([python, "-c", code], check=False).returncode


def prepare_run(run: Path) -> None:
    """Train a small network into a folder, which `report` and `predict` take."""
    network = ["mobilenet_v2", "--data", "digits", "--input-size", "32x32x3", "--epochs", "1", "--out", str(run)]
    for words in (["train", *network], ["export", str(run), "--format", "litert"]):
        subprocess.run([sys.executable, "-m", "kcnn", *words], check=True, capture_output=True)


def main(
    only: Annotated[list[str] | None, typer.Option(help="Rows whose name contains this; all by default.")] = None,
    threads: Annotated[list[int] | None, typer.Option(help="Numbers of cores; 1 and 2 by default.")] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help=f"Passes, or rounds of new processes; {PASSES} and {ROUNDS} by default.")
    ] = None,
    torch: Annotated[str, typer.Option(help="A Python that has the peers of torch.")] = sys.executable,
) -> None:
    pythons = dict.fromkeys(("torch", "torchvision", "timm", "albumentations"), torch)
    missing = [name for name in pythons if not is_installed(torch, name)]
    if missing:
        print(f"not installed, and left out: {', '.join(missing)}")
    with tempfile.TemporaryDirectory() as name:
        small = write_photos(Path(name, "small"), count=640)
        large = write_photos(Path(name, "large"), (3000, 2000), 80)
        run = Path(name, "run")
        rows = list_rows(small, large, run)
        rows = [row for row in rows if not only or any(part in row.name for part in only)]
        if any(row.work == "command" for row in rows):
            prepare_run(run)
        for count in threads or (1, 2):
            columns = ("kcnn, ms of processor", "ms of wall", "peer", "times, processor", "times, wall")
            table = Table("work", "medians of", *columns)
            try:
                for row in track(rows, f"{count} cores"):
                    add_row(table, row, [peer for peer in row.peers if peer not in missing], count, rounds, pythons)
            finally:  # an interrupt or a peer that fails loses no row before
                print(f"{describe_machine()}, on {count}; times with quartiles, of fewer than 8 with the range")
                Console().print(table)


def add_row(
    table: Table, row: Row, peers: Sequence[str], threads: int, rounds: int | None, pythons: dict[str, str]
) -> None:
    commands = {}
    for library in ("kcnn", *peers):
        arguments = row.arguments if row.work == "command" else (library, *row.arguments)
        words = [pythons.get(library, sys.executable), str(SIDES), row.work, json.dumps(arguments), str(threads)]
        commands[library] = words if row.work in ONCE else [*words, "wait"]
    number = rounds or (ROUNDS if row.work in ONCE else PASSES)
    try:
        taken = take_rounds(commands, number) if row.work in ONCE else take_passes(commands, number)
    except SideError as error:
        raise SystemExit(f"{row.name}: {error}") from None
    seconds = {library: tuple(zip(*found, strict=True)) for library, found in taken.items()}
    ours = seconds.pop("kcnn")
    count = f"{number} {'rounds' if row.work in ONCE else 'passes'}"
    cells = [row.name, count, *(f"{1e3 * median(times):.2f}" for times in ours)]
    if not peers:
        table.add_row(*cells, "", "", "")
    for peer, theirs in seconds.items():
        table.add_row(*cells, peer, *map(describe_ratios, ours, theirs))
        cells = [""] * len(cells)


def describe_machine() -> str:
    memory = psutil.virtual_memory().total / 2**30
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB"


if __name__ == "__main__":
    typer.run(main)
