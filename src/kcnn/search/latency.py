"""The latency of a trial's network: exported to LiteRT and run on this machine, as an export is verified."""

import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kcnn.export import export_model, load_exported
from kcnn.export.verification import TIMED, WARMUP, measure_latency


def check_runtime() -> None:
    """Refuse to measure where a network cannot be exported to LiteRT, or not be run.

    Raises:
        ImportError: LiteRT is not installed.
        ValueError: The backend is not TensorFlow.
    """
    if find_spec("ai_edge_litert") is None:
        raise ImportError('the objective -latency runs each network in LiteRT: pip install "kcnn[litert]"')
    if (backend := keras.backend.backend()) != "tensorflow":
        raise ValueError(f"the objective -latency exports each network to LiteRT with TensorFlow, got {backend}")


def measure_network(model: Any) -> float:
    """Return the median milliseconds of one image (batch 1) of a network in LiteRT's float32, on this machine.

    Args:
        model: The network, with any weights: they do not change which operations run.
    """
    shape = (WARMUP + TIMED, *model.input_shape[1:])
    images = np.random.default_rng(0).integers(0, 256, shape).astype("uint8")
    with tempfile.TemporaryDirectory() as folder:
        path = export_model(model, Path(folder) / "network", "litert")
        return measure_latency(load_exported(path, trust=True).run, images)
