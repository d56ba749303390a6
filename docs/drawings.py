"""A hook of MkDocs: every drawings/NAME.svg that a page shows is drawn while the site is built."""

import re
from typing import Any

from mkdocs.structure.files import File

import kcnn
from kcnn.plots.network import plot_network

SHOWN = re.compile(r"\bdrawings/([\w.]+)\.svg")


def on_files(files: Any, config: Any) -> Any:
    """Add the drawings to the site's files."""
    names = {name for page in files.documentation_pages() for name in SHOWN.findall(page.content_string)}
    for name in sorted(names):
        files.append(File.generated(config, f"drawings/{name}.svg", content=plot_network(kcnn.trace(name))))
    return files
