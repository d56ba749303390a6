"""Exported files run by their own runtimes: LiteRT, onnxruntime, Keras, TensorFlow's SavedModel."""

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

FORMATS: Mapping[str, str] = {  # and the ending of its file; a SavedModel is a folder
    "litert": ".tflite",
    "litert-float16": ".tflite",
    "litert-dynamic": ".tflite",
    "litert-int8": ".tflite",
    "saved_model": "",
    "onnx": ".onnx",
    "keras": ".keras",
}
METADATA = "kcnn.json"  # in a zip or folder; in ONNX a property named "kcnn"


@dataclass(frozen=True)
class ExportedModel:
    """An exported model, ready to run: what its file says of it, and pixels to probabilities.

    `run` takes uint8 pixels (n, rows, columns, channels) and gives float32 (n, classes).
    """

    metadata: Mapping[str, Any]
    run: Callable[[np.ndarray], np.ndarray]


def load_exported(path: str | PathLike[str], *, threads: int | None = None) -> ExportedModel:
    """A file that `export` wrote, opened in the runtime of its ending.

    FileNotFoundError; ValueError where the file is none of kcnn's, or is damaged; ImportError where its runtime is
    not installed.
    """
    where = Path(path)
    if not where.exists():
        raise FileNotFoundError(f"there is no file {where}")
    if where.is_dir():
        return ExportedModel(_card(where), _saved_model(where))
    opened = {".tflite": _litert, ".onnx": _onnx, ".keras": _keras}.get(where.suffix)
    if opened is None:
        raise ValueError(f"{where} ends in none of .tflite, .onnx, .keras, and is no folder of a SavedModel")
    return ExportedModel(_card(where), opened(where, threads))


def _card(path: Path) -> dict[str, Any]:
    """What export wrote into the file about it."""
    try:
        if path.is_dir():
            return json.loads((path / "assets.extra" / METADATA).read_text(encoding="utf-8"))
        if path.suffix == ".onnx":
            return json.loads(_session(path, 1).get_modelmeta().custom_metadata_map["kcnn"])
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read(METADATA))
    except (KeyError, zipfile.BadZipFile, FileNotFoundError, ValueError) as error:
        raise ValueError(f"{path} was not exported by kcnn, or is damaged: {error}") from None


def _litert(path: Path, threads: int | None) -> Callable[[np.ndarray], np.ndarray]:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise ImportError('running a .tflite file takes LiteRT: pip install "kcnn[litert]"') from None
    try:
        interpreter = Interpreter(str(path), num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is no model that LiteRT runs: {str(error).splitlines()[0]}") from None
    (into,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()

    def one(pixels: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(into["index"], pixels[None].astype(into["dtype"]))
        interpreter.invoke()
        found = interpreter.get_tensor(out["index"])[0]
        scale, zero = out["quantization"]
        return (found.astype("float32") - zero) * scale if scale else found

    return lambda pixels: np.stack([one(image) for image in pixels])


def _session(path: Path, threads: int | None) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise ImportError('running an .onnx file takes onnxruntime: pip install "kcnn[onnx]"') from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base but this
        raise ValueError(f"{path} is no model that onnxruntime runs: {str(error).splitlines()[0]}") from None


def _onnx(path: Path, threads: int | None) -> Callable[[np.ndarray], np.ndarray]:
    session = _session(path, threads)
    name = session.get_inputs()[0].name
    return lambda pixels: session.run(None, {name: pixels.astype("float32")})[0]


def _keras(path: Path, threads: int | None) -> Callable[[np.ndarray], np.ndarray]:
    import keras

    model = keras.saving.load_model(path, compile=False)
    return lambda pixels: model.predict(pixels.astype("float32"), verbose=0)


def _saved_model(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    import tensorflow as tf

    served = tf.saved_model.load(str(path))
    return lambda pixels: served.serve(tf.constant(pixels, tf.float32)).numpy()
