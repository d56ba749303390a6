"""Keras' backends: refuse one that is unknown or not installed, before Keras does so without the choices."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from kcnn.atomic_io import parse_json
from kcnn.graph.names import unknown

INSTALL = {"tensorflow": "tensorflow", "jax": "kcnn[jax]", "torch": "kcnn[torch]"}  # what pip installs
OTHERS = ("numpy", "openvino")  # Keras has them too; they do not train


def check_backend() -> str:
    """Check that Keras will find its backend.

    Returns:
        The backend's name.

    Raises:
        UnknownNameError: KERAS_BACKEND, or Keras' own keras.json, has another name.
        ImportError: The backend is not installed; the message has the command that installs it.
    """
    if "keras" in sys.modules:
        return sys.modules["keras"].backend.backend()
    backend, where = os.environ.get("KERAS_BACKEND"), "KERAS_BACKEND"
    if not backend:
        backend, where = _read_config(_config_file()), str(_config_file())
    if backend not in (*INSTALL, *OTHERS):
        raise unknown("Keras backend", backend, INSTALL, where)
    if backend in INSTALL and not find_spec(backend):
        raise ImportError(
            f"{where}: the Keras backend {backend!r} is not installed; "
            f'run `pip install "{INSTALL[backend]}"`, or choose another: {", ".join(INSTALL)}'
        )
    return backend


def _config_file() -> Path:
    """The file in which Keras keeps its settings."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    return home.expanduser() / "keras.json"


def _read_config(file: Path) -> str:
    try:
        return str(parse_json(file.read_text()).get("backend", "tensorflow"))
    except (OSError, ValueError, AttributeError):  # Keras takes its defaults then
        return "tensorflow"
