"""Exported files, run on images by their own runtime, and the Keras model they came from beside them."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import keras
import numpy as np

from kcnn import statistics
from kcnn.export.runtimes import load_exported

WARM, TIMED = 3, 50  # images that are run alone
Run = Callable[[np.ndarray], np.ndarray]  # uint8 pixels (n, rows, columns, channels) to probabilities (n, classes)


@dataclass(frozen=True)
class ExportCheck:
    """How large a model is, and what it does on labelled images."""

    name: str
    bytes: int
    images: int
    accuracy: float  # share of the images of which the class, or every label, is right
    agreement: float  # share of the images with the answer of the Keras model
    milliseconds: float  # an image alone, the median


def verify_exports(
    files: Iterable[tuple[str, Path]], model: Any, path: Path, batches: Iterable[Any]
) -> list[ExportCheck]:
    """A Keras model of kcnn's, saved at `path`, and files exported from it, on every image of batches (pixels, labels).

    Latencies are of this machine, with as many threads as each runtime takes by itself.
    """
    card = model.metadata

    def keras_says(images: np.ndarray) -> np.ndarray:
        return statistics.to_probabilities(model.predict_on_batch(images), card)

    named: list[tuple[str, Path, Run]] = [(path.name, path, keras_says)]
    named += [(name, file, load_exported(file).run) for name, file in files]
    said: dict[str, list[np.ndarray]] = {name: [] for name, *_ in named}
    truth, alone = [], np.zeros((0, *model.input_shape[1:]), "uint8")
    for pixels, labels in batches:
        images = np.round(keras.ops.convert_to_numpy(pixels)).astype("uint8")
        truth.append(keras.ops.convert_to_numpy(labels))
        for name, _, run in named:
            said[name].append(statistics.predict_labels(np.asarray(run(images)), card))
        alone = np.concatenate([alone, images[: WARM + TIMED - len(alone)]])
    labels, each = np.concatenate(truth), {name: np.concatenate(parts) for name, parts in said.items()}
    wanted = each[path.name]
    return [
        ExportCheck(
            name=name,
            bytes=_bytes(file),
            images=len(labels),
            accuracy=float(np.mean(statistics.is_correct(each[name], labels))),
            agreement=float(np.mean(statistics.is_correct(each[name], wanted))),
            milliseconds=_milliseconds(run, alone),
        )
        for name, file, run in named
    ]


def _bytes(path: Path) -> int:
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file()) if path.is_dir() else path.stat().st_size


def _milliseconds(run: Run, images: np.ndarray) -> float:
    """The median time of one image alone, once the first few have warmed the runtime up."""
    taken = []
    for one in images:
        begun = time.perf_counter()
        run(one[None])
        taken.append(1e3 * (time.perf_counter() - begun))
    return median(taken[WARM:] or taken)
