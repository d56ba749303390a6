"""Installed plugins: each distribution that publishes architectures, and whether its networks can be used."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path

from kcnn.architectures import plugins, registry
from kcnn.architectures.spec import ModelSpec
from kcnn.atomic_io import write_text
from kcnn.graph.formatting import join_names
from kcnn.graph.graph import Graph
from kcnn.graph.tracing import topological_order

READY, BLOCKED, UNMET, CONFLICT = "ready", "blocked", "unmet requirements", "name conflict"  # from metadata alone
OK, BROKEN, TIMEOUT = "ok", "broken", "timeout"  # after loading it
NAMED = 4  # networks that a row names
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
    invalid = [name for name in plugin.names if not registry.is_addressable(name)]
    if invalid:
        return replace(plugin, state=BROKEN, reason=registry.describe_invalid_name(invalid[0]))
    unmet = plugins.find_unmet_requirements(dist)
    if unmet:
        return replace(plugin, state=UNMET, reason="; ".join(unmet))
    known = registry.discover()
    rivals = {other for name in plugin.names for other in known[name] if other != distribution}
    rivals = {other for other in rivals if registry.is_allowed(other)}
    if rivals:
        shared = [name for name in plugin.names if len(known[name]) > 1]
        owners = ", ".join(sorted(rivals))
        reason = f'{join_names(shared, NAMED)} also published by {owners}; use "{distribution}:{shared[0]}"'
        return replace(plugin, state=CONFLICT, reason=reason)
    return plugin


def diagnose(plugin: Plugin, seconds: float = 60.0) -> Plugin:
    """Load the architectures of a plugin in a separate process, and trace each under the name that users type.

    Args:
        plugin: The plugin.
        seconds: Time limit.

    Returns:
        The plugin with its new state and the reason.
    """
    if plugin.state in (BLOCKED, BROKEN):
        return plugin
    with tempfile.TemporaryDirectory() as folder:
        report, output = Path(folder) / "report.json", Path(folder) / "output.txt"
        command = [sys.executable, "-m", "kcnn.architectures.doctor", plugin.distribution, str(report)]
        with plugins.start_process(command, output) as child:
            try:
                code = child.wait(seconds)
            except subprocess.TimeoutExpired:
                return replace(plugin, state=TIMEOUT, reason=f"its import takes more than {seconds:g} seconds")
        if not report.exists():
            last = plugins.read_last_line(output)
            return replace(plugin, state=BROKEN, reason=f"its import ends the process (exit {code}): {last}")
        errors = json.loads(report.read_text())
    if errors:
        reasons = list(dict.fromkeys(errors.values()))
        more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
        return replace(plugin, state=BROKEN, reason=f"{join_names(errors, NAMED)}: {reasons[0]}{more}")
    return plugin if plugin.state in (CONFLICT, UNMET) else replace(plugin, state=OK)


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
    names_required = {plugins.normalize_name(requirement.name) for requirement in plugins.list_requirements(dist)}
    if registry.BUILTIN not in names_required:
        yield 'it does not declare which version of kcnn it requires: add "kcnn>=0.1" to the dependencies'
    for name in names:
        if not NAME.fullmatch(name):
            yield registry.describe_invalid_name(name)
        others = [other for other in points[name] if other != distribution]
        if others:
            yield f"{name!r} is also published by {' and '.join(others)}"


def find_errors(distribution: str, names: Iterable[str]) -> dict[str, str]:
    """Load and trace the networks of a distribution and their variants, each under the name that users type.

    Args:
        distribution: The distribution.
        names: The networks that it publishes.

    Returns:
        The error of each that does not load, or cannot be traced.
    """
    errors = {}
    for name in names:
        try:
            variants = registry.get_architecture(f"{distribution}:{name}").variants
        except Exception as error:
            errors[name] = str(error).partition("does not load: ")[2] or str(error)
            continue
        for full in (name, *(f"{name}.{variant}" for variant in variants)):
            try:
                _check_layers(ModelSpec(network=f"{distribution}:{full}").trace())
            except Exception as error:
                errors[full] = f"{type(error).__name__}: {error}"
    return errors


def _check_layers(graph: Graph) -> None:
    """Refuse an op of a plugin that could be traced, but not built. ValueError: It makes no Keras layer."""
    for x in topological_order(*graph.outputs.values()):
        is_known = x.op is None or type(x.op).__module__.partition(".")[0] == registry.BUILTIN
        if not is_known and not callable(getattr(x.op, "layer", None)):
            raise ValueError(
                f"layer {x.name!r}: {type(x.op).__name__} has no method layer(name), which returns its Keras layer"
            )


if __name__ == "__main__":
    name = sys.argv[1]
    load_errors = find_errors(name, [point.name for point in _by_distribution()[name]])
    write_text(sys.argv[2], json.dumps(load_errors))
    os._exit(0)  # threads of a plugin would keep the process
