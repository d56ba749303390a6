"""A headless Chromium, where one is installed."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@contextmanager
def opened(page: Path, width: int, scheme: str) -> Iterator[Any]:
    """A tab with the page in it, which at its end has said and asked for nothing, and fits its window."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as browser:
        window = browser.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = window.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        said: list[str] = []
        tab.on("console", lambda message: None if "GL Driver Message" in message.text else said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda asked: said.append(asked.url) if asked.url[:4] == "http" else None)
        tab.goto(page.resolve().as_uri())
        yield tab
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, "something sticks out of the page"
        assert not said, said
        window.close()
