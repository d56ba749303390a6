"""The templates of pages, and images embedded in them."""

import base64
import re
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

import kcnn
from kcnn.graph.formatting import to_printable

HEADING = re.compile(r'<h[23] id="(h-[\w-]+)">(.*?)</h[23]>')


def render(name: str, **values: Any) -> str:
    """Render a page by the name of its template."""
    return _add_contents(_create_environment().get_template(name).render(version=kcnn.__version__, **values))


@cache  # it keeps compiled templates
def _create_environment() -> jinja2.Environment:
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
    environment.filters["area"] = lambda value: "–" if value is None else f"{value:.4f}"
    return environment


def _add_contents(page: str) -> str:
    """Fill the empty <nav> with a link to each heading that has an id."""
    links = "".join(f'<a href="#{name}">{text}</a>' for name, text in HEADING.findall(page))
    return page.replace("<nav></nav>", f'<nav aria-label="Contents">{links}</nav>', 1)


def embed_image_bytes(encoded: bytes, kind: str) -> str:
    """Return an encoded image as a data URL, which loads nothing.

    Args:
        encoded: The file's bytes.
        kind: Its format, "png" or "jpeg".
    """
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"
