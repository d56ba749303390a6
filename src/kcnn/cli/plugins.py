"""Commands for plugins: which are installed, and how to create one."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from kcnn.architectures import doctor, scaffold
from kcnn.cli.console import out, show_status
from kcnn.cli.options import OUTPUT, examples
from kcnn.graph.formatting import format_number, format_table, join_names

UNUSABLE = (doctor.BROKEN, doctor.TIMEOUT, doctor.UNMET, doctor.CONFLICT)
COLUMNS = ("distribution", "version", "networks", "state", "reason")


def add(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.command("plugins", epilog=examples("kcnn plugins", "kcnn plugins --doctor"))(plugins)
    app.command("new-plugin", epilog=examples("kcnn new-plugin my_net"))(new_plugin)


def plugins(
    load: Annotated[bool, typer.Option("--doctor", help="Load each plugin in a separate process.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", help="Time limit for each plugin, in seconds.")] = 60.0,
) -> None:
    """List the installed plugins with version, networks and state; exit with 1 if one is unusable.

    A plugin is code that runs with your permissions when you use one of its networks. To restrict which may run, set
    KCNN_PLUGINS to "none" or to a list of distributions.
    """
    listed = doctor.list_plugins()
    if load:
        text = f"loading {format_number(len(listed), 'plugin')}, each for at most {timeout:g} seconds"
        with ThreadPoolExecutor(2) as pool, show_status(text):
            listed = list(pool.map(lambda plugin: doctor.diagnose(plugin, timeout), listed))
    rows = [
        (plugin.distribution, plugin.version, join_names(plugin.names, doctor.NAMED), plugin.state, plugin.reason)
        for plugin in listed
    ]
    for number, line in enumerate(format_table(COLUMNS, rows, left=COLUMNS).splitlines()):  # one line each
        out.print(line, style=None if number else "bold", soft_wrap=True)
    if any(plugin.state in UNUSABLE for plugin in listed):
        raise typer.Exit(1)


def new_plugin(
    name: Annotated[str, typer.Argument(help="Name of the network, such as my_net.")],
    into: Annotated[Path, typer.Option(help="Folder to write into.", rich_help_panel=OUTPUT)] = Path(),
) -> None:
    """Create a plugin: a complete distribution with one small network and its tests."""
    folder = scaffold.new_plugin(name, into)
    out.print(f"created {folder}; next:", soft_wrap=True)
    out.print(f'  pip install -e "{folder}[test]" && pytest {folder}', soft_wrap=True)
    out.print(f"  kcnn verify --path {folder}", soft_wrap=True)
