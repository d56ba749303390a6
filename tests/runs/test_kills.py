"""Jobs that are killed at any moment, again and again: nothing is lost, and nothing is left behind."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runs.test_fetch import DIGITS, Server

KILLS = 12  # of each job
SEED = 0
NETWORK = ("stack", "--input-size", "8x8x1")
TRAIN = ("train", *NETWORK, "--data", "photos", "--batch-size", "8", "--epochs", "4")
COMMANDS = {
    "train": (*TRAIN, "--out", "out"),
    "search": ("search", *NETWORK, "--data", "photos", "--choice", "conv1.kernel=3,5", "--batch-size", "8",
               "--trials", "2", "--epochs", "2", "--final-seeds", "1", "--out", "out"),
    "transfer": ("transfer", "--data", "photos", "--network", "stack", "--input-size", "8x8x1", "--weights",
                 "pretrained/model.keras", "--epochs", "1", "--head-epochs", "1", "--unfreeze", "all", "--out", "out"),
    "export": ("export", "pretrained", "--format", "litert", "--format", "keras", "--out", "out"),
}  # fmt: skip
PIXELS = np.random.default_rng(1).integers(0, 256, (4, 8, 8, 1), "uint8")
CLOCK = {
    "seconds",
    "training_seconds",
    "images_per_second",
    "peak_memory_mb",
    "starts",
    "worker",
    "latency_ms",
    "checksum",
}


def run_command(name: str) -> None:
    """Run a command as a program of its own does."""
    from kcnn.cli import main

    sys.argv = ["kcnn", *COMMANDS[name]]
    main()


def run_download(url: str) -> None:
    from kcnn import Weights
    from kcnn.weights import downloads

    facts = {"source": "tests", "mapping": "own", "accuracy": None, "citation": "none", "license": "none"}
    downloads.download(Weights(url=url, checksum=f"sha256:{DIGITS}", **facts))


def without_clock(value: Any) -> Any:
    """A JSON value without what depends on the clock."""
    if isinstance(value, dict):
        return {name: without_clock(one) for name, one in value.items() if name not in CLOCK}
    return [without_clock(one) for one in value] if isinstance(value, list) else value


def read_results(*folders: Path) -> dict[str, Any]:
    """What a job has made, by file: values without the clock, weights, and other files by their content."""
    from kcnn.export import load_exported
    from kcnn.training.request import identify_weights
    from kcnn.training.run_directory import UNLIKE, read_history

    result: dict[str, Any] = {}
    for path in sorted(path for folder in folders for path in folder.rglob("*") if path.is_file()):
        if path.suffix == ".json":
            result[str(path)] = without_clock(json.loads(path.read_text()))
        elif path.suffix == ".keras":
            result[str(path)] = identify_weights(path)
        elif path.name == "history.csv":
            rows = read_history(path.parent)
            result[str(path)] = [{name: row[name] for name in row.keys() - {*UNLIKE}} for row in rows]
        elif path.suffix == ".tflite":  # the bytes have a date, and names that Keras counts
            result[str(path)] = load_exported(path).run(PIXELS).round(4).tolist()
        elif path.name == "grad_cam.npz":  # its key is of the bytes of the model's file, which have a date
            result[str(path)] = hashlib.sha256(np.load(path)["maps"].tobytes()).hexdigest()
        elif path.suffix in (".npz", ".bin") or path.name == "splits.csv":
            result[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            result[str(path)] = None  # a page or a plot
    return result


class QuietServer(Server):
    """Says nothing about clients that are gone."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


def fork(job: Callable[[], None], log: Path) -> int:
    """Run a job in a process that has the libraries already, and has computed nothing with them."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        for stream in (1, 2):
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        job()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.stdout.flush()
        os._exit(code)


def wait(child: int, seconds: float) -> int | None:
    """Wait for the end of a process, and return its exit code; None where it goes on."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    return None


def check_readable(folder: Path) -> None:
    """Read what a killed job has left as `kcnn runs` does."""
    from kcnn.training.run_summaries import list_runs

    if any(folder.rglob("config.json")):
        assert [run.problem for run in list_runs(folder) if run.problem] == []


def kill_often(name: str, job: Callable[[], None], rng: random.Random) -> str:
    """Kill a job, start it again and so on until it ends; what must hold is asserted after each end."""
    log, out = Path(f"{name}.log").absolute(), Path("out")
    folders = (out, Path("cache"))

    def clean() -> None:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)

    clean()
    started = time.monotonic()
    assert wait(fork(job, log), 300) == 0, log.read_text()[-2000:]
    seconds, expected = time.monotonic() - started, read_results(*folders)
    clean()
    kills = ends = 0
    while kills < KILLS or any(map(Path.exists, folders)):
        begun, is_fresh, child = time.monotonic(), not any(map(Path.exists, folders)), fork(job, log)
        code = wait(child, rng.uniform(0, seconds) if kills < KILLS else 300)
        if code is None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            kills += 1
            check_readable(out)
            continue
        assert code == 0, log.read_text()[-2000:]
        result = read_results(*folders)
        assert result.keys() == expected.keys(), sorted(result.keys() ^ expected.keys())
        assert {file for file in result if result[file] != expected[file]} == set()
        ends += 1
        if is_fresh:  # it took longer before, with other work beside it
            seconds = min(seconds, time.monotonic() - begun)
        clean()
    return f"{name}: {kills} kills in {seconds:.1f} s each at most, {ends} times to the same end"


def kill_all(folder: Path) -> None:
    """Kill every kind of job."""
    from PIL import Image

    import kcnn.training  # so that no process loads Keras

    os.chdir(folder)
    os.environ["KCNN_CACHE"] = str(folder / "cache")
    generator = np.random.default_rng(0)
    for number in range(40):
        path = Path("photos") / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (8, 8), "uint8")).save(path)
    assert kcnn.training
    COMMANDS["pretrained"] = (*TRAIN, "--out", "pretrained")
    assert wait(fork(lambda: run_command("pretrained"), folder / "pretrained.log"), 300) == 0
    server = QuietServer()
    server.pause = 0.03
    threading.Thread(target=server.serve_forever, daemon=True).start()
    rng = random.Random(SEED)
    jobs = {name: lambda name=name: run_command(name) for name in ("train", "search", "transfer", "export")}
    for name, job in {"download": lambda: run_download(server.url), **jobs}.items():
        print(kill_often(name, job, rng), flush=True)


@pytest.mark.every
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_jobs_lose_nothing_in_sixty_kills(tmp_path):
    code = (
        "import sys; from pathlib import Path; from tests.runs.test_kills import kill_all; kill_all(Path(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr[-9000:]
