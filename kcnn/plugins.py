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

STUCK: dict[str, str] = {}  # modules whose import has not come back, and why they are not waited for again


def load(point: EntryPoint, distribution: str) -> Any:
    """What an entry point names. ImportError with the reason, whatever its module does while it is imported."""
    module = sys.modules.get(point.module)
    if distribution != kcnn.__name__ and (module is None or _half(module)):
        _imported(point, distribution)
    try:
        return point.load()
    except AttributeError as error:
        raise ImportError(f"architecture {point.name!r} of distribution {distribution} is not there: {error}") from None


def _half(module: Any) -> bool:
    """Whether a module is still being imported, by this thread or another."""
    return getattr(getattr(module, "__spec__", None), "_initializing", False)


def _imported(point: EntryPoint, distribution: str) -> None:
    said = f"architecture {point.name!r} of distribution {distribution} does not load"
    if point.module in STUCK:
        raise ImportError(f"{said}: {STUCK[point.module]}")
    for wrong in misfits(point.dist, only=kcnn.__name__):
        raise ImportError(f"{said}: {wrong}")
    try:
        with _quiet():
            point.load()
    except AttributeError as error:
        if point.module not in sys.modules:
            raise ImportError(f"{said}: AttributeError: {error}") from error
    except KeyboardInterrupt:
        raise
    except SystemExit as error:
        raise ImportError(f"{said}: it ends the interpreter while it is imported (exit {error.code!r})") from None
    except BaseException as error:
        lacks = misfits(point.dist) if isinstance(error, ImportError) else []
        raise ImportError("; ".join([f"{said}: {type(error).__name__}: {error}", *lacks])) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What is imported meanwhile prints to standard error, and leaves logging as it was."""
    root = logging.getLogger()
    level, handlers, off = root.level, [*root.handlers], root.manager.disable
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
        logging.disable(off)


def within(seconds: float, point: EntryPoint, distribution: str) -> None:
    """Import the module of an entry point, and wait for it no longer than that.

    What goes wrong is for whoever asks for the name. Where it has not come back, `load` says so at once.
    """
    if point.module in sys.modules or point.module in STUCK:
        return
    ended = threading.Event()

    def run() -> None:
        with contextlib.suppress(ImportError):  # told to whoever asks for the name
            _imported(point, distribution)
        STUCK.pop(point.module, None)
        ended.set()

    out = sys.stdout
    threading.Thread(target=run, daemon=True).start()
    if not ended.wait(seconds):
        sys.stdout = out
        STUCK[point.module] = f"its import takes more than {seconds:g} seconds"


@cache
def requirements(distribution: Distribution | None) -> tuple[Any, ...]:
    """What a distribution states that it needs, extras left out."""
    from packaging.requirements import InvalidRequirement, Requirement

    found = []
    for line in (distribution.requires if distribution else None) or ():
        with contextlib.suppress(InvalidRequirement):
            one = Requirement(line)
            if one.marker is None or one.marker.evaluate({"extra": ""}):
                found.append(one)
    return tuple(found)


def misfits(distribution: Distribution | None, only: str | None = None) -> list[str]:
    """Requirements that a distribution states and that this environment does not meet, from metadata alone."""
    wrong = []
    for one in requirements(distribution):
        if only and one.name.lower() != only:
            continue
        try:
            there = kcnn.__version__ if one.name.lower() == kcnn.__name__ else version(one.name)
        except PackageNotFoundError:
            wrong.append(f"it needs {one.name}, which is not installed: pip install '{one}'")
            continue
        if not one.specifier.contains(there, prereleases=True):
            wrong.append(f"it is made for {one}, and this is {one.name} {there}")
    return wrong


def forget() -> None:
    """Look at distributions anew; what was imported stays."""
    requirements.cache_clear()
    STUCK.clear()
