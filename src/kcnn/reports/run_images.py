"""The images on the page of a run: test images with their predictions, training images, and counts of both."""

import hashlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import kcnn
from kcnn import classification
from kcnn.atomic_io import replace_atomically
from kcnn.data.source_splits import TEST, TRAIN
from kcnn.graph.formatting import to_printable
from kcnn.plots.figures import note_evidence, overlay_heatmap
from kcnn.reports.templates import embed_image_bytes
from kcnn.run_folders import MODEL
from kcnn.training import evidence
from kcnn.training.evidence import ImageSample, TestEvidence
from kcnn.training.split_record import SplitRecord, read_record

GRAD_CAM = "grad_cam.npz"  # in the folder of a run
MAX_CONFUSIONS = 20  # pairs of classes in the list that replaces a large confusion matrix


class RunImages:
    """Embed the images that a run kept, with the names of their files.

    Args:
        folder: Folder of the run.
        metrics: Its metrics.json.
        tested: The evidence of its test split; None for a run without.
    """

    def __init__(self, folder: Path, metrics: Mapping[str, Any], tested: TestEvidence | None):
        self.folder, self.metrics, self.tested = folder, metrics, tested
        self.classes = [to_printable(name) for name in metrics["per_class"]]

    @cached_property
    def record(self) -> SplitRecord | None:
        """Which image was in which split; None for a run of an older version."""
        try:
            return read_record(self.folder, self.metrics["request"]["fingerprint"])
        except FileNotFoundError:
            return None

    @cached_property
    def _test_files(self) -> list[str]:
        """The file of each test image; empty where that is not known."""
        rows = self.record.find_decodable_rows(TEST) if self.record else []
        is_complete = self.tested is not None and len(rows) == len(self.tested.truth)
        return [to_printable(self.record.files[row]) for row in rows] if self.record and is_complete else []

    def count_images(self) -> Mapping[str, Any] | None:
        """Return the images of each class in each split: "splits", "rows" of (class, counts), and "totals"."""
        if self.record is None:
            return None
        counts = self.record.count_labels(len(self.classes))
        columns = list(counts.values())
        return {
            "splits": list(counts),
            "rows": list(zip(self.classes, zip(*columns, strict=True), strict=True)),
            "totals": [len(self.record.find_rows(name)) for name in counts],
            "most": max(1, *(max(column) for column in columns)),
        }

    def embed_examples(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """Return training images by class."""
        rows = self.record.find_rows(TRAIN).tolist() if self.record else []
        groups: dict[str, list[dict[str, Any]]] = {}
        for example in self.tested.examples if self.tested else ():
            name = self.classes[example.label]
            file = to_printable(self.record.files[rows[example.index]]) if self.record and rows else ""
            source = embed_image_bytes(example.jpeg, "jpeg")
            groups.setdefault(name, []).append({"source": source, "file": file, "text": name})
        return list(groups.items())

    def embed_samples(self) -> list[dict[str, Any]]:
        """Return the images of the cells of a confusion matrix."""
        return [self._embed(sample) for sample in self.tested.samples] if self.tested else []

    def embed_drawn(self) -> list[dict[str, Any]]:
        """Return test images that were drawn at random, with their predictions."""
        return [self._embed(sample) for sample in self.tested.drawn] if self.tested else []

    def embed_mistakes(self) -> list[dict[str, Any]]:
        """Return the most confident errors."""
        samples = self.tested.samples if self.tested else ()
        wrong = sorted((s for s in samples if not s.correct), key=lambda s: -s.confidence)
        return [self._embed(sample) for sample in wrong[: evidence.MAX_MISTAKES]]

    def list_confusions(self) -> list[dict[str, Any]]:
        """Return the most frequent confusions of two classes, with their images; none for multi-label data."""
        assert self.tested is not None
        if self.tested.truth.ndim == 2:
            return []
        predicted = self.tested.logits.argmax(axis=-1)
        wrong = np.flatnonzero(predicted != self.tested.truth)
        pairs = Counter(zip(self.tested.truth[wrong].tolist(), predicted[wrong].tolist(), strict=True))
        totals = np.bincount(self.tested.truth, minlength=len(self.classes))
        return [
            {
                "truth": self.classes[truth],
                "predicted": self.classes[label],
                "count": count,
                "rate": count / totals[truth],
                "images": [
                    self._embed(one) for one in self.tested.samples if (one.truth, one.predicted) == (truth, label)
                ],
            }
            for (truth, label), count in sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))[:MAX_CONFUSIONS]
        ]

    def _embed(self, sample: ImageSample) -> dict[str, Any]:
        is_single_label = sample.truth >= 0
        return {
            "source": embed_image_bytes(sample.jpeg, "jpeg"),
            "index": sample.index,
            "truth": sample.truth,
            "predicted": sample.predicted if is_single_label else -1,
            "correct": sample.correct,
            "file": self._test_files[sample.index] if self._test_files else f"test image {sample.index}",
            "text": self._describe(sample),
            "verdict": self._judge(sample),
        }

    def _describe(self, sample: ImageSample) -> str:
        """The predicted and the true class of an image, or all its labels."""
        if sample.truth >= 0:
            predicted, true = self.classes[sample.predicted], self.classes[sample.truth]
            return f"predicted {predicted} ({sample.confidence:.0%}), true {true}"
        predicted, true = self._name_labels(sample)
        return f"predicted {predicted}; true {true}"

    def _judge(self, sample: ImageSample) -> str:
        """The prediction with a mark, and the truth where it is another."""
        if sample.truth >= 0:
            predicted = f"{self.classes[sample.predicted]} ({sample.confidence:.0%})"
            true = self.classes[sample.truth]
        else:
            predicted, true = self._name_labels(sample)
        return f"✓ {predicted}" if sample.correct else f"✗ {predicted}; true {true}"

    def _name_labels(self, sample: ImageSample) -> tuple[str, str]:
        """The predicted and the true labels of an image of multi-label data."""
        assert self.tested is not None
        thresholds = [row["threshold"] for row in self.metrics["per_class"].values()]
        metadata = {"multi_label": True, "thresholds": thresholds}
        probabilities = classification.to_probabilities(self.tested.logits[sample.index], metadata)
        labels = classification.predict_labels(probabilities, metadata), self.tested.truth[sample.index]
        predicted, true = (", ".join(self.classes[n] for n in np.flatnonzero(one)) or "no label" for one in labels)
        return predicted, true


def render_grad_cam(root: Path, tested: TestEvidence) -> Sequence[dict[str, str]]:
    """Return Grad-CAM of the most confident errors, over the images, each with a note where it is empty."""
    import cv2
    from PIL import Image

    maps = []
    for pixels, stored in zip(tested.mistakes, _compute_heatmaps(root, tested.mistakes), strict=True):
        heat = stored / 255
        base = pixels if pixels.shape[-1] == 3 else pixels.mean(axis=-1, keepdims=True)
        overlay = overlay_heatmap(base, heat).clip(0, 255).astype("uint8")
        scale = evidence.THUMBNAIL_SIZE / max(overlay.shape[:2])
        size = tuple(max(1, round(side * scale)) for side in overlay.shape[1::-1])
        kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
        jpeg = io.BytesIO()
        Image.fromarray(cv2.resize(overlay, size, interpolation=kind)).save(jpeg, "JPEG", quality=evidence.QUALITY)
        maps.append({"source": embed_image_bytes(jpeg.getvalue(), "jpeg"), "note": note_evidence(heat)})
    return maps


def read_heatmaps(root: Path, mistakes: np.ndarray) -> np.ndarray | None:
    """Return the Grad-CAM that an earlier page of a run has left, from 0 to 255.

    Args:
        root: Folder of the run.
        mistakes: The images (n, rows, columns, channels).

    Returns:
        uint8 (n, rows, columns); None without a file of this model and these images.
    """
    path = root / GRAD_CAM
    if not path.exists():
        return None
    try:
        with evidence.open_arrays(path) as arrays:
            maps, key = arrays["maps"], str(arrays["key"])
    except Exception:  # zipfile, zlib and NumPy each have their own for a file that is garbled, which is made again
        return None
    is_same = key == _identify(root, mistakes) and (maps.shape, maps.dtype) == (mistakes.shape[:3], np.uint8)
    return maps if is_same else None


def _identify(root: Path, mistakes: np.ndarray) -> str:
    digest = hashlib.blake2b(mistakes.tobytes(), digest_size=16)
    digest.update((root / MODEL).read_bytes())
    return digest.hexdigest()


def _compute_heatmaps(root: Path, mistakes: np.ndarray) -> np.ndarray:
    """Grad-CAM from 0 to 255, which is kept for the next page, since computing it takes seconds to load Keras."""
    if not len(mistakes):
        return np.zeros((0, 1, 1), "uint8")
    if (maps := read_heatmaps(root, mistakes)) is not None:
        return maps
    from kcnn.explain import grad_cam

    heat = grad_cam(kcnn.load_model(root / MODEL), mistakes.astype("float32"))
    maps = (255 * heat).round().astype("uint8")
    with suppress(OSError), replace_atomically(root / GRAD_CAM) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, maps=maps, key=_identify(root, mistakes))  # a folder to read from costs time alone
    return maps
