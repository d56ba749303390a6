"""Where kcnn keeps files between processes: downloads, and which source files the user has run."""

import os
from pathlib import Path

from platformdirs import user_cache_dir


def cache_folder() -> Path:
    """Return the folder for downloads: `KCNN_CACHE`, or the one that the operating system has for caches."""
    return Path(os.environ.get("KCNN_CACHE") or user_cache_dir("kcnn", appauthor=False)).expanduser()
