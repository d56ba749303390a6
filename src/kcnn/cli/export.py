"""The `kcnn export` command: files for phones, servers and Keras from a run. TensorFlow is loaded when it starts."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kcnn.cli.backend import silence, start_backend
from kcnn.cli.console import JobStoppedError, make_table, out, show_loading, show_note, show_spinner
from kcnn.cli.options import DATA, OUTPUT, AsJson, examples
from kcnn.run_folders import MODEL, resolve_run

if TYPE_CHECKING:
    from kcnn.export.run_export import ExportResult

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
        typer.Option(
            min=0, help="Largest drop of accuracy (on validation images), in percentage points.", rich_help_panel=OUTPUT
        ),
    ] = MAX_ACCURACY_DROP,
    as_json: AsJson = False,
) -> None:
    """Export a trained model to LiteRT (TFLite), ONNX, SavedModel or Keras, and verify each file on the test split.

    A file takes pixels 0..255 and gives probabilities; the class names are inside it. A file whose accuracy on
    validation images drops too much is removed.
    """
    from kcnn.export.runtimes import check_formats
    from kcnn.keras_bridge.saved_models import read_metadata

    formats = list(dict.fromkeys(format or ["litert"]))
    check_formats(formats)
    resolved = resolve_run(run).require(MODEL)
    read_metadata(resolved.path / MODEL)  # refuses a damaged or foreign file before Keras is loaded
    show_note(resolved.note)
    run = resolved.path
    show_loading(run / MODEL)
    with show_spinner("loading Keras"):
        start_backend()
        from kcnn.export.run_export import ExportRejectedError, export_run
    try:
        result = export_run(
            run, formats, folder, data=data, max_accuracy_drop=max_accuracy_drop, log=show_note, step=_show_step
        )
    except ExportRejectedError as error:
        if error.result:
            _print_result(error.result, as_json)
        raise JobStoppedError(str(error)) from None
    _print_result(result, as_json)


@contextmanager
def _show_step(text: str) -> Iterator[None]:
    with show_spinner(text), silence():  # converters print messages of their own
        yield


def _print_result(result: "ExportResult", as_json: bool) -> None:
    if as_json:
        print(json.dumps([asdict(check) for check in result.checks], indent=1))
        return
    from kcnn.export.run_export import COLUMNS

    out.print(make_table(COLUMNS, result.rows(), left=("file",)))
    out.print(result.summary, soft_wrap=True)
    for loss in result.losses:
        out.print(loss, style="yellow", soft_wrap=True)
