"""The source folder of a plugin: its pyproject.toml, and a simulated installation."""

import re
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from kcnn.architectures import plugins, registry

MAX_BYTES = 1 << 20  # of a pyproject.toml; the largest that people write have 100 kB
POINT_NAME = re.compile(r"[\w.-]+")  # what the specification of entry points recommends


@dataclass(frozen=True)
class Project:
    """Hold what a pyproject.toml declares, validated as an installer does (PEP 621)."""

    name: str
    version: str
    dependencies: tuple[str, ...]
    entry_points: Mapping[str, str]  # of kcnn's group: the target by the network's name


def read_project(folder: str | Path) -> Project:
    """Read the pyproject.toml of a plugin.

    Args:
        folder: The folder of its pyproject.toml.

    Returns:
        What it declares. A dynamic version is "0".

    Raises:
        FileNotFoundError: There is no pyproject.toml.
        ValueError: It is not TOML, its metadata is invalid, or it publishes no architecture.
    """
    from packaging.metadata import InvalidMetadata, Metadata

    file = Path(folder) / "pyproject.toml"
    if not file.is_file():
        raise FileNotFoundError(f"{folder} has no pyproject.toml; create a plugin with `kcnn new-plugin`")
    if file.stat().st_size > MAX_BYTES:
        raise ValueError(f"{file} has {file.stat().st_size:,} bytes; expected at most {MAX_BYTES:,}")
    try:
        text = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{file} is not valid TOML: {error}") from None
    project = _get(file, text, "project", dict)
    dynamic = _get(file, project, "dynamic", list)
    name, version = (_get(file, project, field, str) for field in ("name", "version"))
    if not name:
        raise ValueError(f"{file} has no project.name; add one, such as kcnn-my-net")
    if plugins.normalize_name(name) == registry.BUILTIN:  # whose networks it would replace, and whose code always runs
        raise ValueError(f"{file}: project.name {name!r} is that of kcnn itself; choose another, such as kcnn-my-net")
    if not version and "version" not in dynamic:
        raise ValueError(f'{file} has neither a project.version nor "version" in project.dynamic; add one')
    needs = _get(file, project, "dependencies", list)
    if not all(isinstance(need, str) for need in needs):
        raise ValueError(f"{file}: project.dependencies must be a list of strings, got {needs!r}")
    version = version or "0"
    try:
        Metadata.from_raw({"metadata_version": "2.1", "name": name, "version": version, "requires_dist": needs})
    except ExceptionGroup as errors:
        texts = [f"{error.field}: {error}" for error in errors.exceptions if isinstance(error, InvalidMetadata)]
        raise ValueError(f"{file}: invalid metadata: {'; '.join(texts)}") from None
    groups = _get(file, project, "entry-points", dict)
    points = _get(file, groups, registry.GROUP, dict)
    if not points:
        raise ValueError(
            f'{file} publishes no architecture; add a table [project.entry-points."{registry.GROUP}"] with '
            'my_net = "my_module:my_net"'
        )
    for point, target in points.items():
        if not POINT_NAME.fullmatch(point):
            raise ValueError(f"{file}: {registry.describe_invalid_name(point)}")
        if not isinstance(target, str) or not EntryPoint.pattern.fullmatch(target) or target.splitlines()[1:]:
            raise ValueError(f'{file}: the entry point {point} must be "module:attribute", got {target!r}')
    return Project(name, version, tuple(needs), points)


def _get(file: Path, table: Mapping[str, Any], key: str, kind: type) -> Any:
    """A value of a TOML table; an empty one of its type where there is none."""
    value = table.get(key, kind())
    if not isinstance(value, kind):
        expected = {"dict": "a table", "list": "a list", "str": "a string"}[kind.__name__]
        raise ValueError(f"{file}: {key} must be {expected}, got {value!r}")
    return value


@contextmanager
def simulate_install(folder: str | Path) -> Iterator[tuple[str, list[str]]]:
    """Make the source folder of a plugin visible as if it were installed, within a `with` block.

    Args:
        folder: The folder of its pyproject.toml; the code is there or in `src`.

    Yields:
        The normalized name of the distribution, and the names it publishes.

    Raises:
        FileNotFoundError, ValueError: As from `read_project`.
    """
    root, project = Path(folder), read_project(folder)
    code = (root / "src" if (root / "src").is_dir() else root).resolve()
    with tempfile.TemporaryDirectory() as metadata:
        info = Path(metadata) / "simulated.dist-info"  # found by its suffix; its METADATA has the name
        info.mkdir()
        needs = [f"Requires-Dist: {requirement}" for requirement in project.dependencies]
        head = ["Metadata-Version: 2.1", f"Name: {project.name}", f"Version: {project.version}", *needs]
        (info / "METADATA").write_text("\n".join(head) + "\n", encoding="utf-8")
        lines = [f"{name} = {target}" for name, target in project.entry_points.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{registry.GROUP}]", *lines]) + "\n", encoding="utf-8")
        added = [metadata, str(code)]
        sys.path[:0] = added
        registry.refresh_plugins()
        try:
            with plugins.forget_imports(code):
                yield plugins.normalize_name(project.name), sorted(project.entry_points)
        finally:
            sys.path[:] = [entry for entry in sys.path if entry not in added]
            registry.refresh_plugins()
