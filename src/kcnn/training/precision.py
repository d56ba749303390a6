"""Mixed precision: the dtype policy of Keras that a run computes in."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from kcnn.graph.names import unknown
from kcnn.training.config import PRECISIONS


def resolve_policy(precision: str) -> str:
    """Return the dtype policy of a precision.

    Args:
        precision: The policy, or "auto": mixed_bfloat16 on GPUs with compute capability 8 and higher, mixed_float16
            from 7 on, else float32.

    Returns:
        The policy.

    Raises:
        UnknownNameError: The precision is unknown.
    """
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    if precision != "auto":
        return precision
    capability = _compute_capability()
    return "mixed_bfloat16" if capability >= 8 else "mixed_float16" if capability >= 7 else "float32"


def _compute_capability() -> float:
    """The lowest compute capability of the GPUs; 0 without a GPU."""
    backend, capabilities = keras.backend.backend(), [0.0]
    if backend == "tensorflow":
        import tensorflow as tf

        details = [tf.config.experimental.get_device_details(g) for g in tf.config.list_physical_devices("GPU")]
        capabilities = [float("{}.{}".format(*one.get("compute_capability", (0, 0)))) for one in details]
    elif backend == "jax":
        import jax

        gpus = [device for device in jax.local_devices() if device.platform == "gpu"]
        capabilities = [float(getattr(gpu, "compute_capability", 0)) for gpu in gpus]
    elif backend == "torch":
        import torch

        gpus = list(range(torch.cuda.device_count()))
        capabilities = [float("{}.{}".format(*torch.cuda.get_device_capability(gpu))) for gpu in gpus]
    return min(capabilities, default=0.0)


@contextmanager
def apply_policy(name: str) -> Iterator[None]:
    """Set Keras' global dtype policy meanwhile.

    Args:
        name: The policy.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
