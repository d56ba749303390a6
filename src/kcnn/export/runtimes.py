"""Run exported files in their own runtimes: LiteRT, ONNX Runtime, Keras, TensorFlow's SavedModel."""

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.atomic_io import parse_json
from kcnn.export.graph_safety import GRAPH, check_saved_model, read_onnx_properties
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_integer, check_keywords
from kcnn.graph.names import unknown
from kcnn.keras_bridge.metadata import check_classes, check_input_shape
from kcnn.keras_bridge.untrusted_files import check_archive

FORMATS: Mapping[str, str] = {  # and the suffix of its file; a SavedModel is a folder
    "litert": ".tflite",
    "litert-float16": ".tflite",
    "litert-dynamic": ".tflite",
    "litert-int8": ".tflite",
    "saved_model": "",
    "onnx": ".onnx",
    "keras": ".keras",
}
MAX_THREADS = 1_024
METADATA = "kcnn.json"  # in a zip or folder; in ONNX a property named "kcnn"
CONTENT = "content"  # of METADATA: size and SHA-256, as runtimes crash on some damaged files


def check_formats(names: Iterable[str]) -> None:
    """Refuse names that are no export formats.

    Raises:
        UnknownNameError: A name is no key of FORMATS.
    """
    for name in names:
        if name not in FORMATS:
            raise unknown("export format", name, FORMATS)


@check_keywords
@dataclass(frozen=True)
class ExportedModel:
    """An exported model, ready to run.

    Attributes:
        metadata: What its file describes: input_shape, pixels, classes, network.
        run: Takes uint8 pixels (n, rows, columns, channels), gives float32 probabilities (n, classes).
    """

    metadata: Mapping[str, Any]
    run: Callable[[np.ndarray], np.ndarray]


@check_arguments
def load_exported(path: str | PathLike[str], *, threads: int | None = None, trust: bool = False) -> ExportedModel:
    """Open a file that `export_model` wrote, in the runtime of its suffix.

    Nothing but the model's computation runs: a file with code, with tensors in other files, or with operations that
    might do more than compute is refused.

    Args:
        path: A .tflite, .onnx or .keras file, or the folder of a SavedModel.
        threads: CPU threads of LiteRT and ONNX Runtime; by default those that the runtime chooses.
        trust: Whether to open a file that was changed since, and a SavedModel with any operation, such as those that
            write files.

    Returns:
        The model, ready to run.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file was not exported by kcnn, is damaged, or might do more than compute.
        ImportError: The runtime is not installed.
    """
    if threads is not None:
        check_integer("threads", threads, 1, f"an integer from 1 to {MAX_THREADS}", maximum=MAX_THREADS)
    file = Path(path)
    if not file.exists():
        raise FileNotFoundError(f"file not found: {file}")
    if file.is_dir():
        metadata = _read_metadata(file)
        if not trust:
            if (file / GRAPH).is_file():
                _check_content(file, metadata)
            check_saved_model(file)
        return ExportedModel(metadata, _open_saved_model(file))
    open_runtime = {".tflite": _open_litert, ".onnx": _open_onnx, ".keras": _open_keras}.get(file.suffix)
    if open_runtime is None:
        raise ValueError(f"{file} is not an exported model; expected .tflite, .onnx, .keras or a SavedModel folder")
    metadata = _read_metadata(file)
    if not trust and file.suffix != ".keras":  # whose members have checksums of their own
        _check_content(file, metadata)
    return ExportedModel(metadata, open_runtime(file, threads))


def add_checksum(metadata: Mapping[str, Any], content: bytes) -> dict[str, Any]:
    """Return the metadata of an exported model with a checksum of them and of what its runtime will read.

    Args:
        metadata: As JSON can hold them.
        content: A flat buffer, an ONNX model without these metadata, or a saved_model.pb.

    Returns:
        The metadata with CONTENT.
    """
    plain = json.loads(json.dumps(metadata))
    return {**plain, CONTENT: {"bytes": len(content), "sha256": _hash(content, plain)}}


def _hash(content: bytes | memoryview, metadata: Mapping[str, Any]) -> str:
    hashed = hashlib.sha256(content)
    hashed.update(json.dumps(metadata, sort_keys=True).encode())
    return hashed.hexdigest()


def _check_content(path: Path, metadata: Mapping[str, Any]) -> None:
    """Refuse what is not as it was exported. A file begins with what its runtime reads; a folder has it in a file."""
    rest = dict(metadata)
    match rest.pop(CONTENT, None):
        case {"bytes": int(size), "sha256": str(expected)}:
            file = path / GRAPH if path.is_dir() else path
            content = memoryview(file.read_bytes())
            if _hash(content if path.is_dir() else content[:size], rest) == expected:
                return
            problem = "is damaged, or was changed after kcnn exported it: it does not match its checksum"
        case _:
            problem = "has no checksum: it is damaged, or another version of kcnn exported it"
    risk = ", with which its graph may do all that you may do on this machine" if path.is_dir() else ""
    raise ValueError(f"{path} {problem}; export it again, or open it with trust=True (--trust){risk}")


def _read_metadata(path: Path) -> dict[str, Any]:
    try:
        metadata = parse_json(_read_text(path))
        fields = metadata if isinstance(metadata, dict) else {}
        check_input_shape(fields.get("input_shape"))
        check_classes(fields.get("classes"))
    except (KeyError, zipfile.BadZipFile, OSError, ValueError) as error:
        raise ValueError(f"{path} was not exported by kcnn, or is damaged: {error}") from None
    return metadata


def _read_text(path: Path) -> str | bytes:
    """The metadata in a file, as JSON."""
    if path.is_dir():
        return (path / "assets.extra" / METADATA).read_text(encoding="utf-8")
    if path.suffix == ".onnx":
        return read_onnx_properties(path)["kcnn"]
    with zipfile.ZipFile(path) as archive:
        check_archive(archive, path.stat().st_size)
        return archive.read(METADATA)


def _open_litert(path: Path, threads: int | None) -> Callable[[np.ndarray], np.ndarray]:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise ImportError('running a .tflite file requires LiteRT: pip install "kcnn[litert]"') from None
    try:
        interpreter = Interpreter(str(path), num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"LiteRT cannot run {path}: {str(error).splitlines()[0]}") from None
    sources, targets = interpreter.get_input_details(), interpreter.get_output_details()
    if (len(sources), len(targets)) != (1, 1):
        raise ValueError(f"{path} has {len(sources)} inputs and {len(targets)} outputs; expected one of each")
    (source,), (target,) = sources, targets

    def run_one(image: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(source["index"], image[None].astype(source["dtype"]))
        interpreter.invoke()
        values = interpreter.get_tensor(target["index"])[0]
        scale, zero = target["quantization"]
        return (values.astype("float32") - zero) * scale if scale else values

    return lambda pixels: np.stack([run_one(image) for image in pixels])


def _open_session(path: Path, threads: int | None) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise ImportError('running an .onnx file requires onnxruntime: pip install "kcnn[onnx]"') from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base but this
        raise ValueError(f"ONNX Runtime cannot run {path}: {str(error).splitlines()[0]}") from None


def _open_onnx(path: Path, threads: int | None) -> Callable[[np.ndarray], np.ndarray]:
    session = _open_session(path, threads)
    name = session.get_inputs()[0].name
    return lambda pixels: session.run(None, {name: pixels.astype("float32")})[0]


def _open_keras(path: Path, threads: int | None) -> Callable[[np.ndarray], np.ndarray]:
    from kcnn.keras_bridge.saved_models import load_keras_file

    model = load_keras_file(path)
    return lambda pixels: np.asarray(model.predict_on_batch(pixels.astype("float32")))


def _open_saved_model(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    import tensorflow as tf

    try:
        module = tf.saved_model.load(str(path))
    except Exception as error:  # TensorFlow's errors have no common base but this
        raise ValueError(f"TensorFlow cannot run {path}: {' '.join(str(error).split())[:300]}") from None
    if not hasattr(module, "serve"):
        raise ValueError(f"{path} was not exported by kcnn: it has no function `serve`")
    return lambda pixels: module.serve(tf.constant(pixels, tf.float32)).numpy()
