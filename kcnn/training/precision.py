"""In which numbers a training computes: a dtype policy of Keras by word, for a time."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

PRECISIONS = ("auto", "float32", "mixed_float16", "mixed_bfloat16")


def resolve_policy(asked: str) -> str:
    """The policy that a word stands for: "auto" is the fastest that this machine computes well in.

    That is mixed_bfloat16 on GPUs that have it (compute capability 8 and higher), mixed_float16 on
    those from 7 on, else float32, which CPUs are fastest in. ValueError for another word.
    """
    if asked not in PRECISIONS:
        raise ValueError(f"precision is one of {', '.join(PRECISIONS)}, not {asked!r}")
    if asked != "auto":
        return asked
    capability = _capability()
    return "mixed_bfloat16" if capability >= 8 else "mixed_float16" if capability >= 7 else "float32"


def _capability() -> float:
    """The least compute capability of the GPUs here; 0 where there is none."""
    backend, found = keras.backend.backend(), [0.0]
    if backend == "tensorflow":
        import tensorflow as tf

        details = [tf.config.experimental.get_device_details(g) for g in tf.config.list_physical_devices("GPU")]
        found = [float("{}.{}".format(*one.get("compute_capability", (0, 0)))) for one in details]
    elif backend == "jax":
        import jax

        found = [float(getattr(one, "compute_capability", 0)) for one in jax.local_devices() if one.platform == "gpu"]
    elif backend == "torch":
        import torch

        found = [float("{}.{}".format(*torch.cuda.get_device_capability(i))) for i in range(torch.cuda.device_count())]
    return min(found, default=0.0)


@contextmanager
def apply_policy(name: str) -> Iterator[None]:
    """Layers made meanwhile have that dtype policy; then Keras' is what it was."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
