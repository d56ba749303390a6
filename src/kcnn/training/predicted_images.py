"""predictions.csv of a run: the file of each test image, its label, and what the network predicted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kcnn import classification
from kcnn.atomic_io import write_text
from kcnn.data import ImageDataset
from kcnn.data.source_splits import TEST
from kcnn.training.evidence import TestEvidence
from kcnn.training.run_directory import DIGITS, SEPARATOR, to_csv
from kcnn.training.split_record import relative_files

FILE = "predictions.csv"
MAX_CLASSES = 100  # whose probabilities are written


def write_predictions(out: Path, data: ImageDataset, tested: TestEvidence, metadata: Mapping[str, Any]) -> None:
    """Write predictions.csv: file, true label, predicted label, its probability, and "p(CLASS)" for up to 100 classes.

    Several labels are separated by ";". A text that a spreadsheet would take for a formula gets a "'" in front.

    Args:
        out: Folder of the run.
        data: The data, after every test image was read.
        tested: The evidence of the test split.
        metadata: Of the model.

    Raises:
        ValueError: The images that were read are not those of the split.
    """
    skipped = {image.file for image in data.skipped}
    names = [name for name in data.splits[TEST].names if name not in skipped]
    if len(names) != len(tested.truth):
        raise ValueError(f"{len(tested.truth)} of {len(names)} test images were read")
    probabilities = classification.to_probabilities(tested.logits, metadata)
    predicted = classification.predict_labels(probabilities, metadata)
    columns = [f"p({name})" for name in data.classes] if len(data.classes) <= MAX_CLASSES else []
    rows = [
        {
            "file": file,
            "true": _name_labels(truth, data.classes),
            "predicted": _name_labels(prediction, data.classes),
            "probability": round(float(values.max()), DIGITS),
            **dict(zip(columns, (round(float(value), DIGITS) for value in values), strict=False)),
        }
        for file, truth, prediction, values in zip(
            relative_files(data, names), tested.truth, predicted, probabilities, strict=True
        )
    ]
    write_text(out / FILE, to_csv(rows))


def _name_labels(labels: np.ndarray, classes: tuple[str, ...]) -> str:
    """The class of a number, or the classes of 0 and 1 for each."""
    return classes[int(labels)] if labels.ndim == 0 else SEPARATOR.join(classes[n] for n in np.flatnonzero(labels))
