"""A network as a file for phones, servers or Keras, with the names of its classes inside. Mostly TensorFlow writes it.

Every file takes pixels 0..255 (batch, rows, columns, channels) and gives probabilities (batch, classes).
"""

import contextlib
import io
import json
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import keras
import numpy as np

import kcnn
from kcnn.atomic_io import replace_atomically
from kcnn.export.inference_model import optimize_for_inference
from kcnn.export.runtimes import FORMATS, METADATA

EXAMPLES = 100  # images that int8 is calibrated on


def export_model(
    model: Any,
    path: str | PathLike[str],
    format: str = "litert",
    *,
    classes: Sequence[str] | None = None,
    examples: np.ndarray | None = None,
) -> Path:
    """Write a classifier for inference, whole or not at all, and give its path, which ends as the format wants.

    The model is deployed (see kcnn.export) and ends in probabilities. `classes` are names in the order of the outputs,
    by default those on the model's card. "litert-int8" computes in 8 bits from uint8 pixels to the probabilities, in
    ranges that it takes from `examples`, pixels (n, rows, columns, channels); the other formats take float32.
    ValueError for another format, an open input size, too few or too many names, or int8 without examples; ImportError
    where what writes the format is not installed.
    """
    if format not in FORMATS:
        raise ValueError(f"format is one of {', '.join(FORMATS)}, not {format!r}")
    if format == "litert-int8" and (examples is None or not len(examples)):
        raise ValueError('"litert-int8" takes the ranges of its numbers from images; give examples=')
    where = Path(path)
    where = where if where.suffix == FORMATS[format] else where.with_name(where.name + FORMATS[format])
    if format == "onnx":
        _takes_onnx()
    deployed = optimize_for_inference(model, softmax=True)
    if len(deployed.inputs) != 1 or len(deployed.outputs) != 1 or None in deployed.input_shape[1:]:
        raise ValueError(f"a file takes one image of a fixed size and gives one row; {model.name!r} does not")
    card = _card(deployed, classes)
    write = {"onnx": _onnx, "keras": _keras, "saved_model": _saved_model}.get(format)
    if write:
        write(deployed, where, card)
    else:
        _litert(deployed, where, card, format, examples)
    return where


def _card(deployed: Any, classes: Sequence[str] | None) -> dict[str, Any]:
    known, count = deployed.metadata, deployed.output_shape[-1]
    names = classes if classes is not None else known["classes"]
    names = [str(one) for one in names] if isinstance(names, list | tuple) else [f"class {n}" for n in range(count)]
    if len(names) != count:
        raise ValueError(f"{len(names)} names of classes for {count} outputs")
    return {"kcnn": kcnn.__version__, **known, "classes": names}


def _litert(model: Any, path: Path, card: Mapping[str, Any], format: str, examples: np.ndarray | None) -> None:
    """A flat buffer, with the card and labels.txt in a zip behind it, as LiteRT's metadata are."""
    import tensorflow as tf

    image = keras.Input(model.input_shape[1:], batch_size=1, name=model.inputs[0].name)
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(image, model(image)))
    if format != "litert":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if format == "litert-float16":
        converter.target_spec.supported_types = [tf.float16]
    if format == "litert-int8":
        assert examples is not None
        converter.representative_dataset = lambda: ([one[None].astype("float32")] for one in examples[:EXAMPLES])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # Keras tells of its temporary folder
        warnings.filterwarnings("ignore", "Statistics for quantized inputs")  # of another way to quantize
        content = converter.convert()
    with replace_atomically(path) as temporary:
        temporary.write_bytes(content)
        _append(temporary, {METADATA: json.dumps(card, indent=1), "labels.txt": "\n".join(card["classes"]) + "\n"})


def _constant(model: Any, folder: Path) -> None:
    """A SavedModel whose weights are constants: half the bytes of Keras' own export, and its kernels are laid out once.

    What that is worth, benchmarks/infer.py prints; on other backends Keras' own export writes it.
    """
    if keras.backend.backend() != "tensorflow":
        model.export(folder, format="tf_saved_model", verbose=False)
        return
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2 as constant

    image = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32, name="image")
    traced = tf.function(lambda pixels: model(pixels, training=False)).get_concrete_function(image)
    frozen, module = constant(traced), tf.Module()
    module.serve = tf.function(lambda image: frozen(image)[0], input_signature=[image])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})


def _keras(model: Any, path: Path, card: Mapping[str, Any]) -> None:
    with replace_atomically(path) as temporary:
        model.save(temporary)
        _append(temporary, {METADATA: json.dumps(card, indent=1)})


def _append(path: Path, texts: Mapping[str, str]) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        for name, text in texts.items():
            archive.writestr(name, text)


def _onnx(model: Any, path: Path, card: Mapping[str, Any]) -> None:
    onnx = _takes_onnx()
    with replace_atomically(path) as temporary:
        model(np.zeros((1, *model.input_shape[1:]), "float32"))  # or Keras' export has nothing to trace
        model.export(temporary, format="onnx", verbose=False)
        found = onnx.load(temporary)
        onnx.helper.set_model_props(found, {"kcnn": json.dumps(card), "labels": "\n".join(card["classes"])})
        onnx.save(found, temporary)


def _takes_onnx() -> Any:
    try:
        import onnx
        import tf2onnx  # noqa: F401 - Keras' export uses it
    except ImportError:
        raise ImportError('writing ONNX takes onnx and tf2onnx: pip install "kcnn[onnx]"') from None
    return onnx


def _saved_model(model: Any, path: Path, card: Mapping[str, Any]) -> None:
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not (path / "saved_model.pb").exists()):
        raise ValueError(f"{path} is there already and is no SavedModel; give another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        made = Path(folder) / "model"
        _constant(model, made)
        (made / "assets.extra").mkdir()
        (made / "assets.extra" / METADATA).write_text(json.dumps(card, indent=1), encoding="utf-8")
        if path.exists():
            shutil.move(path, Path(folder) / "before")
        shutil.move(made, path)
