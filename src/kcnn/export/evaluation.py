"""Evaluate a classifier on images that it was not trained on: accuracy with its interval, and metrics by class."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

import numpy as np

from kcnn.classification import (
    classification_report,
    format_mean_precision,
    is_correct,
    predict_labels,
    tabulate_classes,
)
from kcnn.data import load
from kcnn.data.dataset import EvaluationBatches, ResizedBatches
from kcnn.data.image_cache import ImageCache
from kcnn.data.readers import Selected
from kcnn.data.sources import find_source
from kcnn.data.splits import Split
from kcnn.export.opened_model import OpenedModel, open_classifier, prepare_image
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_keywords
from kcnn.graph.formatting import format_table
from kcnn.graph.names import unknown
from kcnn.run_folders import find_run
from kcnn.statistics import wilson_interval
from kcnn.training.run_data import RunData, check_classes, load_evaluation_data
from kcnn.training.split_record import SPLITS

UNRECORDED = (
    "{model} does not record its training images, and some of these may be among them; evaluate the folder of its run, "
    "which does"
)


@check_keywords
@dataclass(frozen=True, repr=False)
class Evaluation:
    """Hold the metrics of a model on the images of a split. They print as a table.

    Attributes:
        model: Name of the model.
        metrics: JSON values: data, split, images, correct, accuracy, interval (95%), per_class, skipped (files that
            could not be decoded), left_out (images that the model was trained on, by split), and others.
    """

    model: str
    metrics: Mapping[str, Any]

    @property
    def accuracy(self) -> float:
        """Return the fraction of images that are predicted correctly, with all their labels."""
        return self.metrics["accuracy"]

    @property
    def summary(self) -> str:
        """Return the accuracy with its interval as a sentence."""
        metrics = self.metrics
        measure = "accuracy"
        if "mean_average_precision" in metrics:
            measure = f"mean average precision {format_mean_precision(metrics)}, subset accuracy"
        low, high = metrics["interval"]
        skipped = f"; {metrics['skipped']} files could not be decoded" if metrics["skipped"] else ""
        return (
            f"{self.model}: {measure} {self.accuracy:.2%} ({metrics['correct']} of {metrics['images']} "
            f"{metrics['split']} images of {metrics['data']}, 95% interval {low:.2%} to {high:.2%}){skipped}"
        )

    def __repr__(self) -> str:
        columns, cells = tabulate_classes(self.metrics["per_class"])
        return f"{format_table(columns, cells, left=('class',))}\n{self.summary}"

    def _repr_html_(self) -> str:
        columns, cells = tabulate_classes(self.metrics["per_class"])
        head = "".join(f"<th>{escape(name)}</th>" for name in columns)
        body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in cells)
        return f"<table><tr>{head}</tr>{body}</table><p>{escape(self.summary)}</p>"


@check_arguments
def evaluate(
    model: Any,
    data: Any = None,
    split: str = "test",
    *,
    seed: int | None = None,
    weights: str | None = None,
    options: Mapping[str, Any] | None = None,
    log: Callable[[str], None] = print,
) -> Evaluation:
    """Evaluate a model on the images of a split.

    Images that a run was trained on are never among test images, whatever the data. Images are resized and cropped as
    by kcnn.predict: as the publisher of pretrained weights evaluated them, for others as in training.

    Args:
        model: As for kcnn.predict: folder or result of a run, a transfer or a search; a file; a network by name; or a
            Keras model.
        data: Images, as for kcnn.data.load; where it is None those of the model's run.
        split: "train", "validation" or "test".
        seed: Seed of the split, where the model is not of a run; a run has its own. 0 where it is None.
        weights: Pretrained weights of a network by name, or a file.
        options: Options of a network by name.
        log: Called with a sentence about images that are left out, or may not be unseen, and which run is taken.

    Returns:
        The metrics.

    Raises:
        UnknownNameError: There is no such split or network.
        FileNotFoundError: The model or the data is missing.
        ValueError: The data has other classes, none of its images is left, or data is missing.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    opened = open_classifier(model, weights, options, lambda classes: check_data_classes(data, classes))
    if opened.note:
        log(opened.note)
    run = find_run(opened.path) if opened.path else None
    if run is not None:
        evaluated = load_evaluation_data(run, data, split)
        notes = evaluated.notes
        if seed is not None:
            notes.append(f"seed {seed} is not used: {run} records which images are in its {split} split")
    elif data is None:
        raise ValueError(f"{opened.name} does not record its dataset; pass images to evaluate it on as the data")
    else:
        multi_label = bool(opened.metadata.get("multi_label"))
        check_data_classes(data, opened.classes, multi_label)
        dataset = load(data, input_shape=opened.input_shape, seed=seed or 0, multi_label=multi_label)
        check_classes(dataset, opened.classes)
        evaluated = RunData(dataset, split)
        notes = [UNRECORDED.format(model=opened.name)] if opened.path else []
    for note in notes:
        log(note)
    return Evaluation(opened.name, _compute_metrics(opened, evaluated))


def check_data_classes(data: Any, classes: Sequence[str], multi_label: bool = False) -> None:
    """Refuse data with other classes than a model has before its images are decoded.

    Args:
        data: Images, as for kcnn.data.load. Those of TensorFlow Datasets are checked when they are loaded.
        classes: Class names of the model.
        multi_label: Whether an image has any number of labels.

    Raises:
        ValueError: They differ.
        FileNotFoundError: The data is missing.
    """
    if data is not None and not (isinstance(data, str) and data.startswith("tfds:")):
        check_classes(find_source(data, None, multi_label), classes)


def _compute_metrics(opened: OpenedModel, evaluated: RunData) -> dict[str, Any]:
    dataset = evaluated.dataset
    split = _prepare_images(dataset.splits[evaluated.split], opened)
    batches = ResizedBatches(EvaluationBatches(split, dataset.batch_size), opened.input_shape)
    run, parts, truth = opened.load(), [], []
    for number in range(len(batches)):
        pixels, labels = batches[number]
        parts.append(run(pixels))
        truth.append(labels)
    if not truth:
        raise ValueError(f"no image of the {evaluated.split} split of {dataset.name} can be decoded")
    probabilities, labels = np.concatenate(parts), np.concatenate(truth)
    predictions = predict_labels(probabilities, opened.metadata)
    correct = int(is_correct(predictions, labels).sum())
    return {
        "data": dataset.name,
        "split": evaluated.split,
        "images": len(labels),
        "correct": correct,
        "accuracy": correct / len(labels),
        "interval": list(wilson_interval(correct, len(labels))),
        **classification_report(predictions, probabilities, labels, dataset.classes, opened.metadata),
        "skipped": len(dataset.skipped),
        "left_out": dict(evaluated.left_out),
        "unmatched": evaluated.unmatched,
        "differences": asdict(evaluated.differences),
    }


def _prepare_images(split: Split, opened: OpenedModel) -> Split:
    """Return a split with its images resized and cropped as published weights were evaluated, decoded anew for it."""
    if not opened.metadata.get("preprocessing"):
        return split
    images = split.take(split.decodable)
    cache = ImageCache(
        Selected(split.cache.raw, images.indices),
        images.names,
        opened.input_shape,
        "nothing",
        split.cache.skipped,
        decoder=lambda image, shape: prepare_image(image, opened),
    )
    return Split(cache, np.arange(len(cache)), images.labels)
