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

Measured on 2 quiet cores of an AMD EPYC with AVX-512, 24 GiB, TensorFlow 2.21, torch 2.14, torchvision 0.29, timm
1.0.31, albumentations 2.0.8: milliseconds of processor on one core, and ratios with quartiles (first steps and photos
to classes: 3 rounds, with the range), of processor time but in the column of wall time. The last column has the ratios
of processor time on one core of an Intel Xeon with AVX-512 (torch 2.13, torchvision 0.28, timm 1.0.29).

                                 ms  peer           one core            two cores             wall time         Xeon
    step resnet50              1317  keras          1.17 (1.16-1.20)    1.20 (1.18-1.25)    1.21 (1.19-1.27)    1.31
    step resnet50              1392  torch          1.15 (1.12-1.17)    1.17 (1.15-1.24)    1.13 (1.09-1.22)    1.25
    step mobilenet_v2           206  keras          1.56 (1.52-1.60)    1.55 (1.45-1.59)    1.54 (1.46-1.58)    1.70
                                     torch          1.49 (1.45-1.56)    1.47 (1.39-1.59)    1.34 (1.26-1.43)    1.48
    step inception_v3           804  keras          1.10 (1.08-1.12)    1.14 (1.11-1.17)    1.15 (1.13-1.18)    1.23
                                     torch          1.17 (1.10-1.27)    1.24 (1.20-1.30)    1.18 (1.17-1.28)    1.30
    step resnet18               574  torch          1.06 (1.05-1.07)    1.09 (1.08-1.10)    1.04 (1.04-1.05)    1.09
    step googlenet              503  torch          1.16 (1.14-1.23)    1.28 (1.21-1.31)    1.23 (1.17-1.26)    1.19
    first step resnet50        5147  keras          2.70 (2.47-3.02)    2.65 (2.57-2.88)    2.95 (2.89-3.06)    2.83
    first step mobilenet_v2    2999  keras          3.18 (2.97-3.44)    2.91 (2.82-3.04)    2.84 (2.79-2.94)    2.99
    build resnet50              517  keras          1.05 (0.95-1.26)    0.92 (0.86-1.19)    0.93 (0.86-1.14)    1.04
    build mobilenet_v2          336  keras          0.99 (0.95-1.29)    1.12 (0.92-1.23)    1.13 (0.92-1.24)    0.99
    build inception_v3          788  keras          1.20 (1.12-1.37)    1.25 (1.21-1.33)    1.26 (1.20-1.35)    1.40
    predict one mobilenet_v2  14.82  keras          4.84 (4.50-5.07)    3.52 (3.26-3.69)    5.01 (4.58-5.21)    5.79
    predict one optimized     11.21  keras          6.51 (6.05-6.78)    4.61 (4.54-4.76)    6.42 (6.32-6.56)    9.46
    photos decoded             1.06  keras          1.06 (1.05-1.07)    1.08 (1.07-1.08)    1.52 (1.08-1.55)    0.89
                                     timm           2.80 (2.74-2.88)    3.40 (3.37-3.47)    3.35 (3.27-3.42)    2.36
                                     torchvision    2.72 (2.61-2.85)    3.24 (3.22-3.28)    3.19 (3.12-3.27)    2.28
    photos standard            1.23  keras          3.26 (3.00-3.38)    3.12 (3.01-3.26)    3.00 (2.93-3.11)    3.38
                                     albumentations 1.27 (1.11-1.33)    1.66 (1.59-1.71)    1.58 (1.55-1.65)    1.33
                                     timm           2.34 (2.15-2.53)    2.71 (2.68-2.88)    2.60 (2.52-2.71)    2.09
                                     torchvision    2.31 (2.10-2.37)    2.57 (2.41-2.71)    2.43 (2.29-2.65)    2.10
    photos strong              1.63  keras          28.66 (26.61-29.77) 27.43 (26.35-28.43) 39.15 (27.55-39.63) 28.13
                                     timm           2.42 (2.25-2.50)    2.95 (2.65-3.09)    2.85 (2.49-2.94)    2.25
                                     torchvision    2.43 (2.33-2.59)    2.94 (2.76-3.08)    2.79 (2.56-2.99)    2.19
    photos 6 MP decoded        7.19  keras          2.09 (1.98-2.13)    2.16 (2.13-2.24)    2.26 (2.12-2.31)    2.09
                                     timm           5.57 (5.30-5.90)    9.16 (8.96-9.40)    17.40 (16.62-17.88) 5.88
                                     torchvision    8.98 (8.88-9.08)    9.10 (8.78-9.31)    17.24 (16.50-17.81) 7.87
    photos to classes         14.04  keras          1.41 (1.39-1.64)    1.46 (1.30-1.47)    1.39 (1.21-1.89)    1.58
                                     torch          2.44 (2.37-2.51)    2.70 (2.48-2.85)    2.20 (2.02-2.36)    2.53

    processor and wall time, ms    one core        two cores       Xeon, two cores
    kcnn list                       256    256      300    301      284    284
    kcnn summary                    244    244      218    217      259    262
    kcnn report                    1693   1694     1964   1657     2370   2024
    kcnn predict .keras            3595   3596     3522   3356     5084   4975
    kcnn predict .tflite            434    434      647    488      848    683

In bfloat16 (mixed_bfloat16, and autocast of torch), one core of the EPYC, which has AVX512_BF16, 8 passes, the second
core at work on other things; float32 is the same step of kcnn's in float32:

    bfloat16                     ms   float32            keras              torch
    step resnet50               898   1.59 (1.58-1.60)   1.31 (1.30-1.35)
    step resnet50               936                                         1.06 (1.05-1.08)
    step mobilenet_v2           313   0.68 (0.68-0.68)   1.38 (1.35-1.40)   1.19 (1.09-1.27)
    step inception_v3           540   1.46 (1.43-1.47)   1.18 (1.16-1.19)   1.15 (1.11-1.15)
    step resnet18               370   1.62 (1.59-1.64)                      0.98 (0.98-1.00)

Why some rows are near 1: on one core of the EPYC a product of two 2048x2048 matrices in TensorFlow (row "product")
reaches 109 to 112 GFLOP/s; a step of kcnn's, counted as three times the forward pass, 99 for ResNet-18, 94 for
GoogLeNet, 92 for ResNet-50, 88 for Inception v3 and 46 for MobileNet v2. Convolutions that multiply as often leave
little to gain in float32. On the Xeon convolutions are 85% of a step of ResNet-18 in TensorFlow and 79% in torch, and
both call the same kernels of oneDNN for them (ONEDNN_VERBOSE), at about 110 GFLOP/s; they are 80% and 74% of ResNet-50,
82% and 75% of Inception v3. Of building ResNet-50 nearly all is Keras' making of layers and variables, for its own
network as for kcnn's: to trace it takes kcnn 11 of 1,000 ms under Python's profiler. Of a decoded photo libjpeg-turbo,
which all call, takes 1.0 of 1.6 ms on the Xeon, and resizing 0.35, of which 0.2 to weigh every pixel of what shrinks:
Keras takes four of them for one, and skips others. Of the 15.6 ms there of a photo to its class MobileNet v2 computes 8
to 9 (13 before its batch norms are folded); to load, fold and trace it takes 2.0 s once (1.1, 0.4 and 0.5), 3 ms of
each of 640 photos. Of `predict` by a .keras file the import of Keras takes half.
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
    """One kind of work: a function of sides.py, with its arguments after the library; float32 is kcnn in it."""

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
    rows.append(Row("product", "product", (), ()))
    half = {"resnet50.keras": ("float32", "keras"), "resnet50.torchvision": ("torch",)}
    half |= {name: ("float32", *peers) for name, peers in both.items()} | {"resnet18": ("float32", "torch")}
    rows += [Row(f"step {name} in bfloat16", "step", (name, True), peers) for name, peers in half.items()]
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
