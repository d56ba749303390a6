"""Commands that show runs: the report of one, several side by side."""

from pathlib import Path
from typing import Annotated

import typer

from kcnn.cli.backend import start_backend
from kcnn.cli.console import UsageError, make_table, out, show_loading, show_note, show_spinner
from kcnn.cli.options import examples
from kcnn.graph.formatting import join_names
from kcnn.run_folders import NAMED, check_reportable, resolve_run


def add(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("report", epilog=examples("kcnn report runs/demo", "kcnn report runs/search-stack --out search.html"))(
        report
    )
    app.command("compare", epilog=examples("kcnn compare runs/demo runs/other"))(compare)


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run, a transfer, a search, an experiment, several runs.")],
    to: Annotated[Path | None, typer.Option("--out", "-o", help="File; report.html in the folder.")] = None,
) -> None:
    """Write a report of a run, a transfer, a search, an experiment or several runs as one HTML file.

    That of a run has curves, confusion matrix, errors, sample predictions, metrics, ROC curves, data and network;
    that of several runs compares them.
    """
    check_reportable(run)
    show_loading(run)
    from kcnn.reports.pages import needs_keras
    from kcnn.reports.pages import write_report as write

    if needs_keras(run):
        with show_spinner("loading Keras"):
            start_backend()
    out.print(f"{write(run, to)}", soft_wrap=True)


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs, transfers or searches, two or more.")],
) -> None:
    """Compare runs: metrics side by side, and differences with their intervals and p-values."""
    if len(runs) < 2:
        raise UsageError(f"a comparison needs at least 2 runs, got {len(runs)}; name their folders")
    for run in runs:
        show_note(resolve_run(run).note)
    show_loading(join_names(list(map(str, runs)), NAMED))
    from kcnn.reports.significance import COLUMNS, LEFT, compare_runs

    comparison = compare_runs(runs)
    out.print(make_table(COLUMNS, comparison.rows(), left=LEFT))
    for line in (*map(str, comparison.differences), *comparison.notes):
        out.print(line, soft_wrap=True)
