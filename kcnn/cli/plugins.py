"""Commands for plugins: what is installed, and a start for one of your own."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from kcnn.architectures import doctor, scaffold
from kcnn.cli.console import out

BAD = (doctor.BROKEN, doctor.STUCK, doctor.UNFIT, doctor.CLASH)


def add(app: typer.Typer) -> None:
    app.command("plugins")(plugins)
    app.command("new-plugin")(new_plugin)


def plugins(
    examine: Annotated[bool, typer.Option("--doctor", help="Load each, in a process of its own.")] = False,
    seconds: Annotated[float, typer.Option(help="How long the doctor waits for each.")] = 60.0,
) -> None:
    """Show who publishes networks here: version, names, state and the reason; exit with 1 where one is unusable.

    A plugin is code that runs with your rights once a network of it is asked for. KCNN_PLUGINS=none, or a list of
    distributions, says whose may.
    """
    found = doctor.list_plugins()
    if examine:
        with ThreadPoolExecutor(2) as several:
            found = list(several.map(lambda one: doctor.diagnose(one, seconds), found))
    heads = ("distribution", "version", "networks", "state", "reason")
    rows = [
        heads,
        *((one.distribution, one.version, doctor.abbreviate(one.names), one.state, one.reason) for one in found),
    ]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    for row in rows:  # a line each, however long the reason
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        out.print(line.rstrip(), style="bold" if row is heads else None, markup=False, soft_wrap=True)
    if any(one.state in BAD for one in found):
        raise typer.Exit(1)


def new_plugin(
    name: Annotated[str, typer.Argument(help="The network's name, such as my_net.")],
    into: Annotated[Path, typer.Option(help="The folder to write into.")] = Path(),
) -> None:
    """Write a complete distribution that publishes one small network, with its tests: a start for yours."""
    folder = scaffold.new_plugin(name, into)
    out.print(f"{folder} is written; next:", markup=False, soft_wrap=True)
    out.print(f'  pip install -e "{folder}[test]" && pytest {folder}', markup=False, soft_wrap=True)
    out.print(f"  kcnn verify --path {folder}", markup=False, soft_wrap=True)
