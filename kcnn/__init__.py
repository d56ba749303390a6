"""Convolutional networks for Keras, built by name from small blocks, and measured on paper.

`import kcnn` loads nothing heavy: each public word is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kcnn.lazy import keep

if TYPE_CHECKING:
    from kcnn import blocks, ops
    from kcnn.architecture import Architecture, Layout, Weights
    from kcnn.deploy import deploy
    from kcnn.diff import diff
    from kcnn.drawing import draw, measure, patch, smallest_input
    from kcnn.models import build, load
    from kcnn.read import read
    from kcnn.registry import architecture, names, refresh
    from kcnn.sliding import sliding_window
    from kcnn.weights import load_weights

__version__ = "0.1.0"
__all__ = [
    "Architecture",
    "Layout",
    "Weights",
    "architecture",
    "blocks",
    "build",
    "deploy",
    "diff",
    "draw",
    "load",
    "load_weights",
    "measure",
    "names",
    "ops",
    "patch",
    "read",
    "refresh",
    "sliding_window",
    "smallest_input",
]

_HOME = {
    "Architecture": "kcnn.architecture",
    "Layout": "kcnn.architecture",
    "Weights": "kcnn.architecture",
    "architecture": "kcnn.registry",
    "build": "kcnn.models",
    "deploy": "kcnn.deploy",
    "diff": "kcnn.diff",
    "draw": "kcnn.drawing",
    "load": "kcnn.models",
    "measure": "kcnn.drawing",
    "load_weights": "kcnn.weights",
    "names": "kcnn.registry",
    "patch": "kcnn.drawing",
    "read": "kcnn.read",
    "refresh": "kcnn.registry",
    "sliding_window": "kcnn.sliding",
    "smallest_input": "kcnn.drawing",
}
_ROOMS = (
    "augment",
    "blocks",
    "data",
    "distribute",
    "figure",
    "freeze",
    "inspect",
    "lower",
    "ops",
    "pictures",
    "report",
    "runs",
    "search",
    "space",
    "training",
    "transfer",
    "weights",
)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    if name in _ROOMS:
        return import_module(f"kcnn.{name}")
    raise AttributeError(f"module 'kcnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})


keep(__name__, _HOME)
