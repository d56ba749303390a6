"""Check the graphs of exported models before a runtime opens them: they may compute, and nothing else.

A SavedModel is a program: TensorFlow has operations that read and write files, start servers and call Python. Only
those that compute numbers from numbers are allowed, by name, so that one that TensorFlow adds later is not.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

COMPUTING = frozenset(Path(__file__).with_name("operations.txt").read_text().split())  # numbers, calls and variables
SAVING = (  # operations of the functions that write and restore variables, which are not called
    *("AssignVariableOp", "DisableCopyOnRead", "MergeV2Checkpoints", "RestoreV2", "SaveV2"),
    *("ShardedFilename", "StaticRegexFullMatch", "StringJoin"),
)
ONNX_DOMAINS = ("", "ai.onnx")  # ONNX's own operators; others are code of the machine
GRAPH = "saved_model.pb"


def check_saved_model(folder: Path) -> None:
    """Refuse a SavedModel whose graph does anything but compute.

    Args:
        folder: The folder.

    Raises:
        ValueError: An operation may touch files, processes, the network or Python, or is unknown; or the folder has no
            graph of TensorFlow 2, or is damaged.
    """
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    others = [name for name in ("saved_model.cpb", "saved_model.pbtxt") if (folder / name).exists()]
    if others or not (folder / GRAPH).is_file():  # TensorFlow would read the others first, or instead
        raise ValueError(
            f"{folder} is not a SavedModel of kcnn: expected {GRAPH}{' and not ' * bool(others)}{''.join(others)}"
        )
    saved = SavedModel()
    try:
        saved.ParseFromString((folder / GRAPH).read_bytes())
    except Exception as error:  # that of protobuf, which TensorFlow brings
        raise ValueError(f"{folder / GRAPH} is damaged: {error}") from None
    if len(saved.meta_graphs) != 1 or not saved.meta_graphs[0].HasField("object_graph_def"):
        raise ValueError(f"{folder} is not a SavedModel of TensorFlow 2, which has one graph with its objects")
    graph = saved.meta_graphs[0]
    functions = {function.signature.name: function.node_def for function in graph.graph_def.library.function}
    called = _find_called(functions, graph.object_graph_def.concrete_functions)
    rest = [graph.graph_def.node, *(nodes for name, nodes in functions.items() if name not in called)]
    allowed = COMPUTING | functions.keys()
    refused = sorted(
        {node.op for name in called for node in functions[name] if node.op not in allowed}
        | {node.op for nodes in rest for node in nodes if node.op not in allowed.union(SAVING)}
    )
    if refused:
        raise ValueError(
            f"the graph of {folder} has operations that may do more than compute: {', '.join(refused)}; "
            "with trust=True (--trust) it runs with all that you may do on this machine"
        )


def _find_called(functions: Any, roots: Iterable[str]) -> set[str]:
    """The functions of a library that the roots call, and they themselves."""
    called: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in functions and name not in called:
            called.add(name)
            for node in functions[name]:
                waiting += [node.op, *_find_function_names(node)]
    return called


def _find_function_names(node: Any) -> Iterator[str]:
    for value in node.attr.values():
        yield value.func.name
        yield from (function.name for function in value.list.func)


def read_onnx_properties(path: Path) -> dict[str, str]:
    """Read the properties of an ONNX file that keeps all tensors in itself and has no operators but ONNX's own.

    Args:
        path: The file.

    Returns:
        Its metadata by name.

    Raises:
        ValueError: It keeps tensors in other files, has other operators, or is damaged.
        ImportError: onnx is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise ImportError('running an .onnx file requires onnx: pip install "kcnn[onnx]"') from None
    try:
        model = onnx.load_model(path, load_external_data=False)
    except Exception as error:  # that of protobuf, which onnx brings
        raise ValueError(str(error)) from None
    own = {(function.domain, function.name) for function in model.functions}
    for message in _iterate_messages(model):
        if isinstance(message, onnx.TensorProto) and (
            message.external_data or message.data_location == onnx.TensorProto.EXTERNAL
        ):
            raise ValueError(f"it keeps the tensor {message.name!r} in another file; expected all in one")
        if (
            isinstance(message, onnx.NodeProto)
            and message.domain not in ONNX_DOMAINS
            and (message.domain, message.op_type) not in own
        ):
            raise ValueError(f"it has the operator {message.op_type!r} of {message.domain!r}, which is not ONNX's")
    return {entry.key: entry.value for entry in model.metadata_props}


def _iterate_messages(message: Any) -> Iterator[Any]:
    """A message of a protocol buffer and all that it contains."""
    waiting = [message]
    while waiting:
        message = waiting.pop()
        yield message
        for field, value in message.ListFields():
            if field.message_type:
                waiting += [value] if hasattr(value, "ListFields") else value
