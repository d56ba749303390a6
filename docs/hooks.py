"""MkDocs hooks: plot networks that pages show as plots/NAME.svg, and find public names in stub files."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File

import kcnn
from kcnn.plots import plot_network

REFERENCE = re.compile(r"\bplots/([\w.]+)\.svg")


def on_files(files: Any, config: Any) -> Any:
    """Add the plots to the files of the site."""
    names = {name for page in files.documentation_pages() for name in REFERENCE.findall(page.content_string)}
    for name in sorted(names):
        files.append(File.generated(config, f"plots/{name}.svg", content=plot_network(kcnn.trace(name))))
    return files


class Exports(griffe.Extension):
    """Griffe extension: what a stub file exports is public, as lazy_loader takes it."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Mark the names of every `__init__.pyi` in a package as exported."""
        for module in [pkg, *_submodules(pkg)]:
            stub = Path(str(module.filepath)).with_suffix(".pyi")
            if module.is_init_module and stub.exists():
                module.exports = [
                    name.asname
                    for node in ast.parse(stub.read_text()).body
                    if isinstance(node, ast.ImportFrom)
                    for name in node.names
                    if name.asname
                ]


def _submodules(module: griffe.Module) -> Iterator[griffe.Module]:
    for child in module.modules.values():
        if not child.is_alias:
            yield child
            yield from _submodules(child)
