"""`kcnn export` and `kcnn publish`: files for phones, servers and others. TensorFlow is loaded when they start."""

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
    """Add the commands."""
    app.command(
        epilog=examples(
            "kcnn export runs/demo", "kcnn export runs/demo --format litert-int8 --format onnx --out phone/"
        )
    )(export)
    app.command(
        epilog=examples(
            "kcnn publish runs/demo --to digits/ --license apache-2.0",
            "kcnn publish runs/demo --to digits/ --push ada/digits",
        )
    )(publish)


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


def publish(
    run: Annotated[Path, typer.Argument(help="Folder of a run, a transfer or a search.")],
    to: Annotated[
        Path,
        typer.Option("--to", help="Output folder, which is written new.", rich_help_panel=OUTPUT),
    ],
    license: Annotated[
        str,
        typer.Option(help="License of the weights, as the Hub spells it, such as apache-2.0.", rich_help_panel=OUTPUT),
    ] = "unknown",
    push: Annotated[
        str | None,
        typer.Option(
            "--push",
            metavar="USER/NAME",
            help="Upload to this repository of the Hugging Face Hub, which all can see, with the token in HF_TOKEN.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
) -> None:
    """Write a trained model as others can load it: weights, config and a model card; and upload it to the Hub.

    timm loads the folder too, where it has the network.
    """
    from kcnn.export.publication import check_publication
    from kcnn.export.publication import publish as publish_run

    check_publication(run, to, license=license, push=push)  # before Keras is loaded
    with show_spinner("loading Keras"):
        start_backend()
    result = publish_run(run, to, license=license, push=push, log=show_note)
    out.print(str(result), soft_wrap=True, markup=False)


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
