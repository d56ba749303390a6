"""The command line, `kcnn`."""

import io
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import typer

import kcnn
from kcnn.architectures.spec import NoEffectWarning
from kcnn.cli import (
    choose,
    environment,
    export,
    inspect,
    networks,
    plugins,
    predict,
    report,
    rerun_trial,
    search,
    train,
    transfer,
)
from kcnn.cli.console import JobStoppedError, UsageError, fail, join_lines, show_warning
from kcnn.cli.interrupts import InterruptRecord
from kcnn.cli.unknown_options import Command

INVALID_INPUT = (
    *(ValueError, TypeError, LookupError, ImportError),
    *(FileExistsError, FileNotFoundError, PermissionError),
)
app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Train, fine-tune, search, explain and export convolutional networks with Keras 3.",
    epilog="[dim]Exit codes: 1 if a job fails or is interrupted, 2 if the command or its input is invalid. "
    "Put --debug before the command to see the traceback of an error.[/dim]",
)


def _print_version(value: bool) -> None:
    if value:
        print(f"kcnn {kcnn.__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    """Train, fine-tune, search, explain and export convolutional networks with Keras 3."""
    del debug, version  # debug is read by main, which also handles errors before this runs


networks.add(app)
train.add(app)
choose.add(app)
transfer.add(app)
search.add(app)
rerun_trial.add(app)
predict.add(app)
inspect.add(app)
export.add(app)
report.add(app)
plugins.add(app)
environment.add(app)
for info in app.registered_commands:
    assert info.callback is not None
    info.help = join_lines(info.callback.__doc__ or "")
    info.cls = Command


def main() -> None:
    """Run the command line and exit with 0, 1 (a job failed or was interrupted) or 2 (the input is invalid)."""
    _run(app, sys.argv[1:], debug="--debug" in sys.argv[1:])


def script(function: Callable[..., None]) -> None:
    """Run a function as a command of its own, with the error messages and exit codes of `kcnn`.

    Args:
        function: The command; its parameters are the options, as Typer reads them.
    """
    command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    command.command(help=join_lines(function.__doc__ or ""))(function)
    _run(command, [argument for argument in sys.argv[1:] if argument != "--debug"], debug="--debug" in sys.argv[1:])


def _expand_home(argument: str) -> str:
    """An argument such as --out=~/runs with the home folder, which shells expand only in a word of its own."""
    option, sign, value = argument.partition("=")
    is_path = option.startswith("--") and sign and (value == "~" or value.startswith("~/"))
    return f"{option}={Path(value).expanduser()}" if is_path else argument


def _is_interruption(stop: SystemExit) -> bool:
    """Whether Typer made the exit out of a KeyboardInterrupt."""
    return stop.__context__ is not None and isinstance(stop.__context__.__cause__, KeyboardInterrupt)


def _run(command: typer.Typer, arguments: list[str], debug: bool) -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal cannot show ends no job
            stream.reconfigure(errors="backslashreplace")
    arguments = [_expand_home(argument) for argument in arguments]
    interrupts = InterruptRecord()
    try:
        with warnings.catch_warnings(), interrupts:
            warnings.simplefilter("once", NoEffectWarning)
            warnings.showwarning = show_warning
            command(arguments, standalone_mode=True)
    except UsageError as error:
        fail(error, 2, debug)
    except JobStoppedError as error:
        fail(error, 1, debug)
    except KeyboardInterrupt:
        fail("interrupted", 1, debug)
    except SystemExit as stop:
        if _is_interruption(stop):
            fail("interrupted", 1, debug)
        raise
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        if interrupts.is_interrupted:  # some libraries convert it to an error of theirs
            fail("interrupted", 1, debug)
        if isinstance(error, INVALID_INPUT):
            fail(error, 2, debug)
        fail(f"{type(error).__name__}: {error}", 1, debug)
