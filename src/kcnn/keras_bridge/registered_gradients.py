"""Custom gradients that TensorFlow registers while it traces, and keeps until the process ends."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

_lock = threading.Lock()
_known: list[frozenset[str]] = []  # names before, one for each call that is running


@contextmanager
def release_functions() -> Iterator[None]:
    """Let TensorFlow release the models that are trained meanwhile.

    TensorFlow keeps every custom gradient, such as that of silu, and the traced graph that it belongs to, until the
    process ends. Of calls in several threads the last one releases what all of them registered, since another may still
    trace.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    from tensorflow.python.framework.ops import gradient_registry

    gradients: dict[str, Any] = gradient_registry._registry
    with _lock:
        _known.append(_known[0] if _known else frozenset(gradients))
    try:
        yield
    finally:
        with _lock:
            before = _known.pop()
            if not _known:
                for name in [one for one in gradients if one.startswith("CustomGradient-") and one not in before]:
                    del gradients[name]
