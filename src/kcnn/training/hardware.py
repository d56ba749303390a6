"""The device that trains or predicts, by name, and why a GPU of this machine is not used."""

import os
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import keras

from kcnn.distribute.machine import (
    ROOT,
    can_open_gpus,
    describe_cpu,
    list_driver_gpus,
    list_visible_gpus,
    summarize_names,
)
from kcnn.training import devices

_introduced: set[str] = set()  # devices


def list_backend_gpus() -> list[str]:
    """Return the names of the GPUs that the backend of Keras uses, or could use."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        return [str(one.get("device_name", "GPU")) for one in details]
    if backend == "jax":
        import jax

        return [device.device_kind for device in jax.local_devices() if device.platform != "cpu"]
    import torch

    if torch.backends.mps.is_available():
        return ["Apple GPU"]
    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]


def introduce_device(
    log: Callable[[str], None],
    strategy: Any = None,
    processes: int = 1,
    *,
    warn: Callable[[str], None] | None = None,
) -> None:
    """Log the device that computes, and why a GPU of this machine is not used, unless this process has done so.

    Args:
        log: Takes the device.
        strategy: As for describe_device.
        processes: As for describe_device.
        warn: Takes the reason; `log` where it is None.
    """
    text = f"device: {describe_device(strategy, processes)}"
    if text in _introduced:
        return
    _introduced.add(text)
    log(text)
    if reason := explain_unused_gpus():
        (warn or log)(reason)


def describe_device(strategy: Any = None, processes: int = 1) -> str:
    """Return the device of a strategy as text: "CPU (2 cores, oneDNN)", "8 x NVIDIA H100 (mirrored)".

    Args:
        strategy: Of tf.distribute; None for one device.
        processes: Processes that share all devices of this machine; with several, the strategy is that of each.
    """
    gpus, workers = list_backend_gpus(), devices.worker_position(strategy)[1]
    count = devices.count_replicas(strategy) // workers
    if processes > 1:
        return f"{summarize_names(gpus) or _describe_cpu()}, shared by {processes} processes"
    text = summarize_names(gpus[:count]) or (f"{count} x " if count > 1 else "") + _describe_cpu()
    name = devices.name_strategy(strategy)
    if name == "multiworker":
        return f"{workers} workers, each with {text} (multiworker)"
    if name == "mirrored":
        return f"{text} (mirrored)"
    return f"{text} (1 of {len(gpus)} GPUs)" if len(gpus) > 1 else text


def _describe_cpu() -> str:
    is_fast = keras.backend.backend() == "tensorflow" and os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "1"
    return describe_cpu(*(["oneDNN"] if is_fast else []))


def explain_unused_gpus(environment: Mapping[str, str] = os.environ, root: Path = ROOT) -> str | None:
    """Return why the backend uses no GPU although NVIDIA's driver sees one, and what to do.

    Args:
        environment: Environment variables.
        root: Folder of proc and dev.

    Returns:
        One line; None where the backend has a GPU, or the driver sees none.
    """
    if list_backend_gpus():
        return None
    names = list_driver_gpus(environment, root)
    if not names:
        return None
    subject = f"{summarize_names(names)} {'is' if len(names) == 1 else 'are'} not used"
    if "CUDA_VISIBLE_DEVICES" in environment and not list_visible_gpus(environment, root):
        return f"{subject}: CUDA_VISIBLE_DEVICES hides all GPUs; unset it to use them"
    if not can_open_gpus(environment, root):
        return f"{subject}: this process has no access to GPUs; start its container with GPUs, as docker run --gpus all"
    return f"{subject}: {_explain_backend(keras.backend.backend(), environment)}"


def _explain_backend(backend: str, environment: Mapping[str, str]) -> str:
    if backend == "tensorflow":
        import tensorflow as tf

        if sys.platform == "win32":
            return "TensorFlow has no GPU support on Windows; install kcnn[cuda] in WSL2"
        if not tf.test.is_built_with_cuda():
            return 'this TensorFlow is built without CUDA; replace it: pip install --force-reinstall "kcnn[cuda]"'
        if not _is_installed("nvidia-cudnn-cu12"):
            return 'TensorFlow does not find the CUDA libraries; install them: pip install "kcnn[cuda]"'
        test = 'python -c "import tensorflow as tf; tf.config.list_physical_devices()"'
        return f"TensorFlow cannot load the CUDA libraries that are installed; {test} shows its reason"
    if backend == "jax":
        if environment.get("JAX_PLATFORMS", "") == "cpu":
            return "JAX_PLATFORMS selects the CPU; unset it to use the GPU"
        if not any(_is_installed(f"jax-cuda{number}-plugin") for number in (12, 13)):
            return 'this JAX is built without CUDA; install its plugin: pip install "jax[cuda12]"'
        return "JAX cannot load CUDA; python -c \"import jax; jax.devices('cuda')\" shows its reason"
    import torch

    if torch.version.cuda is None:
        return "this PyTorch is built without CUDA; install one with CUDA: https://pytorch.org/get-started/locally"
    return 'PyTorch cannot use CUDA; python -c "import torch; torch.cuda.init()" shows its reason'


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
