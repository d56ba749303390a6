"""Write a network as a file for phones, servers or Keras, with the names of its classes inside.

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
from kcnn.export.litert_metadata import describe_classifier, embed_metadata
from kcnn.export.runtimes import FORMATS, METADATA, add_checksum, check_formats
from kcnn.graph.argument_kinds import check_arguments
from kcnn.keras_bridge.metadata import has_classes

LABELS = "labels.txt"  # in a LiteRT file, a class on each line
CALIBRATION_IMAGES = 100  # images that int8 is calibrated on at most


@check_arguments
def export_model(
    model: Any,
    path: str | PathLike[str],
    format: str = "litert",
    *,
    classes: Sequence[str] | None = None,
    calibration_images: np.ndarray | None = None,
) -> Path:
    """Write a classifier as a file for inference. The file is complete, or it is not written.

    The model is optimized for inference and ends in probabilities.

    Args:
        model: A functional or sequential Keras classifier of images of a fixed size.
        path: The file, or the folder of a SavedModel; the format's suffix is appended where it is missing.
        format: "litert", "litert-float16", "litert-dynamic", "litert-int8", "saved_model", "onnx" or "keras".
            "litert-int8" computes in 8 bits, from uint8 pixels to the probabilities; the others take float32.
        classes: Names in the order of the outputs; by default those in the model's metadata.
        calibration_images: Pixels (n, rows, columns, channels) from which "litert-int8" takes its ranges.

    Returns:
        The path that was written.

    Raises:
        UnknownNameError: There is no such format.
        ValueError: An open input size, too few or too many names, or "litert-int8" without calibration images.
        ImportError: The package that writes the format is not installed.
    """
    check_formats([format])
    if format == "litert-int8" and (calibration_images is None or not len(calibration_images)):
        raise ValueError('format "litert-int8" requires calibration_images=, from which it takes its ranges')
    target = Path(path)
    target = target if target.suffix == FORMATS[format] else target.with_name(target.name + FORMATS[format])
    if format == "onnx":
        _import_onnx()
    optimized = optimize_for_inference(model, probabilities=True)
    if len(optimized.inputs) != 1 or len(optimized.outputs) != 1 or None in optimized.input_shape[1:]:
        raise ValueError(f"an exported model has one input of a fixed size and one output; {model.name!r} does not")
    if len(optimized.output_shape) != 2 or not has_classes(getattr(model, "metadata", None) or {}):
        raise ValueError(f"an exported model gives class scores (batch, classes); {model.name!r} ends in features")
    metadata = _make_metadata(optimized, classes)
    write = {"onnx": _write_onnx, "keras": _write_keras, "saved_model": _write_saved_model}.get(format)
    if write:
        write(optimized, target, metadata)
    else:
        _write_litert(optimized, target, metadata, format, calibration_images)
    return target


def _make_metadata(model: Any, classes: Sequence[str] | None) -> dict[str, Any]:
    known, count = model.metadata, model.output_shape[-1]
    names = classes if classes is not None else known["classes"]
    names = [str(one) for one in names] if isinstance(names, list | tuple) else [f"class {n}" for n in range(count)]
    if len(names) != count:
        raise ValueError(f"expected {count} class names, one for each output, got {len(names)}")
    return {"kcnn": kcnn.__version__, **known, "classes": names}


def _write_litert(model: Any, path: Path, metadata: Mapping[str, Any], format: str, images: np.ndarray | None) -> None:
    """A flat buffer with LiteRT's standard metadata, and kcnn's and labels.txt in a zip appended to it."""
    import tensorflow as tf

    image = keras.Input(model.input_shape[1:], batch_size=1, name=model.inputs[0].name)
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(image, model(image)))
    if format != "litert":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if format == "litert-float16":
        converter.target_spec.supported_types = [tf.float16]
    if format == "litert-int8":
        assert images is not None
        converter.representative_dataset = lambda: (
            [one[None].astype("float32")] for one in images[:CALIBRATION_IMAGES]
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # Keras prints its temporary folder
        warnings.filterwarnings("ignore", "Statistics for quantized inputs")  # of another quantization
        content = converter.convert()
    description = f"Classifies images into {len(metadata['classes'])} classes: pixels 0..255 in, probabilities out."
    table = describe_classifier(
        model.name, model.input_shape[1:], LABELS, description=description, version=metadata["kcnn"]
    )
    content = embed_metadata(content, table)
    with replace_atomically(path) as temporary:
        temporary.write_bytes(content)
        labels = "\n".join(metadata["classes"]) + "\n"
        _append(temporary, {METADATA: json.dumps(add_checksum(metadata, content), indent=1), LABELS: labels})


def _save_constant_graph(model: Any, folder: Path) -> None:
    """A SavedModel whose weights are constants: half the bytes of Keras' own export, and kernels are packed once.

    benchmarks/infer.py measures the gain; on other backends Keras' own export writes it.
    """
    if keras.backend.backend() != "tensorflow":
        model.export(folder, format="tf_saved_model", verbose=False)
        return
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    image = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32, name="image")
    traced = tf.function(lambda pixels: model(pixels, training=False)).get_concrete_function(image)
    frozen, module = convert_variables_to_constants_v2(traced), tf.Module()
    module.serve = tf.function(lambda image: frozen(image)[0], input_signature=[image])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})


def _write_keras(model: Any, path: Path, metadata: Mapping[str, Any]) -> None:
    with replace_atomically(path) as temporary:
        model.save(temporary)
        _append(temporary, {METADATA: json.dumps(metadata, indent=1)})


def _append(path: Path, texts: Mapping[str, str]) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        for name, text in texts.items():
            archive.writestr(name, text)


def _write_onnx(model: Any, path: Path, metadata: Mapping[str, Any]) -> None:
    onnx = _import_onnx()
    with replace_atomically(path) as temporary:
        model(np.zeros((1, *model.input_shape[1:]), "float32"))  # or Keras' export has nothing to trace
        model.export(temporary, format="onnx", verbose=False)
        proto = onnx.load(temporary)
        if unknown := sorted(
            {node.op_type for node in proto.graph.node if not onnx.defs.has(node.op_type, node.domain)}
        ):
            raise ValueError(f"cannot write {path.name}: ONNX has no {', '.join(unknown)}; choose another format")
        onnx.helper.set_model_props(proto, {"labels": "\n".join(metadata["classes"])})
        content, properties = proto.SerializeToString(), onnx.ModelProto()
        onnx.helper.set_model_props(properties, {"kcnn": json.dumps(add_checksum(metadata, content))})
        temporary.write_bytes(content + properties.SerializeToString())  # protocol buffers merge what follows


def _import_onnx() -> Any:
    try:
        import onnx
        from tf2onnx.handler import tf_op
    except ImportError:
        raise ImportError('writing ONNX requires onnx and tf2onnx: pip install "kcnn[onnx]"') from None
    tf_op("Erfc")(_Erfc)  # Keras' export uses tf2onnx
    return onnx


class _Erfc:
    """TensorFlow's 1 - erf(x), of Keras' exact GELU, which tf2onnx lacks."""

    @classmethod
    def version_9(cls, ctx: Any, node: Any, **_: Any) -> None:
        """Replace the node by ONNX's Erf and Sub."""
        dtype, shape = ctx.get_dtype(node.output[0]), ctx.get_shape(node.output[0])
        one = ctx.make_const(f"{node.name}_one", np.ones((), "float32")).output[0]
        erf = ctx.make_node("Erf", node.input, shapes=[shape], dtypes=[dtype]).output[0]
        ctx.remove_node(node.name)
        ctx.make_node("Sub", [one, erf], name=node.name, outputs=node.output, shapes=[shape], dtypes=[dtype])


def _write_saved_model(model: Any, path: Path, metadata: Mapping[str, Any]) -> None:
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not (path / "saved_model.pb").exists()):
        raise ValueError(f"{path} exists and is not a SavedModel; choose another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        written = Path(folder) / "model"
        _save_constant_graph(model, written)
        (written / "assets.extra").mkdir()
        text = json.dumps(add_checksum(metadata, (written / "saved_model.pb").read_bytes()), indent=1)
        (written / "assets.extra" / METADATA).write_text(text, encoding="utf-8")
        if path.exists():
            shutil.move(path, Path(folder) / "before")
        shutil.move(written, path)
