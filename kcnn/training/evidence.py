"""What a page of a run shows of its test: the probabilities of every picture, and small copies of telling ones."""

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

FILE = "test.npz"
SIDE = 96  # pixels of a small copy, the longer side
CELL, MOST = 12, 480  # small copies of each pair of true and said class, and of all
WHOLE = 12  # pictures of the most confident mistakes at the network's own size


@dataclass(frozen=True)
class ImageSample:
    """A test picture that is shown: its place in the split, its classes, and how sure the network was."""

    index: int
    truth: int  # -1 where a picture may have several labels
    predicted: int
    confidence: float
    correct: bool
    jpeg: bytes


@dataclass(frozen=True)
class TestEvidence:
    """Logits (images, classes) and labels of the test split, each once and in order; what is shown of it."""

    logits: np.ndarray
    truth: np.ndarray
    samples: Sequence[ImageSample] = ()
    mistakes: np.ndarray = field(default_factory=lambda: np.zeros((0, 1, 1, 1), "uint8"))  # pixels, the surest first


def gather_evidence(model: Any, batches: Any, card: Mapping[str, Any]) -> TestEvidence:
    """One pass over the test batches."""
    logits, truth = [], []
    cells: dict[tuple[int, int], list[Any]] = {}
    whole: list[Any] = []
    index = 0
    for images, labels in batches:
        pixels = np.asarray(images)  # on JAX TensorFlow's tensors are none
        logits.append(np.asarray(model.predict_on_batch(pixels)))
        truth.append(keras.ops.convert_to_numpy(labels))
        found = statistics.to_probabilities(logits[-1], card)
        said = statistics.predict_labels(found, card)
        right = statistics.is_correct(said, truth[-1])
        sure = np.maximum(found, 1 - found).min(axis=-1) if card.get("multi_label") else found.max(axis=-1)
        for row in range(len(pixels)):
            single = said.ndim == 1
            cell = (int(truth[-1][row]), int(said[row])) if single else (-1, int(right[row]))
            one = (float(sure[row]), -index, bool(right[row]), pixels[row])
            _keep(cells.setdefault(cell, []), one, CELL if single else 5 * CELL)
            if not right[row]:
                _keep(whole, one, WHOLE)
            index += 1
    chosen = sorted(
        ((*one, cell) for cell, some in cells.items() for one in some), key=lambda one: (one[2], -one[0], -one[1])
    )
    shown = [
        ImageSample(-place, cell[0], cell[1], sure, right, _jpeg(picture))
        for sure, place, right, picture, cell in chosen[:MOST]
    ]
    mistakes = [one[3] for one in sorted(whole, key=lambda one: (-one[0], -one[1]))]
    return TestEvidence(
        np.concatenate(logits),
        np.concatenate(truth),
        shown,
        np.stack(mistakes).clip(0, 255).astype("uint8") if mistakes else np.zeros((0, 1, 1, 1), "uint8"),
    )


def _keep(heap: list[Any], one: tuple[float, int, bool, Any], most: int) -> None:
    """Put one on a heap of the surest; no two have the same place, so pictures are never compared."""
    if len(heap) < most:
        heapq.heappush(heap, one)
    else:
        heapq.heappushpop(heap, one)


def _jpeg(pixels: np.ndarray) -> bytes:
    """A small copy of a picture (rows, columns, channels), 0..255; of other than 3 channels the mean."""
    rows, columns = pixels.shape[:2]
    share = SIDE / max(rows, columns)
    size = (max(1, round(columns * share)), max(1, round(rows * share)))
    flat = pixels if pixels.shape[-1] == 3 else pixels.mean(axis=-1)
    small = cv2.resize(np.ascontiguousarray(flat, "float32"), size, interpolation=cv2.INTER_AREA)
    text = io.BytesIO()
    Image.fromarray(small.clip(0, 255).astype("uint8")).save(text, "JPEG", quality=80)
    return text.getvalue()


def save_evidence(out: Path, found: TestEvidence) -> None:
    """test.npz: arrays alone, so that reading it runs no code."""
    with replace_atomically(out / FILE) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            logits=found.logits.astype("float32"),
            truth=found.truth,
            shown=np.array([(s.index, s.truth, s.predicted, s.correct) for s in found.samples], "int64").reshape(-1, 4),
            sure=np.array([s.confidence for s in found.samples], "float32"),
            lengths=np.array([len(s.jpeg) for s in found.samples], "int64"),
            jpegs=np.frombuffer(b"".join(s.jpeg for s in found.samples), "uint8"),
            mistakes=found.mistakes,
        )


def read_evidence(folder: Path) -> TestEvidence | None:
    """What `save` wrote; None where there is none. ValueError where the file is damaged."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as held:
            ends = np.cumsum(held["lengths"])
            jpegs = held["jpegs"].tobytes()
            parts = [jpegs[end - length : end] for end, length in zip(ends, held["lengths"], strict=True)]
            shown = [
                ImageSample(int(index), int(truth), int(said), float(sure), bool(right), jpeg)
                for (index, truth, said, right), sure, jpeg in zip(held["shown"], held["sure"], parts, strict=True)
            ]
            return TestEvidence(held["logits"], held["truth"], shown, held["mistakes"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged ({error}); train again, or remove it") from None
