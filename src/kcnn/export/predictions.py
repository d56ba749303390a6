"""Predicted classes of images: as a table, in a notebook, as a data frame, CSV or JSON."""

import base64
import json
import operator
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from kcnn.atomic_io import write_text
from kcnn.export.opened_model import encode_png
from kcnn.graph.arguments import check_keywords
from kcnn.graph.formatting import format_table
from kcnn.training.run_directory import DIGITS, SEPARATOR, to_csv

if TYPE_CHECKING:
    import pandas

MAX_ROWS, THUMBNAIL = 50, 64  # images that a notebook shows, and pixels of their longer side
UNSURE = "unsure"  # label of images below the threshold


@check_keywords
@dataclass(frozen=True, eq=False)
class Prediction(Mapping[str, float]):
    """The prediction of one image: a mapping from its most probable classes to their probabilities.

    Attributes:
        path: The file; "image 0" for an array.
        labels: The predicted classes: one, or any number for a multi-label model; none where it is unsure.
        label: The predicted class; "unsure" below the threshold; several labels are separated by ";".
        probability: Probability of the most probable class.
        probabilities: Probabilities by class: the predicted classes, then the most probable others.
    """

    path: str
    labels: tuple[str, ...]
    label: str
    probability: float
    probabilities: Mapping[str, float]

    def __getitem__(self, name: str) -> float:
        return self.probabilities[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.probabilities)

    def __len__(self) -> int:
        return len(self.probabilities)

    def to_json(self) -> dict[str, Any]:
        """Return the prediction as JSON values: file, label, probability and probabilities by class."""
        return {
            "file": self.path,
            "label": self.label,
            "probability": round(self.probability, DIGITS),
            "probabilities": {name: round(value, DIGITS) for name, value in self.items()},
        }


@check_keywords
@dataclass(frozen=True, repr=False, eq=False)
class Predictions(Sequence[Prediction]):
    """Predicted classes of images. They print as a table; a notebook shows them beside their images.

    Attributes:
        paths: The files; "image 0" for an array.
        classes: Names of the classes.
        probabilities: (images, classes).
        labels: Predicted classes of each image, by name: one, or any number for a multi-label model; none where the
            prediction is unsure.
        multi_label: Whether an image may have any number of labels.
        top: How many classes of each image are shown; predicted ones always are.
        threshold: Probability below which a prediction is unsure; None for no such threshold.
        thumbnails: PNG files of the first images, small.
        skipped: Files of folders that could not be decoded, and why.
    """

    paths: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: np.ndarray
    labels: tuple[tuple[str, ...], ...]
    multi_label: bool = False
    top: int = 3
    threshold: float | None = None
    thumbnails: Sequence[bytes] = field(default=())
    skipped: Sequence[tuple[str, str]] = field(default=())

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: Any) -> Any:
        """Return the prediction of an image: its path, label and most probable classes."""
        number = operator.index(number)
        values, labels = self.probabilities[number], self.labels[number]
        order = [self.classes[n] for n in values.argsort()[::-1]]
        predicted = [name for name in order if name in labels]
        others = [name for name in order if name not in labels]
        names = [*predicted, *others[: max(0, self.top - len(predicted))]]
        known = {name: float(values[self.classes.index(name)]) for name in names}
        return Prediction(self.paths[number], labels, self._name_label(number), float(values.max()), known)

    def _name_label(self, number: int) -> str:
        labels = self.labels[number]
        return SEPARATOR.join(labels) if labels or self.multi_label else UNSURE

    def describe(self, number: int) -> str:
        """Return the classes of an image as text: "bee 98.1%, cat 62.0% (others: ant 49.8%)" with several labels."""
        texts = {name: f"{name} {value:.1%}" for name, value in self[number].items()}
        if not self.multi_label:
            text = ", ".join(texts.values())
            return text if self.labels[number] else f"{UNSURE} ({text})"
        labels = [texts[name] for name in texts if name in self.labels[number]]
        others = [texts[name] for name in texts if name not in self.labels[number]]
        text = ", ".join(labels) or "no label"
        return f"{text} (others: {', '.join(others)})" if others else text

    def count_labels(self) -> dict[str, int]:
        """Return the number of images by predicted label, the most frequent first; "unsure" for those below."""
        unsure = () if self.multi_label else (UNSURE,)
        return dict(Counter(name for labels in self.labels for name in labels or unsure).most_common())

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each image: file, label, probability, and "p(CLASS)" for each class."""
        columns = [f"p({name})" for name in self.classes]
        rows = []
        for number, path in enumerate(self.paths):
            values = [round(float(value), DIGITS) for value in self.probabilities[number]]
            row = {"file": path, "label": self._name_label(number), "probability": max(values)}
            rows.append(row | dict(zip(columns, values, strict=True)))
        return rows

    def to_dataframe(self) -> "pandas.DataFrame":
        """Return the predictions as a data frame with the columns of `rows`.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise ImportError('a data frame requires pandas: pip install "kcnn[pandas]"') from None
        return pandas.DataFrame(self.rows())

    def to_csv(self, path: str | PathLike[str]) -> None:
        """Write the predictions to a CSV file with the columns of `rows`.

        A name that a spreadsheet would take for a formula gets a "'" in front.

        Args:
            path: The file. It is replaced only when it is complete.
        """
        write_text(path, to_csv(self.rows()))

    def to_json(self, path: str | PathLike[str]) -> None:
        """Write the predictions to a JSON file: file, label, probability and the most probable classes of each image.

        Args:
            path: The file. It is replaced only when it is complete.
        """
        write_text(path, json.dumps([prediction.to_json() for prediction in self], indent=1))

    def __str__(self) -> str:
        rows = [(path, self.describe(number)) for number, path in enumerate(self.paths)]
        return format_table(("image", "prediction"), rows, left=("image", "prediction"))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        shown = range(min(len(self), MAX_ROWS))
        rows = "".join(
            f'<tr><td>{self._embed_thumbnail(n)}</td><td style="text-align:left">{escape(self.paths[n])}</td>'
            f'<td style="text-align:left">{escape(self.describe(n))}</td></tr>'
            for n in shown
        )
        more = f"<p>{len(self) - MAX_ROWS} more images</p>" if len(self) > MAX_ROWS else ""
        return f"<table>{rows}</table>{more}"

    def _embed_thumbnail(self, number: int) -> str:
        if number >= len(self.thumbnails):
            return ""
        data = base64.b64encode(self.thumbnails[number]).decode()
        return f'<img alt="{escape(self.paths[number])}" src="data:image/png;base64,{data}">'


def make_thumbnail(pixels: np.ndarray) -> bytes:
    """Return a small PNG file of an image.

    Args:
        pixels: uint8 (rows, columns, 1 or 3).
    """
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return encode_png(image)
