"""The command that turns a run into files for phones, servers and Keras. TensorFlow is loaded when it starts."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

import kcnn
from kcnn.cli.backend import silence, start_backend
from kcnn.cli.console import JobStopped, UsageError, err, make_table, out
from kcnn.cli.networks import _examples

POINTS = 2.0  # of accuracy that a file may lose


def add(app: typer.Typer) -> None:
    app.command(
        epilog=_examples(
            "kcnn export runs/demo", "kcnn export runs/demo --format litert-int8 --format onnx --out phone/"
        )
    )(export)


def export(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    format: Annotated[
        list[str] | None,
        typer.Option(
            "--format", "-f", help="litert, litert-float16, litert-dynamic, litert-int8, saved_model, onnx or keras."
        ),
    ] = None,
    to: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the files; RUN/export by default.")] = None,
    data: Annotated[str | None, typer.Option("--data", "-d", help="Where the run's pictures are by now.")] = None,
    allow: Annotated[
        float, typer.Option("--allow-loss", min=0, help="Points of test accuracy that a file may lose.")
    ] = POINTS,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Write a run's model for inference, and run each file on the whole test split.

    A file takes pixels 0..255 and gives probabilities; the classes' names are inside it. One that loses more accuracy
    than is allowed is not left behind.
    """
    from kcnn.export.runtimes import FORMATS
    from kcnn.keras_bridge.models import read_metadata
    from kcnn.training.run_directory import read_config

    there = read_config(run)
    if there is None:
        raise UsageError(f"{run} is no folder of a run of kcnn's: it has no config.json")
    formats = list(dict.fromkeys(format or ["litert"]))
    for one in formats:
        if one not in FORMATS:
            raise UsageError(f"there is no format {one!r}; there are {', '.join(FORMATS)}")
    request, model = there["request"], run / "model.keras"
    card = read_metadata(model)
    with err.status("loading Keras"):
        start_backend()
        import numpy as np

        from kcnn.data import load
        from kcnn.export.formats import EXAMPLES
        from kcnn.export.formats import export_model as write
        from kcnn.export.verification import verify_exports
    rows, columns, channels = card["input_shape"]
    found = load(
        data or request["data"],
        input_shape=(rows, columns, channels),
        batch_size=there["batch_size"],
        seed=request.get("data_seed", request["seed"]),
        multi_label=bool(card.get("multi_label")),
    )
    if list(found.classes) != card["classes"]:
        raise UsageError(
            f"{found.name} has the classes {', '.join(found.classes)}, and the run {', '.join(card['classes'])}"
        )
    examples = None
    if "litert-int8" in formats:
        enough = range(-(-EXAMPLES // there["batch_size"]))
        examples = np.concatenate([np.asarray(pixels) for _, (pixels, _) in zip(enough, found.train, strict=False)])
    folder, built = to or run / "export", kcnn.load_model(model)
    files = []
    for one in formats:
        with err.status(f"writing {one}"), silence():  # the converter tells of itself
            files.append((one, write(built, folder / one, one, examples=examples)))
    with err.status(f"running {len(files)} files on {len(found.splits['test'])} test images"):
        try:
            results = verify_exports(files, built, model, found.test)
        except ValueError as error:  # of a runtime
            for _, path in files:
                _remove(path)
            raise JobStopped(f"{error}; what was written is removed") from None
    lost = {one.name: 100 * (results[0].accuracy - one.accuracy) for one in results[1:]}
    worse = [(name, path) for name, path in files if lost[name] > allow]
    for _, path in worse:
        _remove(path)
    _report(results, [path for _, path in files if path.exists()], as_json)
    if worse:
        said = ", ".join(f"{name} {lost[name]:.1f}" for name, _ in worse)
        raise JobStopped(f"more points of accuracy lost than --allow-loss {allow:g}, and not kept: {said}")


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _report(results: Any, kept: Sequence[Path], as_json: bool) -> None:
    if as_json:
        print(json.dumps([asdict(one) for one in results], indent=1))
        return
    rows = (
        (
            one.name,
            f"{one.bytes / 1e6:.2f} MB",
            f"{one.accuracy:.2%}",
            f"{one.agreement:.2%}",
            f"{one.milliseconds:.2f} ms",
        )
        for one in results
    )
    out.print(make_table(("file", "size", "test accuracy", "as Keras says", "an image alone"), rows, left=("file",)))
    written = f"{', '.join(map(str, kept))}; " if kept else ""
    out.print(f"{written}{results[0].images} test images, each file by its own runtime", markup=False, soft_wrap=True)
