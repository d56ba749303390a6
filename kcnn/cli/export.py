"""The `kcnn export` command: files for phones, servers and Keras from a run. TensorFlow is loaded when it starts."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

import kcnn
from kcnn.cli.backend import silence, start_backend
from kcnn.cli.console import JobStoppedError, err, make_table, out, show_note
from kcnn.cli.options import DATA, OUTPUT, AsJson, examples
from kcnn.graph.names import unknown
from kcnn.run_folders import MODEL, resolve_run

MAX_ACCURACY_DROP = 2.0  # percentage points


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "kcnn export runs/demo", "kcnn export runs/demo --format litert-int8 --format onnx --out phone/"
        )
    )(export)


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run, a transfer or a search.")],
    format: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            "-f",
            help="litert (default), litert-float16, litert-dynamic, litert-int8, saved_model, onnx or keras; may be "
            "repeated.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", "-o", help="Output folder; RUN/export by default.", rich_help_panel=OUTPUT)
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", "-d", help="Dataset of the run, where it has moved.", rich_help_panel=DATA),
    ] = None,
    max_accuracy_drop: Annotated[
        float,
        typer.Option(min=0, help="Largest drop of test accuracy, in percentage points.", rich_help_panel=OUTPUT),
    ] = MAX_ACCURACY_DROP,
    as_json: AsJson = False,
) -> None:
    """Export a trained model to LiteRT (TFLite), ONNX, SavedModel or Keras, and verify each file on the test split.

    A file takes pixels 0..255 and gives probabilities; the class names are inside it. A file whose accuracy drops too
    much is removed.
    """
    from kcnn.export.runtimes import FORMATS
    from kcnn.keras_bridge.saved_models import read_metadata
    from kcnn.training.run_directory import read_config

    resolved = resolve_run(run).require(MODEL)
    show_note(resolved.note)
    run = resolved.path
    config = read_config(run) or {}
    formats = list(dict.fromkeys(format or ["litert"]))
    for name in formats:
        if name not in FORMATS:
            raise unknown("export format", name, FORMATS)
    model_path = run / MODEL
    read_metadata(model_path)  # refuses a missing or foreign file before Keras is loaded
    with err.status("loading Keras"):
        start_backend()
        import numpy as np

        from kcnn.export.formats import CALIBRATION_IMAGES, export_model
        from kcnn.export.verification import verify_exports
        from kcnn.training.run_data import load_run_data
    restored = load_run_data(run, data)
    dataset = restored.dataset
    for note in restored.notes:
        err.print(note, style="yellow", markup=False, soft_wrap=True)
    images = None
    if "litert-int8" in formats:
        batches = range(-(-CALIBRATION_IMAGES // config["batch_size"]))
        images = np.concatenate([np.asarray(pixels) for _, (pixels, _) in zip(batches, dataset.train, strict=False)])
    target, model = folder or run / "export", kcnn.load_model(model_path)
    files: dict[str, Path] = {}
    for name in formats:
        with err.status(f"writing {name}"), silence():  # the converter prints its own messages
            files[name] = export_model(model, target / name, name, calibration_images=images)
    with err.status(f"running {len(files)} files on {len(dataset.splits['test'])} test images"):
        try:
            checks = verify_exports(files, model, model_path, dataset.test)
        except ValueError as error:  # of a runtime
            for path in files.values():
                _remove(path)
            raise JobStoppedError(f"{error}; the exported files were removed") from None
    drops = {check.name: 100 * (checks[0].accuracy - check.accuracy) for check in checks[1:]}
    rejected = [name for name, drop in drops.items() if drop > max_accuracy_drop]
    for name in rejected:
        _remove(files[name])
    _print_checks(checks, [path for name, path in files.items() if name not in rejected], as_json)
    if rejected:
        drop = ", ".join(f"{name} {drops[name]:.1f} points" for name in rejected)
        raise JobStoppedError(f"accuracy drop exceeds --max-accuracy-drop {max_accuracy_drop:g}; not kept: {drop}")


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _print_checks(checks: Any, files: Sequence[Path], as_json: bool) -> None:
    if as_json:
        print(json.dumps([asdict(check) for check in checks], indent=1))
        return
    rows = (
        (
            check.name,
            f"{check.bytes / 1e6:.2f} MB",
            f"{check.accuracy:.2%}",
            f"{check.agreement:.2%}",
            f"{check.latency_ms:.2f} ms",
        )
        for check in checks
    )
    columns = ("file", "size", "test accuracy", "agreement with Keras", "latency (batch 1)")
    out.print(make_table(columns, rows, left=("file",)))
    written = f"{', '.join(map(str, files))}; " if files else ""
    out.print(f"{written}{checks[0].images} test images, each file in its own runtime", soft_wrap=True)
