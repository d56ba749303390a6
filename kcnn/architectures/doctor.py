"""Installed plugins: each distribution that publishes architectures, and whether it can be used."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path

from kcnn.architectures import plugins, registry
from kcnn.architectures.architecture import Architecture
from kcnn.atomic_io import write_text

READY, BLOCKED, UNMET, CONFLICT = "ready", "blocked", "unmet requirements", "name conflict"  # from metadata alone
OK, BROKEN, TIMEOUT = "ok", "broken", "timeout"  # after loading it
NAME = re.compile(r"[a-z][a-z0-9_]*")  # of a network


@dataclass(frozen=True)
class Plugin:
    """Describe a distribution that publishes architectures, and its state."""

    distribution: str
    version: str
    names: tuple[str, ...]
    state: str
    reason: str = ""


def list_plugins() -> list[Plugin]:
    """Return every distribution that publishes architectures, from metadata: none of their code runs."""
    return [_examine_metadata(distribution, points) for distribution, points in _by_distribution().items()]


def _by_distribution() -> dict[str, list[EntryPoint]]:
    distributions: dict[str, list[EntryPoint]] = {}
    for points in registry.discover().values():
        for distribution, point in points.items():
            distributions.setdefault(distribution, []).append(point)
    return dict(sorted(distributions.items(), key=lambda item: (item[0] != registry.BUILTIN, item[0])))


def _examine_metadata(distribution: str, points: Sequence[EntryPoint]) -> Plugin:
    dist = points[0].dist
    version = (dist.metadata["Version"] if dist else None) or "?"
    plugin = Plugin(distribution, version, tuple(sorted(p.name for p in points)), READY)
    if not registry.is_allowed(distribution):
        return replace(plugin, state=BLOCKED, reason=f"not listed in {registry.ALLOW_VARIABLE}")
    unmet = plugins.find_unmet_requirements(dist)
    if unmet:
        return replace(plugin, state=UNMET, reason="; ".join(unmet))
    known = registry.discover()
    rivals = {other for name in plugin.names for other in known[name] if other != distribution}
    rivals = {other for other in rivals if registry.is_allowed(other)}
    if rivals:
        shared = [name for name in plugin.names if len(known[name]) > 1]
        owners = ", ".join(sorted(rivals))
        reason = f'{abbreviate(shared)} also published by {owners}; use "{distribution}:{shared[0]}"'
        return replace(plugin, state=CONFLICT, reason=reason)
    return plugin


def diagnose(plugin: Plugin, seconds: float = 60.0) -> Plugin:
    """Load the architectures of a plugin in a process of its own.

    Args:
        plugin: The plugin.
        seconds: Time limit.

    Returns:
        The plugin with its new state and the reason.
    """
    if plugin.state == BLOCKED:
        return plugin
    with tempfile.TemporaryDirectory() as folder:
        report, output = Path(folder) / "report.json", Path(folder) / "output.txt"
        command = [sys.executable, "-m", "kcnn.architectures.doctor", plugin.distribution, str(report)]
        with output.open("wb") as log:  # not a pipe, which a process that the plugin starts would hold open
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
            try:
                code = child.wait(seconds)
            except subprocess.TimeoutExpired:
                return replace(plugin, state=TIMEOUT, reason=f"its import takes more than {seconds:g} seconds")
            finally:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        if not report.exists():
            lines = output.read_text(errors="replace").split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip()), "no output")
            return replace(plugin, state=BROKEN, reason=f"its import ends the process (exit {code}): {last}")
        errors = json.loads(report.read_text())
    if errors:
        reasons = list(dict.fromkeys(errors.values()))
        more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
        return replace(plugin, state=BROKEN, reason=f"{abbreviate(list(errors))}: {reasons[0]}{more}")
    return plugin if plugin.state in (CONFLICT, UNMET) else replace(plugin, state=OK)


@contextmanager
def simulate_install(folder: str | Path) -> Iterator[tuple[str, list[str]]]:
    """Make the source folder of a plugin visible as if it were installed, within a `with` block.

    Args:
        folder: The folder of its pyproject.toml; the code is there or in `src`.

    Yields:
        The distribution, and the names it publishes.

    Raises:
        FileNotFoundError: There is no pyproject.toml.
        ValueError: The pyproject.toml publishes no architecture.
    """
    root = Path(folder)
    file = root / "pyproject.toml"
    if not file.exists():
        raise FileNotFoundError(f"{root} has no pyproject.toml; create a plugin with `kcnn new-plugin`")
    try:
        project = tomllib.loads(file.read_text())["project"]
        distribution, points = project["name"], project["entry-points"][registry.GROUP]
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise ValueError(
            f'{file} publishes no architecture: add project.name and a table [project.entry-points."{registry.GROUP}"] '
            f"({error})"
        ) from None
    version = str(project.get("version", "0"))
    with tempfile.TemporaryDirectory() as metadata:
        info = Path(metadata) / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        needs = [f"Requires-Dist: {requirement}" for requirement in project.get("dependencies", ())]
        head = ["Metadata-Version: 2.1", f"Name: {distribution}", f"Version: {version}", *needs]
        (info / "METADATA").write_text("\n".join(head) + "\n")
        lines = [f"{name} = {target}" for name, target in points.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{registry.GROUP}]", *lines]) + "\n")
        code = root / "src" if (root / "src").is_dir() else root
        added = [metadata, str(code.resolve())]
        sys.path[:0] = added
        before = {*sys.modules}
        registry.refresh_plugins()
        try:
            yield distribution, sorted(points)
        finally:
            sys.path[:] = [entry for entry in sys.path if entry not in added]
            for name in {*sys.modules} - before:  # the next import reads the files again
                if (getattr(sys.modules[name], "__file__", None) or "").startswith(added[1]):
                    del sys.modules[name]
            registry.refresh_plugins()


def check_distribution(distribution: str, names: Iterable[str]) -> Iterator[str]:
    """Check what would make a distribution hard to use once it is published.

    Args:
        distribution: The distribution.
        names: The networks that it publishes.

    Yields:
        A text for each problem.
    """
    points = registry.discover()
    dist = next(points[name][distribution] for name in names).dist
    if not any(requirement.name.lower() == registry.BUILTIN for requirement in plugins.list_requirements(dist)):
        yield 'it does not declare which version of kcnn it requires: add "kcnn>=0.1" to the dependencies'
    for name in names:
        if not NAME.fullmatch(name):
            yield f"invalid name {name!r}: use lowercase letters, digits and _"
        others = [other for other in points[name] if other != distribution]
        if others:
            yield f"{name!r} is also published by {' and '.join(others)}"


def abbreviate(names: Sequence[str], limit: int = 4) -> str:
    """Return the first names, and the number of the rest."""
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _find_load_errors(distribution: str, names: Iterable[str]) -> dict[str, str]:
    """The error of each name of a distribution that does not load."""
    errors = {}
    for name in names:
        point = registry.discover()[name][distribution]
        try:
            architecture = plugins.load_plugin(point, distribution)
        except ImportError as error:
            errors[name] = str(error).partition("does not load: ")[2] or str(error)
            continue
        if not isinstance(architecture, Architecture):
            errors[name] = f"{point.value} must be a kcnn.Architecture, got {type(architecture).__name__}"
    return errors


if __name__ == "__main__":
    name = sys.argv[1]
    load_errors = _find_load_errors(name, [point.name for point in _by_distribution()[name]])
    write_text(sys.argv[2], json.dumps(load_errors))
    os._exit(0)  # threads of a plugin would keep the process
