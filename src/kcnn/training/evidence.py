"""Evidence of a test for reports: the logits of every image, and thumbnails of test and training images."""

import io
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from kcnn import classification
from kcnn.atomic_io import replace_atomically
from kcnn.data import ImageDataset
from kcnn.data.source_splits import TEST, TRAIN
from kcnn.data.splits import Split
from kcnn.keras_bridge.untrusted_files import check_archive

FILE = "test.npz"
DRAWN, EXAMPLES = "drawn_", "example_"  # of the names of arrays
THUMBNAIL_SIZE, QUALITY = 160, 75  # pixels of the longer side, and of the JPEG; smaller images keep their size
TINY = 64  # pixels of the longer side, below which no detail is lost
PER_CELL, MAX_SAMPLES = 12, 480  # thumbnails of each cell of the confusion matrix, and in all
MAX_BYTES = 1_500_000  # of all thumbnails of the cells
MAX_MISTAKES = 12  # most confident errors that are kept at the network's input size
MAX_DRAWN = 24  # test images that are drawn at random
MAX_EXAMPLES, PER_CLASS = 96, 8  # training images in all, and of each class


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
class ImageExample:
    """Hold a training image to show.

    Attributes:
        index: Its position in the split.
        label: Its class; for multi-label data the one that it is shown for.
        jpeg: A thumbnail.
    """

    index: int
    label: int
    jpeg: bytes


@dataclass(frozen=True)
class TestEvidence:
    """Hold the logits of the test split, and the images to show.

    Attributes:
        logits: (images, classes), in the order of the split.
        truth: Labels.
        samples: Errors and the most confident predictions, errors first.
        mistakes: Pixels of the most confident errors, the most confident first.
        drawn: Test images that are drawn at random, in the order of the split.
        examples: Training images, by class.
    """

    logits: np.ndarray
    truth: np.ndarray
    samples: Sequence[ImageSample] = ()
    mistakes: np.ndarray = field(default_factory=lambda: np.zeros((0, 1, 1, 1), "uint8"))
    drawn: Sequence[ImageSample] = ()
    examples: Sequence["ImageExample"] = ()


def compute_scores(model: Any, batches: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits (images, classes) and labels of every image of a split.

    Args:
        model: The model.
        batches: (images, labels).

    Returns:
        Logits and labels, in the order of the batches.
    """
    import keras

    logits, truth = [], []
    for images, labels in batches:
        logits.append(
            np.asarray(model.predict_on_batch(np.asarray(images)))
        )  # Keras on JAX takes no TensorFlow tensors
        truth.append(keras.ops.convert_to_numpy(labels))
    return np.concatenate(logits), np.concatenate(truth)


def gather_evidence(model: Any, data: ImageDataset, metadata: Mapping[str, Any]) -> TestEvidence:
    """Predict the test split in one pass, and read the images to show, which are few, once more.

    Args:
        model: The model.
        data: The data.
        metadata: Of the model.

    Returns:
        The evidence.
    """
    logits, truth = compute_scores(model, data.test)
    probabilities = classification.to_probabilities(logits, metadata)
    predicted = classification.predict_labels(probabilities, metadata)
    correct = classification.is_correct(predicted, truth)
    if metadata.get("multi_label"):
        confidence = np.maximum(probabilities, 1 - probabilities).min(axis=-1)
        cells = [(-1, int(one)) for one in correct]
        per_cell = 5 * PER_CELL
    else:
        confidence = probabilities.max(axis=-1)
        cells = [(int(true), int(label)) for true, label in zip(truth, predicted, strict=True)]
        per_cell = PER_CELL
    ranking = np.lexsort((np.arange(len(truth)), -confidence, correct)).tolist()  # errors first, then by confidence
    counts = Counter[tuple[int, int]]()
    shown: list[int] = []
    for index in ranking:
        if counts[cells[index]] < per_cell and len(shown) < MAX_SAMPLES:
            counts[cells[index]] += 1
            shown.append(index)
    mistakes = [index for index in ranking[:MAX_MISTAKES] if not correct[index]]
    drawn = np.sort(np.random.default_rng(0).permutation(len(truth))[:MAX_DRAWN]).tolist()
    jpegs, pixels = _read_images(data, sorted({*shown, *drawn}), mistakes)

    def make_sample(index: int) -> ImageSample:
        return ImageSample(index, *cells[index], float(confidence[index]), bool(correct[index]), jpegs[index])

    sizes = np.cumsum([len(jpegs[index]) for index in shown])
    fitting = int(np.searchsorted(sizes, MAX_BYTES, side="right"))
    return TestEvidence(
        logits,
        truth,
        [make_sample(index) for index in shown[:fitting]],
        pixels,
        [make_sample(index) for index in drawn],
        _select_examples(data.splits[TRAIN], len(data.classes)),
    )


def _read_images(
    data: ImageDataset, indices: Sequence[int], mistakes: Sequence[int]
) -> tuple[dict[int, bytes], np.ndarray]:
    """Thumbnails of some test images by index, and the pixels of some of these."""
    test = data.splits[TEST]
    chosen = test.take(test.decodable[list(indices)])
    jpegs: dict[int, bytes] = {}
    pixels: dict[int, np.ndarray] = {}
    numbers = iter(indices)
    for images, _ in replace(data, splits={**data.splits, TEST: chosen}).test:
        for image in np.asarray(images):
            index = next(numbers)
            jpegs[index] = _thumbnail(image)
            if index in mistakes:
                pixels[index] = image.clip(0, 255).astype("uint8")
    return jpegs, np.stack([pixels[i] for i in mistakes]) if mistakes else np.zeros((0, 1, 1, 1), "uint8")


def _select_examples(split: Split, classes: int) -> list[ImageExample]:
    """Training images of each class, evenly spaced in the split; of many classes, some."""
    shown = np.unique(np.linspace(0, classes - 1, min(classes, MAX_EXAMPLES)).round().astype(int)).tolist()
    each = min(PER_CLASS, MAX_EXAMPLES // len(shown))
    labels, decodable = split.labels, split.decodable
    examples = []
    for label in shown:
        is_label = labels[decodable] == label if labels.ndim == 1 else labels[decodable, label] == 1
        members = decodable[is_label]
        chosen = members[np.unique(np.linspace(0, len(members) - 1, min(each, len(members))).round().astype(int))]
        for position in chosen:
            pixels, _ = split.read_decodable(np.array([position]))
            examples += [ImageExample(int(position), label, _thumbnail(image)) for image in pixels]
    return examples


def _thumbnail(pixels: np.ndarray) -> bytes:
    """A small JPEG of an image (rows, columns, channels), 0..255; the mean of channels unless there are 3."""
    rows, columns = pixels.shape[:2]
    values = np.ascontiguousarray(pixels if pixels.shape[-1] == 3 else pixels.mean(axis=-1), "float32")
    scale = THUMBNAIL_SIZE / max(rows, columns)
    if scale < 1:
        size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
        values = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
    # An image of few pixels is shown enlarged, and each pixel counts.
    options: dict[str, Any] = {"quality": 95, "subsampling": 0} if max(rows, columns) < TINY else {"quality": QUALITY}
    buffer = io.BytesIO()
    Image.fromarray(values.clip(0, 255).astype("uint8")).save(buffer, "JPEG", optimize=True, **options)
    return buffer.getvalue()


def save_evidence(out: Path, evidence: TestEvidence) -> None:
    """Write test.npz: arrays alone, so that reading it runs no code."""
    examples = evidence.examples
    arrays: dict[str, Any] = {
        "logits": evidence.logits.astype("float32"),
        "truth": evidence.truth,
        "mistakes": evidence.mistakes,
        **_pack_samples(evidence.samples, ""),
        **_pack_samples(evidence.drawn, DRAWN),
        "examples": np.array([(e.index, e.label) for e in examples], "int64").reshape(-1, 2),
        **_pack_images([e.jpeg for e in examples], EXAMPLES),
    }
    with replace_atomically(out / FILE) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _pack_samples(samples: Sequence[ImageSample], prefix: str) -> dict[str, np.ndarray]:
    rows = [(s.index, s.truth, s.predicted, s.correct) for s in samples]
    return {
        f"{prefix}samples": np.array(rows, "int64").reshape(-1, 4),
        f"{prefix}confidences": np.array([s.confidence for s in samples], "float32"),
        **_pack_images([s.jpeg for s in samples], prefix),
    }


def _pack_images(jpegs: Sequence[bytes], prefix: str) -> dict[str, np.ndarray]:
    return {
        f"{prefix}lengths": np.array([len(jpeg) for jpeg in jpegs], "int64"),
        f"{prefix}jpegs": np.frombuffer(b"".join(jpegs), "uint8"),
    }


@contextmanager
def open_arrays(path: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """Open a file of arrays without running anything in it, once its size is known to be as it says.

    Raises:
        Exception: The file is damaged; zipfile, zlib and NumPy each have their own.
    """
    with zipfile.ZipFile(path) as archive:
        check_archive(archive, path.stat().st_size)
    with np.load(path, allow_pickle=False) as arrays:
        yield arrays


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
        with open_arrays(path) as arrays:
            evidence = _read_arrays(arrays)
        if problem := _find_problem(evidence):
            raise ValueError(problem)
        return evidence
    except Exception as error:  # zipfile, zlib and NumPy each have their own for a file that is garbled
        raise ValueError(
            f"{path} is damaged ({str(error) or type(error).__name__}); train again, or remove it"
        ) from error


def _read_arrays(arrays: Mapping[str, np.ndarray]) -> TestEvidence:
    has_examples = "examples" in arrays  # files of older versions have none
    examples = zip(arrays["examples"], _unpack_images(arrays, EXAMPLES), strict=True) if has_examples else ()
    return TestEvidence(
        arrays["logits"],
        arrays["truth"],
        _unpack_samples(arrays, ""),
        arrays["mistakes"],
        _unpack_samples(arrays, DRAWN) if has_examples else (),
        [ImageExample(int(index), int(label), jpeg) for (index, label), jpeg in examples],
    )


def _unpack_samples(arrays: Mapping[str, np.ndarray], prefix: str) -> list[ImageSample]:
    rows = zip(arrays[f"{prefix}samples"], arrays[f"{prefix}confidences"], _unpack_images(arrays, prefix), strict=True)
    return [
        ImageSample(int(index), int(truth), int(predicted), float(confidence), bool(correct), jpeg)
        for (index, truth, predicted, correct), confidence, jpeg in rows
    ]


def _unpack_images(arrays: Mapping[str, np.ndarray], prefix: str) -> list[bytes]:
    lengths, content = arrays[f"{prefix}lengths"], arrays[f"{prefix}jpegs"].tobytes()
    return [content[end - length : end] for end, length in zip(np.cumsum(lengths), lengths, strict=True)]


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
    for sample in (*evidence.samples, *evidence.drawn):
        if not (
            0 <= sample.index < images and -1 <= sample.truth < classes and 0 <= sample.predicted < max(2, classes)
        ):
            return f"it has an image {sample.index} of class {sample.truth}, predicted as {sample.predicted}"
    for example in evidence.examples:
        if not (example.index >= 0 and 0 <= example.label < classes):
            return f"it has a training image {example.index} of class {example.label}"
    return ""
