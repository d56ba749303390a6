"""The templates of pages, and images embedded in them."""

import base64
from pathlib import Path
from typing import Any

import jinja2

import kcnn
from kcnn.graph.formatting import to_printable


def render(name: str, **values: Any) -> str:
    """Render a page by the name of its template."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: to_printable(value) if type(value) is str else value,
    )
    environment.filters["percent"] = lambda value: "–" if value is None else f"{100 * value:.2f}%"
    environment.filters["count"] = lambda value: f"{value:,}"
    environment.filters["points"] = lambda value: f"{value:+.2f}"
    return environment.get_template(name).render(version=kcnn.__version__, **values)


def embed_image_bytes(encoded: bytes, kind: str) -> str:
    """Return an encoded image as a data URL, which loads nothing.

    Args:
        encoded: The file's bytes.
        kind: Its format, "png" or "jpeg".
    """
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"
