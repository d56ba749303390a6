"""Run exported files on images in their own runtimes, beside the Keras model they came from."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import keras
import numpy as np

from kcnn import classification
from kcnn.export.runtimes import load_exported
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_keywords, wrong_kind
from kcnn.keras_bridge.probabilities import compute_probabilities
from kcnn.statistics import PairedDifference, compare_predictions

WARMUP, TIMED = 3, 50  # images of the latency measurement
Run = Callable[[np.ndarray], np.ndarray]  # uint8 pixels (n, rows, columns, channels) to probabilities (n, classes)


@check_keywords
@dataclass(frozen=True)
class ExportCheck:
    """The size, accuracy and latency of a model on labeled images.

    Attributes:
        name: Of the file or format.
        bytes: Its size.
        images: Images it was run on.
        accuracy: Fraction of the images whose class, or every label, is correct.
        agreement: Fraction of the images with the prediction of the Keras model.
        latency_ms: Median milliseconds of one image (batch 1).
        difference: By how many percentage points it is more accurate than the Keras model; None for that model.
    """

    name: str
    bytes: int
    images: int
    accuracy: float
    agreement: float
    latency_ms: float
    difference: PairedDifference | None = None


@check_arguments
def verify_exports(
    files: Mapping[str, Path], model: keras.Model, model_path: Path, batches: Iterable[Any]
) -> list[ExportCheck]:
    """Run a Keras model and the files that were exported from it on the same images.

    Latencies are those of this machine, with as many threads as each runtime chooses.

    Args:
        files: Exported files by name.
        model: The model of kcnn that they came from.
        model_path: The file that it was loaded from.
        batches: (pixels, labels), such as the test split of an ImageDataset.

    Returns:
        A row for the Keras model, then one for each file.

    Raises:
        ValueError: A runtime cannot run a file.
    """
    candidates = _list_candidates(files, model, model_path)
    truth, predictions, timed = _predict(candidates, batches, model.metadata)
    reference = predictions[model_path.name]
    differences = _compare(files, truth, predictions, reference)
    return [
        ExportCheck(
            name=name,
            bytes=_count_bytes(file),
            images=len(truth),
            accuracy=float(np.mean(classification.is_correct(predictions[name], truth))),
            agreement=float(np.mean(classification.is_correct(predictions[name], reference))),
            latency_ms=measure_latency(run, timed),
            difference=differences.get(name),
        )
        for name, file, run in candidates
    ]


@check_arguments
def compare_exports(
    files: Mapping[str, Path], model: keras.Model, model_path: Path, batches: Iterable[Any]
) -> dict[str, PairedDifference]:
    """Return how much more accurate exported files are than the Keras model that they came from, on the same images.

    Args:
        files: Exported files by name.
        model: The model of kcnn that they came from.
        model_path: The file that it was loaded from.
        batches: (pixels, labels), of images that are not for testing where the differences decide anything.

    Returns:
        The difference of each file; below 0 for one that is less accurate.

    Raises:
        ValueError: A runtime cannot run a file.
    """
    truth, predictions, _ = _predict(_list_candidates(files, model, model_path), batches, model.metadata)
    return _compare(files, truth, predictions, predictions[model_path.name])


def _compare(
    names: Iterable[str], truth: np.ndarray, predictions: Mapping[str, np.ndarray], reference: np.ndarray
) -> dict[str, PairedDifference]:
    """The differences of accuracy from a reference, by name."""
    baseline = classification.is_correct(reference, truth)
    return {name: compare_predictions(classification.is_correct(predictions[name], truth), baseline) for name in names}


def _list_candidates(files: Mapping[str, Path], model: Any, model_path: Path) -> list[tuple[str, Path, Run]]:
    """The Keras model and the files by name, and how each is run."""

    def run_keras(images: np.ndarray) -> np.ndarray:
        return compute_probabilities(model, model.predict_on_batch(images), model.metadata)

    exported = [(name, file, load_exported(file, trust=True).run) for name, file in files.items()]
    return [(model_path.name, model_path, run_keras), *exported]


def _predict(
    candidates: Sequence[tuple[str, Path, Run]], batches: Iterable[Any], metadata: Mapping[str, Any]
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """The labels of all images, what each candidate predicts, and the first images."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name, *_ in candidates}
    labels: list[np.ndarray] = []
    first: list[np.ndarray] = []
    for batch in batches:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise wrong_kind("each of batches", "a pair (pixels, labels)", batch)
        pixels, batch_labels = batch
        images = np.round(keras.ops.convert_to_numpy(pixels)).astype("uint8")
        labels.append(keras.ops.convert_to_numpy(batch_labels))
        for name, _, run in candidates:
            parts[name].append(classification.predict_labels(np.asarray(run(images)), metadata))
        first.extend(images[: WARMUP + TIMED - len(first)])
    if not labels:
        raise ValueError("batches must hold at least one batch (pixels, labels), got none")
    return np.concatenate(labels), {name: np.concatenate(each) for name, each in parts.items()}, np.stack(first)


def _count_bytes(path: Path) -> int:
    files = [one for one in path.rglob("*") if one.is_file()] if path.is_dir() else [path]
    return sum(one.stat().st_size for one in files)


def measure_latency(run: Run, images: np.ndarray) -> float:
    """Return the median milliseconds of one image, after the first few have warmed the runtime up.

    Args:
        run: Takes uint8 pixels (n, rows, columns, channels).
        images: Pixels of WARMUP + TIMED images.
    """
    times = []
    for image in images:
        start = time.perf_counter()
        run(image[None])
        times.append(1e3 * (time.perf_counter() - start))
    return median(times[WARMUP:] or times)
