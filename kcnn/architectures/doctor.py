"""What is installed: each distribution that publishes architectures, and whether it can be used."""

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

READY, HELD, UNFIT, CLASH = "ready", "held back", "unfit", "clash"  # by metadata alone
OK, BROKEN, STUCK = "ok", "broken", "stuck"  # by loading it
NAME = re.compile(r"[a-z][a-z0-9_]*")  # of a network


@dataclass(frozen=True)
class Plugin:
    """A distribution that publishes architectures."""

    distribution: str
    version: str
    names: tuple[str, ...]
    state: str
    reason: str = ""


def list_plugins() -> list[Plugin]:
    """Every distribution that publishes architectures, as its metadata has it: none of their code runs."""
    return [_at_first_sight(distribution, points) for distribution, points in _by_distribution().items()]


def _by_distribution() -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for points in registry.discover().values():
        for distribution, point in points.items():
            found.setdefault(distribution, []).append(point)
    return dict(sorted(found.items(), key=lambda one: (one[0] != registry.BUILTIN, one[0])))


def _at_first_sight(distribution: str, points: Sequence[EntryPoint]) -> Plugin:
    dist = points[0].dist
    version = (dist.metadata["Version"] if dist else None) or "?"
    found = Plugin(distribution, version, tuple(sorted(p.name for p in points)), READY)
    if not registry.is_allowed(distribution):
        return replace(found, state=HELD, reason=f"{registry.ALLOW_VARIABLE} does not name it")
    wrong = plugins.find_unmet_requirements(dist)
    if wrong:
        return replace(found, state=UNFIT, reason="; ".join(wrong))
    known = registry.discover()
    rivals = {other for name in found.names for other in known[name] if other != distribution}
    rivals = {other for other in rivals if registry.is_allowed(other)}
    if rivals:
        both = [name for name in found.names if len(known[name]) > 1]
        reason = f'{abbreviate(both)} also by {", ".join(sorted(rivals))}; ask for "{distribution}:{both[0]}"'
        return replace(found, state=CLASH, reason=reason)
    return found


def diagnose(found: Plugin, seconds: float = 60.0) -> Plugin:
    """The same plugin after its architectures were loaded in a process of their own, within so many seconds."""
    if found.state == HELD:
        return found
    with tempfile.TemporaryDirectory() as folder:
        report, said = Path(folder) / "report.json", Path(folder) / "said.txt"
        command = [sys.executable, "-m", "kcnn.architectures.doctor", found.distribution, str(report)]
        with said.open("wb") as log:  # not a pipe, which a process that the plugin starts would hold open
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
            try:
                code = child.wait(seconds)
            except subprocess.TimeoutExpired:
                return replace(found, state=STUCK, reason=f"its import takes more than {seconds:g} seconds")
            finally:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        if not report.exists():
            lines = said.read_text(errors="replace").split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing was said")
            return replace(found, state=BROKEN, reason=f"its import ends the process (exit {code}): {last}")
        wrong = json.loads(report.read_text())
    if wrong:
        reasons = list(dict.fromkeys(wrong.values()))
        more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
        return replace(found, state=BROKEN, reason=f"{abbreviate(list(wrong))}: {reasons[0]}{more}")
    return found if found.state in (CLASH, UNFIT) else replace(found, state=OK)


@contextmanager
def simulate_install(folder: str | Path) -> Iterator[tuple[str, list[str]]]:
    """While it lasts a checkout is there as if it were installed: its distribution, and the names it publishes.

    Its code lies in the folder itself or in `src`. FileNotFoundError, ValueError where its pyproject.toml is no
    plugin's.
    """
    where = Path(folder)
    file = where / "pyproject.toml"
    if not file.exists():
        raise FileNotFoundError(
            f"{where} has no pyproject.toml; a plugin is a distribution: kcnn new-plugin starts one"
        )
    try:
        project = tomllib.loads(file.read_text())["project"]
        distribution, points = project["name"], project["entry-points"][registry.GROUP]
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise ValueError(
            f'{file} publishes no architecture: it needs a project.name and a table [project.entry-points."'
            f'{registry.GROUP}"] ({error})'
        ) from None
    version = str(project.get("version", "0"))
    with tempfile.TemporaryDirectory() as beside:
        info = Path(beside) / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        needs = [f"Requires-Dist: {one}" for one in project.get("dependencies", ())]
        head = ["Metadata-Version: 2.1", f"Name: {distribution}", f"Version: {version}", *needs]
        (info / "METADATA").write_text("\n".join(head) + "\n")
        lines = [f"{name} = {target}" for name, target in points.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{registry.GROUP}]", *lines]) + "\n")
        code = where / "src" if (where / "src").is_dir() else where
        added = [beside, str(code.resolve())]
        sys.path[:0] = added
        before = {*sys.modules}
        registry.refresh_plugins()
        try:
            yield distribution, sorted(points)
        finally:
            sys.path[:] = [one for one in sys.path if one not in added]
            for name in {*sys.modules} - before:  # the next look is at what the files are then
                if (getattr(sys.modules[name], "__file__", None) or "").startswith(added[1]):
                    del sys.modules[name]
            registry.refresh_plugins()


def check_distribution(distribution: str, names: Iterable[str]) -> Iterator[str]:
    """What would make a distribution hard to use once it is published, in words."""
    points = registry.discover()
    dist = next(points[name][distribution] for name in names).dist
    if not any(one.name.lower() == registry.BUILTIN for one in plugins.list_requirements(dist)):
        yield 'it states no version of kcnn that it is made for: give dependencies a line such as "kcnn>=0.1"'
    for name in names:
        if not NAME.fullmatch(name):
            yield f"{name!r} is no name: small letters, digits and _"
        others = [other for other in points[name] if other != distribution]
        if others:
            yield f"{name!r} is published by {' and by '.join(others)} too"


def abbreviate(names: Sequence[str], most: int = 4) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _loads(distribution: str, names: Iterable[str]) -> dict[str, str]:
    """What is wrong with each name of a distribution, in words; nothing of those that load."""
    wrong = {}
    for name in names:
        point = registry.discover()[name][distribution]
        try:
            found = plugins.load_plugin(point, distribution)
        except ImportError as error:
            wrong[name] = str(error).partition("does not load: ")[2] or str(error)
            continue
        if not isinstance(found, Architecture):
            wrong[name] = f"{point.value} is a {type(found).__name__}, not a kcnn.Architecture"
    return wrong


if __name__ == "__main__":
    mine = sys.argv[1]
    faults = _loads(mine, [point.name for point in _by_distribution()[mine]])
    write_text(sys.argv[2], json.dumps(faults))
    os._exit(0)  # threads of a plugin would keep the process
