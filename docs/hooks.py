"""MkDocs hooks: plot every network that a page shows as plots/NAME.svg while the site is built."""

import re
from typing import Any

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
