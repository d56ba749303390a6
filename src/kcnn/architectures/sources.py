"""Networks of a Python file or module that the user names: "my_net.py:net", "my_package.nets:net"."""

import contextlib
import hashlib
import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from kcnn.architectures import plugins
from kcnn.architectures.architecture import Architecture
from kcnn.cache import cache_folder
from kcnn.graph.names import UnknownNameError, unknown

PREFIX = "kcnn_source_"  # of the modules that files are loaded as


@dataclass(frozen=True)
class Source:
    """Hold where an architecture is defined.

    Attributes:
        file: The Python file.
        module: The module, where it is named by that; "" for a file.
        path: Name of the architecture in it, and the variant: "net" or "net.bn".
    """

    file: Path
    module: str
    path: str

    @property
    def name(self) -> str:
        """What finds it again from any folder: "/home/me/my_net.py:net" or "my_package.nets:net"."""
        return f"{self.module or self.file.resolve()}:{self.path}"

    @property
    def checksum(self) -> str:
        """A hash of the file; what it imports counts in the `graph_hash` of a request."""
        return hashlib.blake2b(self.file.read_bytes(), digest_size=8).hexdigest()


def find_source(name: str) -> Source | None:
    """Find the file or module of a network.

    Args:
        name: A network, such as "my_net.py:net".

    Returns:
        The source, whether or not its file exists; None where the name names no file and no module.
    """
    target, _, path = name.rpartition(":")
    if target.endswith(".py"):
        return Source(Path(target).expanduser(), "", path)
    file = _find_module(target) if target else None
    return Source(file, target, path) if file else None


def _find_module(name: str) -> Path | None:
    """The file of a module. Unlike importlib.util.find_spec this imports no package above it."""
    path, spec = None, None
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        full = ".".join(parts[:count])
        found = (finder.find_spec(full, path) for finder in sys.meta_path)
        spec = next(filter(None, found), None)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def load_source(source: Source, recorded: str | None = None) -> Architecture:
    """Load an architecture from its file or module, which runs the code there.

    Args:
        source: The source.
        recorded: The checksum in a saved request or model; None where the user has named the source. Code that only a
            saved file names runs if the user has run it before, unchanged.

    Returns:
        The architecture, with the variant applied.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: The code fails, has changed since it was recorded, or was never run by the user.
        UnknownNameError: It defines no such architecture or variant.
        TypeError: The name is of something other than an Architecture.
    """
    if not source.file.is_file():
        text = f"file not found: {source.file}, which defines the network {source.path!r}"
        raise FileNotFoundError(text) if recorded is None else ImportError(text)
    checksum = source.checksum
    if recorded is None:
        _remember(checksum)
    elif recorded != checksum:
        raise ImportError(f"{source.file} has changed: its checksum is {checksum}, recorded {recorded}; restore it")
    elif not _mark(checksum).exists():
        raise ImportError(
            f"the network is defined in {source.file}, which you have not run: loading a file runs no code. If you "
            f"trust that code, run it once by `kcnn summary {source.name}`"
        )
    module = _import(source, checksum)
    name, _, variant = source.path.partition(".")
    known = [key for key, value in vars(module).items() if isinstance(value, Architecture)]
    if name not in vars(module):
        raise unknown("network", name, known, str(source.file))
    architecture = getattr(module, name)
    if not isinstance(architecture, Architecture):
        raise TypeError(f"{name} of {source.file} must be a kcnn.Architecture, got {type(architecture).__name__}")
    try:
        return architecture.variant(variant) if variant else architecture
    except UnknownNameError as error:
        raise UnknownNameError(f"{source.file}: {name}: {error}") from None


def _import(source: Source, checksum: str) -> Any:
    name = source.module or f"{PREFIX}{source.file.stem}_{checksum}"
    if name in sys.modules:
        return sys.modules[name]
    return plugins.run_isolated(str(source.file), name, lambda: _run(source, name))


def _run(source: Source, name: str) -> Any:
    if source.module:
        return import_module(name)
    spec = spec_from_file_location(name, source.file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)
    folder = source.file.resolve().parent  # it may import its neighbors
    sys.path.insert(0, str(folder))
    try:
        with plugins.forget_imports(folder):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(folder))
    return module


def find_definition(architecture: Architecture) -> Source | None:
    """Find the module in which an architecture is defined at the top level; None in a notebook or a function.

    Args:
        architecture: The architecture.

    Returns:
        Its source.
    """
    own = getattr(architecture.builders[0], "__module__", "")  # most often that of its first function
    for module_name in sorted(sys.modules, key=lambda name: name != own):
        module = sys.modules[module_name]
        file = getattr(module, "__file__", None) or ""
        if not file.endswith(".py"):
            continue
        for name, value in list(vars(module).items()):
            if value is architecture:
                is_file = module_name == "__main__" or module_name.startswith(PREFIX)
                source = Source(Path(file), "" if is_file else module_name, name)
                _remember(source.checksum)
                return source
    return None


def _mark(checksum: str) -> Path:
    """The empty file that marks code as run by the user."""
    return cache_folder() / "sources" / checksum


def _remember(checksum: str) -> None:
    with contextlib.suppress(OSError):  # without the mark, only loading what was saved is refused
        _mark(checksum).parent.mkdir(parents=True, exist_ok=True)
        _mark(checksum).touch()
