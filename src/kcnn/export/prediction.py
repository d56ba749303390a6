"""Predict the classes of images in batches, while the next images are read; memory holds probabilities alone."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from kcnn.classification import predict_labels
from kcnn.data.decoding import ImageDecodeError
from kcnn.data.image_lists import NamedImage, expand_images
from kcnn.export.opened_model import OpenedModel, open_classifier, prepare_image
from kcnn.export.predictions import MAX_ROWS, UNSURE, Predictions, make_thumbnail
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_integer
from kcnn.graph.callers import warn_caller
from kcnn.graph.formatting import format_number
from kcnn.parallel import thread_pool

BATCH_SIZE = 32  # images that a model takes at a time


class SkippedImagesWarning(UserWarning):
    """Warns that files of a folder or glob cannot be decoded, and are left out of predictions."""


@dataclass(frozen=True)
class PredictedBatch:
    """Hold predictions of a few images.

    Attributes:
        predictions: The predictions, without thumbnails.
        pixels: uint8 (images, rows, columns, channels) as the model took them.
    """

    predictions: Predictions
    pixels: np.ndarray


def predict_batches(
    opened: OpenedModel,
    images: Iterable[NamedImage],
    *,
    top: int = 3,
    threshold: float | None = None,
    on_error: Callable[[NamedImage, Exception], None],
) -> Iterator[PredictedBatch]:
    """Predict images in batches, in order. The next images are read meanwhile, on all cores.

    Args:
        opened: The model; it is loaded once the first images are read.
        images: The images; an iterator is read no further than two batches ahead.
        top: How many classes of each image are shown.
        threshold: Probability below which the class of an image is unsure.
        on_error: Called with each image that cannot be decoded, and why; raises, or leaves the image out.

    Yields:
        The predictions of up to BATCH_SIZE images.

    Raises:
        ValueError: A threshold that is no probability, for a model with several labels per image, or whose classes have
            the name of unsure images.
    """
    check_integer("top", top, 1, "a positive integer")
    _check_threshold(opened, threshold)
    run: Callable[[Any], Any] | None = None
    for names, pixels in _read_batches(opened, images, on_error):
        load = opened.load_for_many if len(names) == BATCH_SIZE else None
        run = run or (load or opened.load)()
        batch = np.stack(pixels)
        yield PredictedBatch(_to_predictions(opened, names, np.asarray(run(batch)), top, threshold), batch)


def _check_threshold(opened: OpenedModel, threshold: float | None) -> None:
    if threshold is None:
        return
    if not 0 <= threshold <= 1:
        raise ValueError(f"the threshold is a probability from 0 to 1, got {threshold}")
    if opened.metadata.get("multi_label"):
        raise ValueError(
            f"{opened.name} gives any number of labels per image, each from a threshold of its own; a threshold below "
            "which images are unsure applies to models with one label per image"
        )
    if UNSURE in opened.classes:
        raise ValueError(f"{opened.name} has a class {UNSURE!r}, as images below the threshold are called; omit it")


def _read_batches(
    opened: OpenedModel, images: Iterable[NamedImage], on_error: Callable[[NamedImage, Exception], None]
) -> Iterator[tuple[list[str], list[np.ndarray]]]:
    """Names and pixels of the images that can be decoded, BATCH_SIZE at a time."""
    source = iter(images)
    pending: deque[tuple[NamedImage, Future[np.ndarray]]] = deque()
    names: list[str] = []
    pixels: list[np.ndarray] = []
    try:
        while True:
            while len(pending) < 2 * BATCH_SIZE and (image := next(source, None)) is not None:
                pending.append((image, thread_pool().submit(prepare_image, image.content, opened)))
            if not pending:
                break
            image, future = pending.popleft()
            try:
                pixels.append(future.result())
            except ImageDecodeError as error:
                on_error(image, error)
                continue
            names.append(image.name)
            if len(names) == BATCH_SIZE:
                yield names, pixels
                names, pixels = [], []
        if names:
            yield names, pixels
    finally:  # also where the caller stops
        for _, future in pending:
            future.cancel()


def _to_predictions(
    opened: OpenedModel, names: list[str], probabilities: np.ndarray, top: int, threshold: float | None
) -> Predictions:
    multi_label = bool(opened.metadata.get("multi_label"))
    classes = opened.classes
    labels = []
    for row, predicted in zip(probabilities, predict_labels(probabilities, opened.metadata), strict=True):
        numbers = np.flatnonzero(predicted) if multi_label else [predicted]
        is_unsure = threshold is not None and row.max() < threshold
        labels.append(() if is_unsure else tuple(classes[n] for n in numbers))
    return Predictions(
        tuple(names),
        tuple(classes),
        probabilities,
        tuple(labels),
        multi_label=multi_label,
        top=top,
        threshold=threshold,
    )


@check_arguments
def predict(
    model: Any,
    images: Any,
    *,
    top: int = 3,
    threshold: float | None = None,
    weights: str | None = None,
    options: Mapping[str, Any] | None = None,
    log: Callable[[str], None] = print,
) -> Predictions:
    """Predict the classes of images.

    Images are read while others are predicted, and only their probabilities are kept. With 32 images or more a
    network from a file, or by name, is first optimized for inference, which changes probabilities by rounding.

    Args:
        model: Folder or result of a run, a transfer or a search; a .keras, .tflite or .onnx file, or a SavedModel; a
            network by name, with pretrained weights; or a Keras model.
        images: A file, a folder (every image below it), a glob, pixels 0..255 (rows, columns, channels), a Pillow
            image, or several of these: a list, an array (images, rows, columns, channels), or an iterator.
        top: How many classes of each image are shown.
        threshold: Probability below which the class of an image is unsure; None for no such threshold.
        weights: Pretrained weights of a network by name, or a file; "imagenet" where it is None.
        options: Options of a network by name.
        log: Called with a sentence that says which run of a transfer or a search is taken.

    Returns:
        The predictions; they print as a table, and show the images in a notebook.

    Raises:
        FileNotFoundError: The model or an image is missing, or a folder has no image.
        UnknownNameError: There is no such network.
        ImageDecodeError: A file that was listed is not an image. Those of a folder or a glob are left out, with a
            SkippedImagesWarning, and are in `skipped`.
        ValueError: There are no images, the model ends in features, or the threshold does not apply.
    """
    sources = expand_images(images)
    opened = open_classifier(model, weights, options)
    if opened.note:
        log(opened.note)
    skipped: list[ImageDecodeError] = []

    def skip(image: NamedImage, error: Exception) -> None:
        if image.is_listed or not isinstance(error, ImageDecodeError):
            raise error
        skipped.append(error)

    parts: list[Predictions] = []
    thumbnails: list[bytes] = []
    for batch in predict_batches(opened, sources, top=top, threshold=threshold, on_error=skip):
        parts.append(batch.predictions)
        thumbnails += [make_thumbnail(pixels) for pixels in batch.pixels[: MAX_ROWS - len(thumbnails)]]
    if skipped:
        warn_caller(
            f"{format_number(len(skipped), 'file')} could not be decoded, such as {skipped[0].file}: "
            f"{skipped[0].reason}; see `skipped`",
            SkippedImagesWarning,
        )
    if not parts:
        raise ValueError("none of the files is an image that can be decoded" if skipped else "no image to predict")
    return Predictions(
        paths=tuple(path for part in parts for path in part.paths),
        classes=parts[0].classes,
        probabilities=np.concatenate([part.probabilities for part in parts]),
        labels=tuple(labels for part in parts for labels in part.labels),
        multi_label=parts[0].multi_label,
        top=top,
        threshold=threshold,
        thumbnails=tuple(thumbnails),
        skipped=tuple((error.file, error.reason) for error in skipped),
    )
