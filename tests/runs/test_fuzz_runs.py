"""Damaged folders of runs through the commands that read them: results, or one error that names the folder, soon."""

import contextlib
import io
import json
import os
import random
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.damage import damage, damage_json, fuzz_in_processes, peak_memory

SECONDS, MEGABYTES = 10, 1024  # for one command, and for all of a process
FOLDERS = 200
TRAIN = ("train", "stack", "--input-size", "8x8x1", "--batch-size", "8", "--epochs", "2")
READERS = {  # the commands that read a file of a finished run
    "config.json": ("report", "evaluate", "predict", "export", "train"),
    "metrics.json": ("report", "train"),
    "history.csv": ("report", "train"),
    "splits.csv": ("evaluate", "export", "train"),
    "test.npz": ("report",),
    "model.keras": ("report", "evaluate", "predict", "export"),
}
UNFINISHED = (
    "config.json",
    "history.csv",
    "splits.csv",
    "checkpoints/epoch-00001.safetensors",
    "checkpoints/best-00001.keras",
)
CELLS = ("", "x", "-1", "nan", "1e999", '"', "=1+1", "\0", "9" * 400, "0,5", "test", "train", "\u2028")


def damage_csv(content: bytes, rng: random.Random) -> bytes:
    """Change a cell, remove a row or a column, or save it as spreadsheets do."""
    rows = [line.split(",") for line in content.decode().splitlines()]
    row, column = rng.randrange(len(rows)), rng.randrange(len(rows[0]))
    match rng.randrange(6):
        case 0 | 1 | 2:
            rows[row][column] = rng.choice(CELLS)
        case 3:
            del rows[row]
        case 4:
            rows = [cells[:column] + cells[column + 1 :] for cells in rows]
        case _:
            return "\r\n".join(";".join(cells) for cells in rows).encode(rng.choice(("utf-8-sig", "utf-16", "utf-8")))
    return "\n".join(",".join(cells) for cells in rows).encode()


def sign(content: bytes) -> bytes:
    """Make the checksum of a config match again."""
    from kcnn.training.run_directory import CHECKSUM, hash_request

    values = json.loads(content)
    values.pop(CHECKSUM, None)
    return json.dumps({**values, CHECKSUM: hash_request(values)}).encode()


def damage_file(path: Path, rng: random.Random) -> str:
    """Damage a file, and return how."""
    content, kind = path.read_bytes(), rng.randrange(8)
    path.unlink()
    if kind == 0:
        return "is missing"
    if kind == 1:
        path.write_bytes(
            rng.choice((b"", b"\xff\xfe\x00", bytes(1000), b"null", b"[]", b"{}", b"[" * 100_000, b"\n" * 99))
        )
        return "has other content"
    if kind == 2:
        path.mkdir()
        return "is a folder"
    if kind <= 5 and path.suffix in (".json", ".csv"):
        content = (damage_json if path.suffix == ".json" else damage_csv)(content, rng)
        path.write_bytes(sign(content) if path.name == "config.json" and kind == 5 else content)
        return "has another value"
    path.write_bytes(damage(content, rng))
    return "has other bytes"


def run(*arguments: str) -> tuple[int, str, str]:
    """Run a command line in this process; return its exit code and what it printed on stdout and stderr."""
    from kcnn.cli import main

    code, output, errors = 0, io.StringIO(), io.StringIO()
    sys.argv = ["kcnn", *arguments]
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, output.getvalue(), errors.getvalue()


def find_fault(folder: Path, file: str, arguments: tuple[str, ...]) -> str:
    """Run a command on a damaged run, and return what does not hold; nothing where everything does."""
    started, before = time.process_time(), peak_memory()
    code, output, errors = run(*arguments)
    seconds, megabytes = time.process_time() - started, peak_memory() - before
    lines = [line for line in errors.splitlines() if line.startswith("error: ")]
    faults = {
        "a traceback": "Traceback" in errors,
        f"exit code {code}": code != 0 if arguments[0] == "runs" else code not in ((1, 2) if lines else (0,)),
        "an error without the folder": len(lines) > 1 or any(str(folder) not in line for line in lines),
        "a run that is not listed": arguments[0] == "runs" and (folder / file).is_file() and folder.name not in output,
        f"{seconds:.1f} s": seconds > SECONDS,
        f"{megabytes} MB": megabytes > MEGABYTES,
    }
    return ", ".join(fault for fault, holds in faults.items() if holds) + f"\n{output[:500]}{errors[-1500:]}" * any(
        faults.values()
    )


def make_runs(folder: Path) -> None:
    """A finished run and one that was stopped after its first epoch, on small images."""
    import keras

    from kcnn.cli import progress

    rng = np.random.default_rng(0)
    for number in range(40):
        path = folder / "photos" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8), "uint8")).save(path)
    command = (*TRAIN, "--data", "photos", "--out")
    assert run(*command, "finished")[0] == 0

    class Stop(progress.InterruptHandler):
        def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
            if epoch:
                raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "InterruptHandler", Stop)
        assert run(*command, "unfinished")[0] == 1
    assert (folder / "unfinished" / UNFINISHED[-1]).exists()
    keras.backend.clear_session()


def fuzz(count: int, seed: int, folder: Path) -> None:
    """Damage runs, and read each by a command; what must hold is asserted of each."""
    import keras

    os.chdir(folder)
    make_runs(folder)
    rng, faults, started, before = random.Random(seed), [], time.perf_counter(), peak_memory()
    shutil.copytree(folder / "finished", folder / "runs" / "intact")
    for number in range(count):
        name, files = rng.choice((*[("finished", tuple(READERS))] * 9, ("unfinished", UNFINISHED)))
        damaged = folder / "runs" / f"run-{number}"
        shutil.copytree(folder / name, damaged)
        file = rng.choice(files)
        how = damage_file(damaged / file, rng)
        commands = {
            "report": ("report", str(damaged)),
            "evaluate": ("evaluate", str(damaged)),
            "predict": ("predict", str(damaged), "photos/a/0.png"),
            "export": ("export", str(damaged), "--format", rng.choice(("keras", "keras", "litert"))),
            "train": (*TRAIN, "--data", "photos", "--out", str(damaged)),
        }
        command = commands[rng.choice(READERS[file]) if name == "finished" else "train"]
        where = f"{number} of seed {seed}: {file} of the {name} run {how}; kcnn"
        found = {line[0]: find_fault(damaged, file, line) for line in (("runs", str(damaged.parent)), command)}
        faults += [f"{where} {command} has {fault}" for command, fault in found.items() if fault]
        shutil.rmtree(damaged)
        if number % 20 == 0:
            keras.backend.clear_session()  # which takes a quarter of a second
    print(
        f"{count} damaged runs of seed {seed}: {len(faults)} faults, {time.perf_counter() - started:.0f} s, "
        f"{peak_memory() - before} MB at most",
        flush=True,
    )
    print(*faults, sep="\n", flush=True)
    assert not faults


@pytest.mark.every
def test_commands_read_or_name_every_damaged_run(tmp_path):
    fuzz_in_processes("tests.runs.test_fuzz_runs", FOLDERS, tmp_path)
