"""Loading of plugins, so that an error in one affects its own names only."""

import contextlib
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, version
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

import kcnn

_outcomes: dict[tuple[str, str], Any] = {}  # by target and distribution: what was loaded, or the ImportError
_stuck: set[str] = set()  # modules whose import exceeded its time limit and still runs


def normalize_name(distribution: str) -> str:
    """Return the name by which distributions are compared (PEP 503): "kcnn_mynet" and "kcnn-mynet" are one.

    It is packaging.utils.canonicalize_name, whose import takes longer than finding all plugins.
    """
    return re.sub(r"[-_.]+", "-", distribution).lower()


def load_plugin(point: EntryPoint, distribution: str) -> Any:
    """Load an entry point. The outcome is cached until `clear_cache`: a failing import does not run again.

    Args:
        point: The entry point.
        distribution: The distribution that publishes it.

    Returns:
        The object that the entry point names.

    Raises:
        ImportError: The plugin does not load; the message has the reason.
    """
    if distribution == kcnn.__name__:
        return point.load()
    key = (point.value, distribution)
    if key not in _outcomes:
        _outcomes[key] = _try_load(point)
    if isinstance(_outcomes[key], _Failure):
        raise ImportError(
            f"architecture {point.name!r} of distribution {distribution} does not load: {_outcomes[key].why}"
        ) from _outcomes[key].error
    return _outcomes[key]


class _Failure:
    """Why an entry point does not load."""

    def __init__(self, why: str, error: BaseException | None = None):
        self.why, self.error = " ".join(why.split()), error


def _try_load(point: EntryPoint) -> Any:
    if not point.pattern.match(point.value):
        return _Failure(f'its entry point must be "module:attribute", got {point.value!r}')
    if point.module in _stuck:
        return _Failure("its import does not return")
    unmet = find_unmet_requirements(point.dist, only=kcnn.__name__)
    if unmet:
        return _Failure("; ".join(unmet))
    return _run_isolated(point.module, point.load, point.dist)


def run_isolated(title: str, module: str, run: Callable[[], Any]) -> Any:
    """Run the import of a module, and raise whatever fails in it as an ImportError.

    Args:
        title: What is imported; it opens the message.
        module: Name of the module.
        run: The import.

    Returns:
        What `run` returns.

    Raises:
        ImportError: The import fails; the message has the reason.
    """
    outcome = _run_isolated(module, run)
    if isinstance(outcome, _Failure):
        raise ImportError(f"{title} does not load: {outcome.why}") from outcome.error
    return outcome


def _run_isolated(module: str, run: Callable[[], Any], distribution: Distribution | None = None) -> Any:
    try:
        with _isolated_import(module):
            return run()
    except SystemExit as error:
        return _Failure(f"its import exits the interpreter (exit {error.code!r})")
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise
        unmet = find_unmet_requirements(distribution) if isinstance(error, ImportError) else []
        return _Failure("; ".join([_format_error(error), *unmet]), error)


def _format_error(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException:  # an error of a plugin's own may fail at this too
        return type(error).__name__


@contextlib.contextmanager
def forget_imports(folder: Path) -> Iterator[None]:
    """Remove the modules of a folder that a `with` block imports from sys.modules after it.

    The next import reads their files again, and modules of the same names in other folders are not taken for them.

    Args:
        folder: The folder in which Python finds the modules, resolved.
    """
    before = {*sys.modules}
    try:
        yield
    finally:
        for name in {*sys.modules} - before:
            if _is_from(folder, name):
                del sys.modules[name]


def _is_from(folder: Path, name: str) -> bool:
    """Whether Python found a module in that folder: not in a virtual environment within it."""
    module = sys.modules[name]
    file = getattr(module, "__file__", None)
    paths = [Path(path) for path in ([file] if file else getattr(module, "__path__", ()))]  # of a namespace package
    first = name.partition(".")[0]
    return any(
        path.is_relative_to(folder) and path.relative_to(folder).parts[0].partition(".")[0] == first for path in paths
    )


@contextlib.contextmanager
def start_process(command: Sequence[str], output: Path, env: Mapping[str, str] | None = None) -> Iterator[Popen[bytes]]:
    """Run a process within a `with` block; after it the process is killed with all that it started.

    Args:
        command: The command.
        output: File for what it prints; not a pipe, which a process that it starts would hold open.
        env: Environment variables; None for those of this process.

    Yields:
        The process.
    """
    with output.open("wb") as log:
        child = Popen(command, stdin=DEVNULL, stdout=log, stderr=log, env=env, start_new_session=True)
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def read_last_line(output: Path) -> str:
    """Return the last line that a process printed, such as that of its error."""
    lines = output.read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")


@contextlib.contextmanager
def _isolated_import(module: str) -> Iterator[None]:
    """Redirect what an import prints to standard error, and restore logging after it.

    A stuck import may end much later, when others have set both.
    """
    out = sys.stdout
    root = logging.getLogger()
    loggers = [root, *(x for x in root.manager.loggerDict.values() if isinstance(x, logging.Logger))]
    before = [(x, x.level, x.disabled, x.propagate, [*x.handlers]) for x in loggers]
    disabled_level = root.manager.disable
    # logging.config closes every handler that is listed here, and with one of absl's the stream that it writes to.
    held = logging._handlerList[:]  # type: ignore[attr-defined]
    logging._handlerList.clear()  # type: ignore[attr-defined]
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        if module not in _stuck:
            sys.stdout = out
            for logger, level, disabled, propagate, handlers in before:
                logger.setLevel(level)
                logger.disabled, logger.propagate, logger.handlers[:] = disabled, propagate, handlers
            logging.disable(disabled_level)
        logging._handlerList[:0] = held  # type: ignore[attr-defined]


def load_within(seconds: float, point: EntryPoint, distribution: str) -> None:
    """Load an entry point with a time limit. Call `load_plugin` for the outcome.

    Args:
        seconds: The time limit.
        point: The entry point.
        distribution: The distribution that publishes it.
    """
    key = (point.value, distribution)
    if distribution == kcnn.__name__ or key in _outcomes:
        return
    if not point.pattern.match(point.value) or point.module in _stuck:
        return
    ended = threading.Event()

    def run() -> None:
        outcome = _try_load(point)
        if point.module in _stuck:
            _stuck.discard(point.module)
        else:
            _outcomes[key] = outcome
        ended.set()

    out = sys.stdout
    threading.Thread(target=run, daemon=True).start()
    if not ended.wait(seconds):
        _stuck.add(point.module)
        sys.stdout = out
        _outcomes[key] = _Failure(f"its import takes more than {seconds:g} seconds")


@cache
def list_requirements(distribution: Distribution | None) -> tuple[Any, ...]:
    """Return the valid requirements of a distribution, without extras."""
    from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
    from packaging.requirements import InvalidRequirement, Requirement

    requirements = []
    for line in (distribution.requires if distribution else None) or ():
        with contextlib.suppress(InvalidRequirement, UndefinedComparison, UndefinedEnvironmentName):
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                requirements.append(requirement)
    return tuple(requirements)


def find_unmet_requirements(distribution: Distribution | None, only: str | None = None) -> list[str]:
    """Return what a distribution requires and this environment does not have, from metadata alone.

    Args:
        distribution: The distribution.
        only: The one requirement to check; None checks all.

    Returns:
        A text for each unmet requirement.
    """
    from packaging.version import InvalidVersion

    unmet = []
    for requirement in list_requirements(distribution):
        name = requirement.name
        own = normalize_name(name) == kcnn.__name__
        if only and normalize_name(name) != only:
            continue
        try:
            installed = kcnn.__version__ if own else version(name)
            if not requirement.specifier.contains(installed, prereleases=True):
                unmet.append(f"requires {requirement}, found {installed}")
        except PackageNotFoundError:
            unmet.append(f"requires {name}, which is not installed: pip install '{requirement}'")
        except (InvalidVersion, KeyError, TypeError):
            unmet.append(f"requires {requirement}, but the metadata of {name} has no version")
    return unmet


def clear_cache() -> None:
    """Forget the outcomes of imports; modules stay imported, and a stuck import stays stuck."""
    list_requirements.cache_clear()
    _outcomes.clear()
