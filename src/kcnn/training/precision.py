"""Mixed precision: the dtype policy of Keras that a run computes in."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from kcnn.distribute.machine import ROOT, list_cpu_features
from kcnn.graph.graph import Graph
from kcnn.graph.names import unknown
from kcnn.graph.ops import Conv, Depthwise
from kcnn.graph.summaries import summarize
from kcnn.training import devices
from kcnn.training.config import PRECISIONS

MIN_MACS = 100_000_000  # of an image, for bfloat16 on a CPU: less trains in minutes, and comparably on all processors


def resolve_policy(precision: str, graph: Graph | None, strategy: Any = None) -> str:
    """Return the dtype policy of a precision.

    Args:
        precision: The policy, or "auto": mixed_bfloat16 on GPUs with compute capability 8 and higher, mixed_float16
            from 7 on; without a GPU mixed_bfloat16 where `is_faster_in_bfloat16`; else float32.
        graph: The network, if it is trained from scratch and on this machine alone; None otherwise: then "auto" is
            float32 on CPUs.
        strategy: Of tf.distribute; None for one device. The processors of several workers can differ: "auto" is float32
            on their CPUs.

    Returns:
        The policy.

    Raises:
        UnknownNameError: The precision is unknown.
    """
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    if precision != "auto":
        return precision
    capabilities = _list_compute_capabilities()
    if not capabilities:
        is_alone = devices.worker_position(strategy)[1] == 1
        return "mixed_bfloat16" if is_alone and is_faster_in_bfloat16(graph) else "float32"
    capability = min(capabilities)
    return "mixed_bfloat16" if capability >= 8 else "mixed_float16" if capability >= 7 else "float32"


def is_faster_in_bfloat16(graph: Graph | None, environment: Mapping[str, str] = os.environ, root: Path = ROOT) -> bool:
    """Return whether the CPU trains a network faster in mixed_bfloat16, by benchmarks/precision.py.

    It must have AVX512_BF16, which TensorFlow uses by oneDNN, and the network at least 100 million multiply-accumulates
    an image, and no depthwise or grouped convolutions.

    Args:
        graph: As for resolve_policy.
        environment: Environment variables.
        root: Folder of proc.
    """
    has_onednn = environment.get("TF_ENABLE_ONEDNN_OPTS", "1").lower() not in ("0", "false")
    if graph is None or keras.backend.backend() != "tensorflow" or not has_onednn:
        return False
    if "avx512_bf16" not in list_cpu_features(root):
        return False
    summary = summarize(*graph.outputs.values())
    ops = [layer.op for layer in summary.layers]
    is_grouped = any(isinstance(op, Depthwise) or (isinstance(op, Conv) and op.groups > 1) for op in ops)
    return not is_grouped and summary.macs >= MIN_MACS


def _list_compute_capabilities() -> list[float]:
    """The compute capability of each GPU; 0 for one that has none."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        details = [tf.config.experimental.get_device_details(g) for g in tf.config.list_physical_devices("GPU")]
        return [float("{}.{}".format(*one.get("compute_capability", (0, 0)))) for one in details]
    if backend == "jax":
        import jax

        gpus = [device for device in jax.local_devices() if device.platform == "gpu"]
        return [float(getattr(gpu, "compute_capability", 0)) for gpu in gpus]
    if backend == "torch":
        import torch

        gpus = list(range(torch.cuda.device_count()))
        return [float("{}.{}".format(*torch.cuda.get_device_capability(gpu))) for gpu in gpus]
    return []


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
