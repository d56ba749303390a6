"""Predict the classes of images with a run, an exported file, a saved model, or a network's pretrained weights."""

import base64
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from html import escape
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

import kcnn
from kcnn.data.decoding import decode, to_uint8
from kcnn.export.runtimes import METADATA, load_exported
from kcnn.graph.arguments import check_keywords
from kcnn.graph.formatting import format_table
from kcnn.run_folders import CONFIG, resolve_model
from kcnn.statistics import predict_labels

PUBLISHED = "imagenet"
RUNTIMES = {".tflite": "LiteRT", ".onnx": "ONNX Runtime"}
SUFFIXES = (".keras", *RUNTIMES)
KERAS = "Keras"  # the runtime of all other models
SAVED_MODEL = "saved_model.pb"  # of the folder that TensorFlow writes
Starting = Callable[[str], AbstractContextManager[Any]]
MAX_ROWS, THUMBNAIL = 50, 64  # images that a notebook shows, and pixels of their longer side


@dataclass(frozen=True)
class OpenedModel:
    """A classifier that is loaded when it is needed.

    Attributes:
        name: As it was given.
        metadata: Its classes, input_shape and the like.
        load: Loads it, and returns a function from pixels (n, rows, columns, channels) to probabilities (n, classes).
        note: Which run of a transfer or a search it is of; empty for others.
    """

    name: str
    metadata: Mapping[str, Any]
    load: Callable[[], Callable[[Any], Any]]
    note: str = ""

    @property
    def classes(self) -> list[str]:
        """Return the names of the classes."""
        names = self.metadata["classes"]
        return [str(name) for name in names] if isinstance(names, list) else [f"class {n}" for n in range(names)]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Return (rows, columns, channels) of an image.

        Raises:
            ValueError: The input size is open.
        """
        rows, columns, channels = self.metadata["input_shape"]
        if None in (rows, columns):
            raise ValueError(f"{self.name} has an open input size; images cannot be resized to it")
        return rows, columns, channels


def open_model(
    name: str,
    weights: str = PUBLISHED,
    options: Mapping[str, Any] | None = None,
    *,
    trust: bool = False,
    starting: Starting = nullcontext,
) -> OpenedModel:
    """Open a classifier.

    Args:
        name: Folder of a run, a transfer or a search; a file that kcnn wrote (.keras, .tflite, .onnx, a SavedModel); or
            a network.
        weights: Pretrained weights of a network by name, or a file.
        options: The network's own options.
        trust: Whether a SavedModel may have any operation.
        starting: Context in which a runtime is loaded, called with its name.

    Returns:
        The classifier, with its metadata.

    Raises:
        FileNotFoundError: The file is missing, or the folder has no trained model.
        ValueError: The model ends in features, or is given with weights or options; or the file is damaged, or might do
            more than compute.
        UnknownNameError: There is no such network.
    """
    path = Path(name)
    if not path.exists():
        if len(path.parts) > 1 or (path.suffix in SUFFIXES and name.partition(".")[0] not in kcnn.list_models()):
            raise FileNotFoundError(f"file not found: {path}")
        return _open_pretrained(name, weights, options or {}, starting)
    if options or weights != PUBLISHED:
        raise ValueError(f"network options and weights apply to a network by name; {path} has its own")
    note = ""
    if path.is_dir() and (not (path / SAVED_MODEL).exists() or (path / CONFIG).exists()):  # a run is no SavedModel
        path, note = resolve_model(path)
    if path.is_dir() or path.suffix in RUNTIMES or is_exported(path):
        with starting(RUNTIMES.get(path.suffix, KERAS)):
            exported = load_exported(path, trust=trust)
        return OpenedModel(name, exported.metadata, lambda: exported.run, note)
    from kcnn.keras_bridge.metadata import has_classes
    from kcnn.keras_bridge.saved_models import read_metadata

    metadata = read_metadata(path)
    if not has_classes(metadata):
        raise ValueError(f"{path} ends in features, not in classes")

    def load() -> Callable[[Any], Any]:
        with starting(KERAS):
            return _with_probabilities(kcnn.load_model(path), metadata)

    return OpenedModel(name, metadata, load, note)


def is_exported(path: Path) -> bool:
    """Return whether a .keras file was exported for inference, and ends in probabilities."""
    try:
        with zipfile.ZipFile(path) as archive:
            return METADATA in archive.namelist()
    except (OSError, zipfile.BadZipFile):  # reported where the file is read
        return False


def _open_pretrained(name: str, weights: str, options: Mapping[str, Any], starting: Starting) -> OpenedModel:
    """A network with pretrained weights, or those of a file."""
    from kcnn.weights import find_published

    graph = kcnn.trace(name, **options)
    find_published(graph, weights)  # raises before Keras is loaded
    with starting(KERAS):
        model = kcnn.build(graph)
    report = kcnn.load_weights(model, weights)
    if f"{model.metadata['classifier']}/kernel" not in report.matched:
        raise ValueError(f"{weights} has no classifier for the {graph.outputs['logits'].shape[0]} classes of {name}")
    return OpenedModel(name, model.metadata, lambda: _with_probabilities(model, model.metadata))


def _with_probabilities(model: Any, metadata: Mapping[str, Any]) -> Callable[[Any], Any]:
    from kcnn.training.evaluation import compute_probabilities

    return lambda pixels: compute_probabilities(model, model.predict(pixels.astype("float32"), verbose=0), metadata)


def _open_keras_model(model: Any) -> OpenedModel:
    metadata = getattr(model, "metadata", None) or {
        "classes": int(model.output_shape[-1]),
        "input_shape": list(model.input_shape[1:]),
    }
    return OpenedModel(model.name, metadata, lambda: _with_probabilities(model, metadata))


def prepare_image(image: Any, opened: OpenedModel) -> np.ndarray:
    """Return an image as a model takes it, resized as its published weights were evaluated.

    Args:
        image: A file, pixels 0..255 (rows, columns) or (rows, columns, 1 or 3), or a Pillow image.
        opened: The model.

    Returns:
        uint8 (rows, columns, channels).

    Raises:
        ImageDecodeError: The file is not an image.
        ValueError: The pixels have another shape or other values.
    """
    shape, preprocessing = opened.input_shape, opened.metadata.get("preprocessing")
    options: dict[str, Any] = {}
    if preprocessing:
        options = {
            "resize_shorter_to": round(preprocessing["resize"] * shape[0] / preprocessing["crop"]),
            "interpolation": preprocessing["interpolation"],
        }
    return decode(image if isinstance(image, str | PathLike) else _encode(image), shape, **options)


def _encode(image: Any) -> bytes:
    """An image or an array as the content of a PNG file."""
    if not isinstance(image, Image.Image):
        pixels = to_uint8(np.asarray(image)[None])[0]
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    buffer = io.BytesIO()
    ImageOps.exif_transpose(image).save(buffer, "PNG")
    return buffer.getvalue()


@check_keywords
@dataclass(frozen=True, repr=False, eq=False)
class Predictions:
    """Predicted classes of images. They print as a table; a notebook shows them beside their images.

    Attributes:
        paths: The files; "image 0" for an array.
        classes: Names of the classes.
        probabilities: (images, classes).
        labels: Predicted classes of each image, by name: one, or any number for a multi-label model.
        multi_label: Whether an image may have any number of labels.
        top: How many classes of each image are shown; predicted ones always are.
        images: Pixels as the model took them.
    """

    paths: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: np.ndarray
    labels: tuple[tuple[str, ...], ...]
    multi_label: bool = False
    top: int = 3
    images: Sequence[np.ndarray] = field(default=())

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> dict[str, float]:
        """Return the probabilities of an image by class: the predicted classes, then the most probable others."""
        values = self.probabilities[number]
        order = [self.classes[n] for n in values.argsort()[::-1]]
        predicted = [name for name in order if name in self.labels[number]]
        others = [name for name in order if name not in self.labels[number]]
        names = [*predicted, *others[: max(0, self.top - len(predicted))]]
        return {name: float(values[self.classes.index(name)]) for name in names}

    def describe(self, number: int) -> str:
        """Return the classes of an image as text: "bee 98.1%, cat 62.0% (others: ant 49.8%)" with several labels."""
        texts = {name: f"{name} {value:.1%}" for name, value in self[number].items()}
        if not self.multi_label:
            return ", ".join(texts.values())
        labels = [texts[name] for name in texts if name in self.labels[number]]
        others = [texts[name] for name in texts if name not in self.labels[number]]
        text = ", ".join(labels) or "no label"
        return f"{text} (others: {', '.join(others)})" if others else text

    def __str__(self) -> str:
        rows = [(path, self.describe(number)) for number, path in enumerate(self.paths)]
        return format_table(("image", "prediction"), rows, left=("image", "prediction"))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        shown = range(min(len(self), MAX_ROWS))
        rows = "".join(
            f'<tr><td>{self._thumbnail(n)}</td><td style="text-align:left">{escape(self.paths[n])}</td>'
            f'<td style="text-align:left">{escape(self.describe(n))}</td></tr>'
            for n in shown
        )
        more = f"<p>{len(self) - MAX_ROWS} more images</p>" if len(self) > MAX_ROWS else ""
        return f"<table>{rows}</table>{more}"

    def _thumbnail(self, number: int) -> str:
        if number >= len(self.images):
            return ""
        pixels = self.images[number]
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        data = base64.b64encode(_encode(image)).decode()
        return f'<img alt="{escape(self.paths[number])}" src="data:image/png;base64,{data}">'


def predict_pixels(
    opened: OpenedModel, paths: Sequence[str], pixels: Sequence[np.ndarray], top: int = 3
) -> Predictions:
    """Predict images that are ready for a model.

    Args:
        opened: The model.
        paths: Names of the images.
        pixels: uint8 (rows, columns, channels) of each.
        top: How many classes of each image are shown.

    Returns:
        The predictions.
    """
    probabilities = np.asarray(opened.load()(np.stack(pixels)))
    multi_label = bool(opened.metadata.get("multi_label"))
    classes, predicted = opened.classes, predict_labels(probabilities, opened.metadata)
    labels = [np.flatnonzero(one) if multi_label else [one] for one in predicted]
    names = tuple(tuple(classes[n] for n in one) for one in labels)
    return Predictions(tuple(paths), tuple(classes), probabilities, names, multi_label, top, tuple(pixels))


@check_keywords
def predict(
    model: Any, images: Any, *, top: int = 3, weights: str | None = None, options: Mapping[str, Any] | None = None
) -> Predictions:
    """Predict the classes of images.

    Args:
        model: Folder of a run; a .keras, .tflite or .onnx file, or a SavedModel; a network by name, with pretrained
            weights; or a Keras model.
        images: A file, or a list of files, pixels 0..255 (rows, columns, channels) and Pillow images.
        top: How many classes of each image are shown.
        weights: Pretrained weights of a network by name, or a file; "imagenet" where it is None.
        options: Options of a network by name.

    Returns:
        The predictions; they print as a table, and show the images in a notebook.

    Raises:
        FileNotFoundError: The model or an image is missing.
        UnknownNameError: There is no such network.
        ImageDecodeError: A file is not an image.
        ValueError: There are no images, or the model ends in features.
    """
    images = [images] if isinstance(images, str | PathLike | Image.Image) else list(images)
    if not images:
        raise ValueError("there are no images to predict")
    if isinstance(model, str | PathLike):
        opened = open_model(fspath(model), weights or PUBLISHED, options)
    elif weights or options:
        raise ValueError("weights and options apply to a network by name; a Keras model has its own")
    else:
        opened = _open_keras_model(model)
    for image in images:
        if isinstance(image, str | PathLike) and not Path(image).exists():
            raise FileNotFoundError(f"file not found: {fspath(image)}")
    paths = [fspath(image) if isinstance(image, str | PathLike) else f"image {n}" for n, image in enumerate(images)]
    return predict_pixels(opened, paths, [prepare_image(image, opened) for image in images], top)
