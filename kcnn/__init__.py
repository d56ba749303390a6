"""Convolutional networks for Keras, built by name from small blocks, and measured on paper.

`import kcnn` loads nothing heavy: each public word is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kcnn.lazy import keep

if TYPE_CHECKING:
    from kcnn import blocks, ops
    from kcnn.architecture import Architecture, WeightMapping, Weights
    from kcnn.deploy import optimize_for_inference
    from kcnn.diff import diff
    from kcnn.drawing import trace, summary, with_overrides, min_input_size
    from kcnn.models import build, load_model
    from kcnn.read import from_keras
    from kcnn.registry import get_architecture, list_models, refresh_plugins
    from kcnn.sliding import sliding_window
    from kcnn.weights import load_weights

__version__ = "0.1.0"
__all__ = [
    "Architecture",
    "WeightMapping",
    "Weights",
    "get_architecture",
    "blocks",
    "build",
    "optimize_for_inference",
    "diff",
    "trace",
    "load_model",
    "load_weights",
    "summary",
    "list_models",
    "ops",
    "with_overrides",
    "from_keras",
    "refresh_plugins",
    "sliding_window",
    "min_input_size",
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
