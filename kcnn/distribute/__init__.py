"""Training on several devices and machines, with tf.distribute around Keras' fit: TensorFlow's alone.

Each public word is imported when it is first used, so that `launch` and `cluster` need no TensorFlow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kcnn.distribute.agreement import preflight
    from kcnn.distribute.batches import padded, predict, spread
    from kcnn.distribute.processes import launch
    from kcnn.distribute.strategies import KINDS, is_chief, place, plain, strategy, synchronize, together

__all__ = [
    "KINDS",
    "is_chief",
    "launch",
    "padded",
    "place",
    "plain",
    "predict",
    "preflight",
    "spread",
    "strategy",
    "synchronize",
    "together",
]

_HOME = {
    **dict.fromkeys(("KINDS", "is_chief", "place", "plain", "strategy", "synchronize", "together"), "strategies"),
    **dict.fromkeys(("padded", "predict", "spread"), "batches"),
    "preflight": "agreement",
    "launch": "processes",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'kcnn.distribute' has no attribute {name!r}")
    value = getattr(import_module(f"kcnn.distribute.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
