"""The templates of pages, and what they say of figures."""

import base64
from pathlib import Path
from typing import Any

import jinja2

import kcnn


def render(name: str, **words: Any) -> str:
    """A page by the name of its template."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    found.filters["percent"] = lambda value: "" if value is None else f"{100 * value:.2f} %"
    found.filters["count"] = lambda value: f"{value:,}"
    found.filters["points"] = lambda value: f"{value:+.2f}"
    return found.get_template(name).render(version=kcnn.__version__, **words)


def embed_png(picture: bytes, kind: str) -> str:
    """A picture as an address that asks for nothing."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
