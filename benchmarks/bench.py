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
albumentations 2.0.8; two rounds, the second core at work on other things where one is measured; milliseconds and ratios
of processor time (lowest to highest), on two cores with those of wall time behind a semicolon:

    one core                       kcnn   keras                   torch
    step resnet50                  1360   1.21 (1.17 to 1.26)     1.03 (1.00 to 1.07)
    step mobilenet_v2               269   1.85 (1.83 to 1.87)     1.62 (1.46 to 1.78)
    step inception_v3               734   1.30 (1.01 to 1.58)     1.18 (1.10 to 1.25)
    step resnet18                   549                           1.03 (0.93 to 1.12)
    step googlenet                  454                           1.22 (1.15 to 1.28)
    first step resnet50            5190   2.87 (2.83 to 2.90)
    first step mobilenet_v2        3619   3.08 (3.01 to 3.15)
    build resnet50                  648   1.03 (0.75 to 1.31)
    build mobilenet_v2              364   1.14 (1.01 to 1.28)
    build inception_v3              948   1.33 (1.25 to 1.41)
    predict one mobilenet_v2       16.5   5.65 (5.02 to 6.28), of wall time 7.19 (6.27 to 8.10)
    photos to classes              16.0   1.45 (1.23 to 1.67)     2.22 (1.78 to 2.67)

    one core                       kcnn   keras                   timm                    torchvision
    photos decoded                 1.30   1.15 (1.08 to 1.23)     2.64 (2.63 to 2.65)     2.59 (2.07 to 3.12)
    photos standard                1.18   3.76 (3.21 to 4.31)     2.43 (2.10 to 2.76)     2.45 (1.94 to 2.97)
    photos strong                  1.61   33.95 (33.85 to 34.04)  2.22 (2.00 to 2.45)     2.65 (2.26 to 3.03)
    photos 6 MP decoded            9.16   2.10 (2.00 to 2.20)     5.95 (4.51 to 7.39)     6.01 (5.81 to 6.21)

    two cores                      kcnn   keras                   torch
    step resnet50                  1440   1.35; 1.35              1.19; 1.03
    step mobilenet_v2               362   1.55; 1.45              1.23; 1.05
    step inception_v3               879   1.17; 1.16              1.35; 1.25
    step resnet18                   574                           1.03; 0.98
    step googlenet                  598                           1.29; 1.15
    first step resnet50            6917   2.94; 3.38
    first step mobilenet_v2        4258   2.68; 2.73

    two cores                      kcnn   keras                   timm                    torchvision
    photos decoded                 1.43   1.13; 1.53              2.84; 2.77              2.66; 2.62
    photos standard                1.35   4.27; 5.05              2.87; 2.85              2.80; 2.81
    photos 6 MP decoded            10.9   2.10; 2.50              7.04; 11.45             6.97; 11.33
    photos to classes              17.3   1.37; 2.05              torch 2.63; 1.92
    kcnn list                       349
    kcnn summary                    327
    kcnn report                    2253   (1913 of wall time)
    kcnn predict .keras            7186   (6877)
    kcnn predict .tflite           1240   (922)

Against albumentations standard photos are 1.25 (1.02 to 1.49) on one core, 1.70 (1.65 to 1.74) on two. Why some rows
are near 1, by profiles: convolutions are 85% of a step of ResNet-18 in TensorFlow and 79% in torch, and both call the
same kernels of oneDNN for them (ONEDNN_VERBOSE), at about 110 GFLOP/s; they are 80% and 74% of ResNet-50, 82% and 75%
of Inception v3. Decoding by libjpeg-turbo, which Keras does, too, is 1.0 of the 1.3 ms of a decoded photo. Of the 16 ms
of a photo to its classes MobileNet v2 computes 9 (13 before its batch norms are folded); to load, fold and trace it
takes 3.1 s once, 4.8 ms of each of 640 photos, of which checks of the file are 0.4 s. Keras' import takes about 3 s of
`predict` by a .keras file, and typer's import of pydantic 0.08 s of `list` and `summary`.
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
