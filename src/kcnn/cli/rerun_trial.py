"""The `kcnn rerun-trial` command: train a trial of a search again. TensorFlow is loaded when it starts."""

from pathlib import Path
from typing import Annotated

import typer

from kcnn.cli.backend import show_device, start_backend
from kcnn.cli.console import out, show_loading, show_spinner
from kcnn.cli.options import DATA, examples


def add(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("rerun-trial", epilog=examples("kcnn rerun-trial runs/search-stack 3"))(rerun_trial)


def rerun_trial(
    folder: Annotated[Path, typer.Argument(help="Folder of a search.")],
    trial: Annotated[int, typer.Argument(help="Number of a trial.")],
    data: Annotated[
        str | None,
        typer.Option("--data", "-d", help="The data of the search, where it has moved.", rich_help_panel=DATA),
    ] = None,
) -> None:
    """Train one trial of a search again and compare its score with the recorded one."""
    show_loading(folder)
    from kcnn.search.result import read_record

    read_record(folder)  # refuses a folder that holds no search before Keras is loaded
    with show_spinner("loading Keras"):
        start_backend()
        from kcnn.search import rerun_trial as run
    show_device()
    result = run(folder, trial, data)
    verdict = "the same" if result.same else "NOT the same"
    out.print(
        f"trial {trial}: {result.objective} {result.objective.format_score(result.score, 4)} now, "
        f"{result.objective.format_score(result.recorded, 4)} in the journal: {verdict}",
        soft_wrap=True,
    )
    if not result.same:
        raise typer.Exit(1)
