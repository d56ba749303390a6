"""Classifiers that predict: of a run, an exported file, a saved model, or a network's pretrained weights."""

import io
import zipfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

import kcnn
from kcnn.architectures.class_names import load_class_names
from kcnn.data.color_modes import to_uint8
from kcnn.data.decoding import decode
from kcnn.export.runtimes import METADATA, load_exported
from kcnn.graph.arguments import wrong_kind
from kcnn.run_folders import is_run_folder, locate_model, resolve_model

PUBLISHED = "imagenet"
RUNTIMES = {".tflite": "LiteRT", ".onnx": "ONNX Runtime"}
SUFFIXES = (".keras", *RUNTIMES)
KERAS = "Keras"  # the runtime of all other models
FEW = 4  # images that TensorFlow computes sooner layer by layer than it traces a function for a model
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")  # of Pillow
ALPHA_MODES = {"La": "LA", "PA": "RGBA", "RGBa": "RGBA"}  # others with transparency, and what keeps it
BITS_PER_SAMPLE, PHOTOMETRIC = 258, 262  # tags of TIFF
Starting = Callable[[str], AbstractContextManager[Any]]
OnClasses = Callable[[list[str]], None]


@dataclass(frozen=True)
class OpenedModel:
    """A classifier that is loaded when it is needed.

    Attributes:
        name: As it was given.
        metadata: Its classes, input_shape and the like.
        load: Loads it, and returns a function from pixels (n, rows, columns, channels) to probabilities (n, classes).
        note: Which run of a transfer or a search it is of; empty for others.
        path: Its file; None for a network by name, and for a model in memory.
        load_for_many: As `load`, with the network optimized for inference, which pays for a batch of images and more;
            None where it may be used again, or is no network of kcnn.
    """

    name: str
    metadata: Mapping[str, Any]
    load: Callable[[], Callable[[Any], Any]]
    note: str = ""
    path: Path | None = None
    load_for_many: Callable[[], Callable[[Any], Any]] | None = None

    @property
    def classes(self) -> list[str]:
        """Return the names of the classes; one output is two classes."""
        names = self.metadata["classes"]
        if isinstance(names, list):
            return [str(name) for name in names]
        return [f"class {n}" for n in range(max(names, 1 if self.metadata.get("multi_label") else 2))]

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
    on_classes: OnClasses | None = None,
) -> OpenedModel:
    """Open a classifier.

    Args:
        name: Folder of a run, a transfer or a search; a file that kcnn wrote (.keras, .tflite, .onnx, a SavedModel); a
            folder that kcnn.publish wrote; an address of the Hub; or a network.
        weights: Pretrained weights of a network by name, or a file.
        options: The network's own options.
        trust: Whether to open an exported file that was changed since, and a SavedModel with any operation.
        starting: Context in which a runtime is loaded, called with its name.
        on_classes: Called with the classes of published weights, before they are downloaded.

    Returns:
        The classifier, with its metadata.

    Raises:
        FileNotFoundError: The file is missing, or the folder has no trained model.
        ValueError: The model ends in features, or is given with weights or options; or the file is damaged, or might do
            more than compute.
        UnknownNameError: There is no such network.
    """
    from kcnn.weights.hub_files import find_address

    path = Path(name)
    if address := find_address(name) or find_address(path):
        return _open_pretrained(address, weights, options or {}, starting, on_classes)
    if not path.exists():
        if len(path.parts) > 1 or (path.suffix in SUFFIXES and name.partition(".")[0] not in kcnn.list_models()):
            raise FileNotFoundError(f"file not found: {path}")
        return _open_pretrained(name, weights, options or {}, starting, on_classes)
    if options or weights != PUBLISHED:
        raise ValueError(f"network options and weights apply to a network by name; {path} has its own")
    path, note = locate_model(path)
    if path.is_dir() or path.suffix in RUNTIMES or is_exported(path):
        with starting(RUNTIMES.get(path.suffix, KERAS)):
            exported = load_exported(path, trust=trust)
        return OpenedModel(name, exported.metadata, lambda: exported.run, note, path)
    from kcnn.keras_bridge.metadata import has_classes
    from kcnn.keras_bridge.saved_models import read_metadata

    metadata = read_metadata(path)
    if not has_classes(metadata):
        raise ValueError(f"{path} ends in features, not in classes")

    def load() -> Any:
        with starting(KERAS):
            return _disable_xla(kcnn.load_model(path))

    return _make_opened(name, metadata, load, note, path, is_new=True)


def is_exported(path: Path) -> bool:
    """Return whether a .keras file was exported for inference, and ends in probabilities."""
    try:
        with zipfile.ZipFile(path) as archive:
            return METADATA in archive.namelist()
    except (OSError, zipfile.BadZipFile):  # reported where the file is read
        return False


def _disable_xla(model: Any) -> Any:
    """Keep TensorFlow from compiling a model with XLA, which it does again for each number of images."""
    import keras

    if keras.backend.backend() == "tensorflow":
        model.jit_compile = False
    return model


def _open_pretrained(
    name: str,
    weights: str,
    options: Mapping[str, Any],
    starting: Starting,
    on_classes: OnClasses | None,
) -> OpenedModel:
    """A network with pretrained weights, or those of a file."""
    from kcnn.weights.hub import OWN
    from kcnn.weights.hub_files import find_address
    from kcnn.weights.published import resolve_spec
    from kcnn.weights.weight_files import check_weights

    spec = resolve_spec(name, None if find_address(name) else weights, **options)
    graph, weights = spec.trace(), spec.weights or weights
    published = check_weights(graph, weights)  # raises before Keras is loaded
    if on_classes and published and published.mapping != OWN:
        on_classes(load_class_names(published.classes))
    with starting(KERAS):
        model = _disable_xla(kcnn.build(graph))
    report = kcnn.load_weights(model, weights)
    if f"{model.metadata['classifier']}/kernel" not in report.matched:
        raise ValueError(f"{weights} has no classifier for the {model.output_shape[-1]} classes of {graph.name}")
    note = resolve_model(weights)[1] if is_run_folder(weights) else ""
    return _make_opened(name, model.metadata, lambda: model, note, is_new=True)


def _make_opened(
    name: str,
    metadata: Mapping[str, Any],
    load: Callable[[], Any],
    note: str = "",
    path: Path | None = None,
    is_new: bool = False,
) -> OpenedModel:
    """Return a network of kcnn, by a function that loads it, as an opened one; a new one is not traced yet."""

    def load_for_many() -> Callable[[Any], Any]:
        from kcnn.export.inference_model import optimize_for_inference

        model = load()
        optimized = _disable_xla(optimize_for_inference(model)) if _is_optimizable(model) else None
        return _with_probabilities(model, metadata, optimized, is_new=True)

    def load_one() -> Callable[[Any], Any]:
        return _with_probabilities(load(), metadata, is_new=is_new)

    return OpenedModel(name, metadata, load_one, note, path, load_for_many if is_new else None)


def _is_optimizable(model: Any) -> bool:
    """Return whether a model is as kcnn builds it, of layers that are known to compute the same once optimized."""
    from kcnn.keras_bridge.model import Network

    return type(model) is Network and all(
        (type(layer).__module__.partition(".")[0] in ("keras", "kcnn") or hasattr(layer, "to_inference_layer"))
        and not getattr(layer, "quantization_mode", None)
        and not getattr(layer, "lora_enabled", False)
        for layer in model.layers
    )


def _with_probabilities(
    model: Any, metadata: Mapping[str, Any], optimized: Any = None, *, is_new: bool = False
) -> Callable[[Any], Any]:
    """A function from pixels to probabilities, by a model or its optimized version."""
    import keras

    from kcnn.keras_bridge.probabilities import compute_probabilities

    network = optimized or model
    few = FEW if is_new and keras.backend.backend() == "tensorflow" else 0

    def run(pixels: Any) -> Any:
        nonlocal few
        images, is_few, few = pixels.astype("float32"), len(pixels) <= few, 0  # once: from then on tracing pays
        scores = network(images, training=False) if is_few else network.predict_on_batch(images)
        return compute_probabilities(model, scores, metadata)

    return run


def open_classifier(
    model: Any,
    weights: str | None = None,
    options: Mapping[str, Any] | None = None,
    on_classes: OnClasses | None = None,
) -> OpenedModel:
    """Open whatever predicts.

    Args:
        model: As of open_model; the result of a run, a transfer or a search; a Keras model; or an opened one.
        weights: Pretrained weights of a network by name, or a file; "imagenet" where it is None.
        options: Options of a network by name.
        on_classes: As of open_model.

    Returns:
        The classifier.

    Raises:
        FileNotFoundError, UnknownNameError, ValueError: As of open_model.
    """
    folder = getattr(model, "folder", None)  # of a result
    if isinstance(folder, Path):
        model = folder
    if isinstance(model, str | PathLike) and model != "":
        return open_model(fspath(model), weights or PUBLISHED, options, on_classes=on_classes)
    if weights or options:
        raise ValueError("weights and options apply to a network by name; a Keras model has its own")
    return model if isinstance(model, OpenedModel) else _open_keras_model(model)


def _open_keras_model(model: Any) -> OpenedModel:
    """Return a Keras model as an opened one; without metadata its classes are numbers."""
    from kcnn.keras_bridge.keras_graph import find_probability_activation, means_several_labels
    from kcnn.keras_bridge.metadata import has_classes

    expected = "a network by name, the folder of a run, a file, or a Keras model from images to class scores"
    if not hasattr(model, "predict_on_batch"):
        raise wrong_kind("model", expected, model)
    metadata: Mapping[str, Any] = getattr(model, "metadata", None) or {}
    if metadata:
        if not has_classes(metadata):
            raise ValueError(f"model {model.name!r} ends in features, not in classes")
        return _make_opened(model.name, metadata, lambda: model)
    shapes = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    if [len(shape) if isinstance(shape, tuple) else 0 for shape in shapes] != [4, 2]:
        raise ValueError(f"model must be {expected}, got {model.name!r}, which takes {shapes[0]} and gives {shapes[1]}")
    classes = int(model.output_shape[-1])
    metadata = {
        "classes": classes,
        "input_shape": list(model.input_shape[1:]),
        "multi_label": means_several_labels(find_probability_activation(model), classes),
    }
    return OpenedModel(model.name, metadata, lambda: _with_probabilities(model, metadata))


def prepare_image(image: Any, opened: OpenedModel) -> np.ndarray:
    """Return an image as a model takes it, resized as its published weights were evaluated.

    Args:
        image: A file, its content, pixels 0..255 (rows, columns) or (rows, columns, 1 or 3), or a Pillow image.
        opened: The model.

    Returns:
        uint8 (rows, columns, channels).

    Raises:
        ImageDecodeError: The file is not an image.
        ValueError: The pixels have another shape or other values, or a Pillow image no defined range (modes I and F).
    """
    shape, preprocessing = opened.input_shape, opened.metadata.get("preprocessing")
    options: dict[str, Any] = {}
    if preprocessing:
        options = {
            "resize_shorter_to": round(preprocessing["resize"] * shape[0] / preprocessing["crop"]),
            "interpolation": preprocessing["interpolation"],
            "squash": preprocessing.get("crop_mode") == "squash",
        }
    return decode(image if isinstance(image, str | bytes | PathLike) else encode_png(image), shape, **options)


def encode_png(image: Any) -> bytes:
    """Return a Pillow image, or pixels 0..255 of one, as the content of a PNG file.

    Args:
        image: The image.

    Raises:
        ValueError: The pixels have another shape or other values, or the range of the image is not defined.
    """
    if not isinstance(image, Image.Image):
        pixels = to_uint8(np.asarray(image)[None])[0]
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    buffer = io.BytesIO()
    ImageOps.exif_transpose(_to_png_mode(image)).save(buffer, "PNG")
    return buffer.getvalue()


def _to_png_mode(image: Image.Image) -> Image.Image:
    """A Pillow image in a mode that a PNG file can have, with its range and transparency."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        return _to_16_bits(image)
    if image.mode in ("I", "F"):
        raise ValueError(
            f"the range of a Pillow image of mode {image.mode} is not defined; convert it to unsigned samples of 8 or "
            "16 bits, or pass an array of pixels 0..255"
        )
    return image if image.mode in PNG_MODES else image.convert(ALPHA_MODES.get(image.mode, "RGB"))


def _to_16_bits(image: Image.Image) -> Image.Image:
    """Deep gray in the byte order of PNG; of an opened TIFF file, whose samples are as stored, in its range."""
    tags = getattr(image, "tag_v2", {})
    if image.mode == "I;16" and not tags:
        return image
    deep = np.asarray(image).astype("uint16") << (16 - tags.get(BITS_PER_SAMPLE, (16,))[0])
    return Image.fromarray(~deep if tags.get(PHOTOMETRIC) == 0 else deep)
