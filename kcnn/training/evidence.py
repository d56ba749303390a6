"""Evidence of a test for reports: the logits of every image, and thumbnails of the most informative ones."""

import heapq
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
from PIL import Image

from kcnn import statistics
from kcnn.atomic_io import replace_atomically
from kcnn.keras_bridge.untrusted_files import check_archive

FILE = "test.npz"
THUMBNAIL_SIZE = 96  # pixels of the longer side
PER_CELL, MAX_SAMPLES = 12, 480  # thumbnails of each cell of the confusion matrix, and in all
MAX_MISTAKES = 12  # most confident errors that are kept at the network's input size


@dataclass(frozen=True)
class ImageSample:
    """Hold a test image to show.

    Attributes:
        index: Its position in the split.
        truth: Its class; -1 for multi-label data.
        predicted: The predicted class; 0 or 1 for multi-label data.
        confidence: Probability of the prediction.
        correct: Whether the prediction is correct.
        jpeg: A thumbnail.
    """

    index: int
    truth: int
    predicted: int
    confidence: float
    correct: bool
    jpeg: bytes


@dataclass(frozen=True)
class TestEvidence:
    """Hold the logits of the test split, and the images to show.

    Attributes:
        logits: (images, classes), in the order of the split.
        truth: Labels.
        samples: Images to show.
        mistakes: Pixels of the most confident errors, the most confident first.
    """

    logits: np.ndarray
    truth: np.ndarray
    samples: Sequence[ImageSample] = ()
    mistakes: np.ndarray = field(default_factory=lambda: np.zeros((0, 1, 1, 1), "uint8"))


def gather_evidence(model: Any, batches: Any, metadata: Mapping[str, Any]) -> TestEvidence:
    """Predict the test batches in one pass, and select the images to show.

    Args:
        model: The model.
        batches: (images, labels) of the test split.
        metadata: Of the model.

    Returns:
        The evidence.
    """
    logits, truth = [], []
    cells: dict[tuple[int, int], list[Any]] = {}
    errors: list[Any] = []
    index = 0
    for images, labels in batches:
        pixels = np.asarray(images)  # Keras on JAX takes no TensorFlow tensors
        logits.append(np.asarray(model.predict_on_batch(pixels)))
        truth.append(keras.ops.convert_to_numpy(labels))
        probabilities = statistics.to_probabilities(logits[-1], metadata)
        predicted = statistics.predict_labels(probabilities, metadata)
        correct = statistics.is_correct(predicted, truth[-1])
        is_single_label = predicted.ndim == 1
        if metadata.get("multi_label"):
            confidence = np.maximum(probabilities, 1 - probabilities).min(axis=-1)
        else:
            confidence = probabilities.max(axis=-1)
        for row in range(len(pixels)):
            cell = (int(truth[-1][row]), int(predicted[row])) if is_single_label else (-1, int(correct[row]))
            image = (float(confidence[row]), -index, bool(correct[row]), pixels[row])
            _push(cells.setdefault(cell, []), image, PER_CELL if is_single_label else 5 * PER_CELL)
            if not correct[row]:
                _push(errors, image, MAX_MISTAKES)
            index += 1
    candidates = sorted(
        ((*image, cell) for cell, heap in cells.items() for image in heap),
        key=lambda image: (image[2], -image[0], -image[1]),  # errors first, then by confidence
    )
    samples = [
        ImageSample(-negative_index, cell[0], cell[1], confidence, correct, _thumbnail(pixels))
        for confidence, negative_index, correct, pixels, cell in candidates[:MAX_SAMPLES]
    ]
    mistakes = [image[3] for image in sorted(errors, key=lambda image: (-image[0], -image[1]))]
    return TestEvidence(
        np.concatenate(logits),
        np.concatenate(truth),
        samples,
        np.stack(mistakes).clip(0, 255).astype("uint8") if mistakes else np.zeros((0, 1, 1, 1), "uint8"),
    )


def _push(heap: list[Any], image: tuple[float, int, bool, Any], size: int) -> None:
    """Push an image on a heap of the most confident; no two have the same index, so pixels are never compared."""
    if len(heap) < size:
        heapq.heappush(heap, image)
    else:
        heapq.heappushpop(heap, image)


def _thumbnail(pixels: np.ndarray) -> bytes:
    """A small JPEG of an image (rows, columns, channels), 0..255; the mean of channels unless there are 3."""
    rows, columns = pixels.shape[:2]
    scale = THUMBNAIL_SIZE / max(rows, columns)
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    values = pixels if pixels.shape[-1] == 3 else pixels.mean(axis=-1)
    small = cv2.resize(np.ascontiguousarray(values, "float32"), size, interpolation=cv2.INTER_AREA)
    buffer = io.BytesIO()
    Image.fromarray(small.clip(0, 255).astype("uint8")).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def save_evidence(out: Path, evidence: TestEvidence) -> None:
    """Write test.npz: arrays alone, so that reading it runs no code."""
    samples = evidence.samples
    with replace_atomically(out / FILE) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            logits=evidence.logits.astype("float32"),
            truth=evidence.truth,
            samples=np.array([(s.index, s.truth, s.predicted, s.correct) for s in samples], "int64").reshape(-1, 4),
            confidences=np.array([s.confidence for s in samples], "float32"),
            lengths=np.array([len(s.jpeg) for s in samples], "int64"),
            jpegs=np.frombuffer(b"".join(s.jpeg for s in samples), "uint8"),
            mistakes=evidence.mistakes,
        )


def read_evidence(folder: Path) -> TestEvidence | None:
    """Read what save_evidence wrote.

    Args:
        folder: Folder of the run.

    Returns:
        The evidence; None if there is no test.npz.

    Raises:
        ValueError: The file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            check_archive(archive, path.stat().st_size)
        with np.load(path, allow_pickle=False) as arrays:
            evidence = _read_arrays(arrays)
        if problem := _find_problem(evidence):
            raise ValueError(problem)
        return evidence
    except Exception as error:  # zipfile, zlib and NumPy each have their own for a file that is garbled
        raise ValueError(
            f"{path} is damaged ({str(error) or type(error).__name__}); train again, or remove it"
        ) from error


def _read_arrays(arrays: Mapping[str, np.ndarray]) -> TestEvidence:
    ends = np.cumsum(arrays["lengths"])
    content = arrays["jpegs"].tobytes()
    jpegs = [content[end - length : end] for end, length in zip(ends, arrays["lengths"], strict=True)]
    samples = [
        ImageSample(int(index), int(truth), int(predicted), float(confidence), bool(correct), jpeg)
        for (index, truth, predicted, correct), confidence, jpeg in zip(
            arrays["samples"], arrays["confidences"], jpegs, strict=True
        )
    ]
    return TestEvidence(arrays["logits"], arrays["truth"], samples, arrays["mistakes"])


def _find_problem(evidence: TestEvidence) -> str:
    """What does not fit together in evidence that was read from a file; empty where all does."""
    logits, truth, mistakes = evidence.logits, evidence.truth, evidence.mistakes
    if logits.ndim != 2 or logits.dtype != np.float32:
        return f"its logits are {logits.dtype}{list(logits.shape)}"
    images, classes = logits.shape
    if truth.dtype.kind not in "iufb" or truth.shape not in ((images,), (images, classes)):
        return f"it has the logits of {images} images, and labels of the shape {list(truth.shape)}"
    if truth.ndim == 1 and not ((truth >= 0) & (truth < classes)).all():
        return f"it has labels that are none of {classes} classes"
    if mistakes.ndim != 4 or mistakes.dtype != np.uint8:
        return f"its images are {mistakes.dtype}{list(mistakes.shape)}"
    for sample in evidence.samples:
        if not (
            0 <= sample.index < images and -1 <= sample.truth < classes and 0 <= sample.predicted < max(2, classes)
        ):
            return f"it has an image {sample.index} of class {sample.truth}, predicted as {sample.predicted}"
    return ""
