"""The command line, `kcnn`: networks, runs and plugins."""

import sys
import warnings
from collections.abc import Callable

import typer

from kcnn.architectures.spec import NoEffectWarning
from kcnn.cli import export, inspect, networks, plugins, predict, report, search, train, transfer
from kcnn.cli.console import JobStopped, UsageError, fail, show_warning

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Convolutional networks for Keras: found by name, measured on paper, trained on your pictures.",
    epilog="[dim]Errors: 1 where a job fails or is stopped, 2 where the command or its input is wrong. "
    "--debug before the command shows the whole traceback.[/dim]",
)


@app.callback()
def root(debug: bool = typer.Option(False, "--debug", help="Show a Python traceback with an error.")) -> None:
    del debug  # read from the command line by main, which also serves errors before this runs


networks.add(app)
train.add(app)
transfer.add(app)
search.add(app)
predict.add(app)
inspect.add(app)
export.add(app)
report.add(app)
plugins.add(app)


def main() -> None:
    """Run the command line and exit with 0, 1 (a job failed or was stopped) or 2 (a mistake in the input)."""
    _run(app, sys.argv[1:], debug="--debug" in sys.argv[1:])


def script(body: Callable[..., None]) -> None:
    """Run a function as a command of its own, as recipes do: its errors are told, and it exits, as `kcnn` does."""
    own = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    own.command()(body)
    _run(own, [word for word in sys.argv[1:] if word != "--debug"], debug="--debug" in sys.argv[1:])


def _run(command: typer.Typer, words: list[str], debug: bool) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("once", NoEffectWarning)
            warnings.showwarning = show_warning
            command(words, standalone_mode=True)
    except UsageError as error:
        fail(error, 2, debug)
    except JobStopped as error:
        fail(error, 1, debug)
    except BrokenPipeError:
        sys.exit(1)
    except (
        ValueError,
        TypeError,
        LookupError,
        ImportError,
        FileExistsError,
        FileNotFoundError,
        PermissionError,
    ) as error:
        fail(error, 2, debug)
    except Exception as error:
        fail(f"{type(error).__name__}: {error}", 1, debug)
