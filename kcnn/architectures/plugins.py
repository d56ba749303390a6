"""Plugins are other people's code: how one is loaded so that what is wrong with it hurts its own names alone."""

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator
from functools import cache
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, version
from typing import Any

import kcnn

_outcomes: dict[tuple[str, str], Any] = {}  # by target and distribution: what was loaded, or the ImportError
_stuck: set[str] = set()  # modules that are still being imported, and are waited for no longer


def load_plugin(point: EntryPoint, distribution: str) -> Any:
    """What an entry point names. ImportError with the reason, whatever its module does while it is imported.

    What came of it is remembered until `forget`: code that fails is not run again for each of its names.
    """
    if distribution == kcnn.__name__:
        return point.load()
    key = (point.value, distribution)
    if key not in _outcomes:
        _outcomes[key] = _tried(point, distribution)
    if isinstance(_outcomes[key], _Failure):
        raise ImportError(
            f"architecture {point.name!r} of distribution {distribution} does not load: {_outcomes[key].why}"
        ) from _outcomes[key].error
    return _outcomes[key]


class _Failure:
    """Why an entry point does not load."""

    def __init__(self, why: str, error: BaseException | None = None):
        self.why, self.error = " ".join(why.split()), error


def _tried(point: EntryPoint, distribution: str) -> Any:
    if point.module in _stuck:
        return _Failure("its import has not come back")
    wrong = find_unmet_requirements(point.dist, only=kcnn.__name__)
    if wrong:
        return _Failure("; ".join(wrong))
    try:
        with _quiet(point.module):
            return point.load()
    except SystemExit as error:
        return _Failure(f"it ends the interpreter while it is imported (exit {error.code!r})")
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise
        lacks = find_unmet_requirements(point.dist) if isinstance(error, ImportError) else []
        return _Failure("; ".join([_said(error), *lacks]), error)


def _said(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException:  # an error of a plugin's own may fail at this too
        return type(error).__name__


@contextlib.contextmanager
def _quiet(module: str) -> Iterator[None]:
    """What is imported meanwhile prints to standard error, and leaves logging as it was."""
    root = logging.getLogger()
    known = [root, *(one for one in root.manager.loggerDict.values() if isinstance(one, logging.Logger))]
    before = [(one, one.level, one.disabled, one.propagate, [*one.handlers]) for one in known]
    off = root.manager.disable
    # logging.config closes every handler that is listed here, and with one of absl's the stream that it writes to.
    held = logging._handlerList[:]  # type: ignore[attr-defined]
    logging._handlerList.clear()  # type: ignore[attr-defined]
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if module not in _stuck:  # or it ends long after it was given up, and others may have set them
            for one, level, disabled, propagate, handlers in before:
                one.setLevel(level)
                one.disabled, one.propagate, one.handlers[:] = disabled, propagate, handlers
            logging.disable(off)
        logging._handlerList[:0] = held  # type: ignore[attr-defined]


def load_within(seconds: float, point: EntryPoint, distribution: str) -> None:
    """Load an entry point, and wait for it no longer than that; what came of it is for `load` to tell."""
    key = (point.value, distribution)
    if distribution == kcnn.__name__ or key in _outcomes or point.module in _stuck:
        return
    ended = threading.Event()

    def run() -> None:
        found = _tried(point, distribution)
        if point.module in _stuck:
            _stuck.discard(point.module)
        else:
            _outcomes[key] = found
        ended.set()

    out = sys.stdout
    threading.Thread(target=run, daemon=True).start()
    if not ended.wait(seconds):
        _stuck.add(point.module)
        sys.stdout = out
        _outcomes[key] = _Failure(f"its import takes more than {seconds:g} seconds")


@cache
def list_requirements(distribution: Distribution | None) -> tuple[Any, ...]:
    """What a distribution states that it needs, extras left out, and what is not written as it should be."""
    from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
    from packaging.requirements import InvalidRequirement, Requirement

    found = []
    for line in (distribution.requires if distribution else None) or ():
        with contextlib.suppress(InvalidRequirement, UndefinedComparison, UndefinedEnvironmentName):
            one = Requirement(line)
            if one.marker is None or one.marker.evaluate({"extra": ""}):
                found.append(one)
    return tuple(found)


def find_unmet_requirements(distribution: Distribution | None, only: str | None = None) -> list[str]:
    """Requirements that a distribution states and that this environment does not meet, from metadata alone."""
    from packaging.version import InvalidVersion

    wrong = []
    for one in list_requirements(distribution):
        if only and one.name.lower() != only:
            continue
        try:
            there = kcnn.__version__ if one.name.lower() == kcnn.__name__ else version(one.name)
            if not one.specifier.contains(there, prereleases=True):
                wrong.append(f"it is made for {one}, and this is {one.name} {there}")
        except PackageNotFoundError:
            wrong.append(f"it needs {one.name}, which is not installed: pip install '{one}'")
        except (InvalidVersion, KeyError, TypeError):
            wrong.append(f"it is made for {one}, and the metadata of {one.name} states no version")
    return wrong


def clear_cache() -> None:
    """Look at distributions anew; what was imported stays, and an import that hangs still hangs."""
    list_requirements.cache_clear()
    _outcomes.clear()
