"""Check the graphs of exported models before a runtime opens them: they may compute, and nothing else.

A SavedModel is a program: TensorFlow has operations that read and write files, start servers and call Python. Only
those that compute numbers from numbers are allowed, by name, so that one that TensorFlow adds later is not.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
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
    names = [function.signature.name for function in graph.graph_def.library.function]
    odd = sorted({*_find_ambiguous(names), *(_find_named(graph) - set(names))})
    if odd:
        raise ValueError(
            f"{folder} is damaged: it names functions that it lacks, has twice, or that are called as an operation of "
            f"TensorFlow: {', '.join(map(repr, odd))}"
        )
    refused = sorted(_find_refused(graph))
    if refused:
        raise ValueError(
            f"the graph of {folder} has operations that may do more than compute: {', '.join(refused)}; "
            "with trust=True (--trust) it runs with all that you may do on this machine"
        )


def _find_ambiguous(names: list[str]) -> set[str]:
    """Names of functions that might mean something else: those of two functions, or of an operation of TensorFlow."""
    from tensorflow.python.framework import op_def_registry

    return {name for name, count in Counter(names).items() if count > 1 or op_def_registry.get(name) is not None}


def _find_named(graph: Any) -> set[str]:
    """The functions that the objects of a graph name: TensorFlow makes each of them callable."""
    library, objects = graph.graph_def.library, graph.object_graph_def
    named = {*objects.concrete_functions, *graph.meta_info_def.function_aliases}
    named |= {entry.gradient_func for entry in (*library.gradient, *library.registered_gradients)}
    for node in objects.nodes:
        kind = node.WhichOneof("kind")
        if kind == "function":
            named.update(node.function.concrete_functions)
        elif kind == "bare_concrete_function":
            named.add(node.bare_concrete_function.concrete_function_name)
        elif kind == "captured_tensor":
            named.add(node.captured_tensor.concrete_function)
    return named


def _find_refused(graph: Any) -> set[str]:
    """Operations of a graph that may do more than compute.

    Those that save are allowed only where nothing but the saver of the graph leads to them: no object, no signature, no
    node beside the saver's.
    """
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    saver = graph.saver_def
    savers = {name.partition(":")[0] for name in (saver.save_tensor_name, saver.restore_op_name)}
    savers -= {
        tensor.name.partition(":")[0]
        for signature in graph.signature_def.values()
        for tensor in (*signature.inputs.values(), *signature.outputs.values())
    }
    nodes = [node for node in graph.graph_def.node if node.name not in savers]
    saving = [node for node in graph.graph_def.node if node.name in savers]
    # The runtime may put a function in the place of another with the same "api_implements".
    swapped = [name for name, function in functions.items() if "api_implements" in function.attr]
    reached = _find_called(functions, (name for node in saving for name in _iterate_names(node)))
    roots = {*functions.keys() - reached, *_find_named(graph), *swapped}
    called = _find_called(functions, [*roots, *(name for node in nodes for name in _iterate_names(node))])
    nodes += [node for name in called for node in functions[name].node_def]
    saving += [node for name in functions.keys() - called for node in functions[name].node_def]
    allowed = COMPUTING | functions.keys()
    return {node.op for node in nodes} - allowed | {node.op for node in saving} - allowed.union(SAVING)


def _find_called(functions: Mapping[str, Any], roots: Iterable[str]) -> set[str]:
    """The functions of a library that the roots call, and they themselves."""
    called: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in functions and name not in called:
            called.add(name)
            waiting += _iterate_attributes(functions[name].attr)
            for node in functions[name].node_def:
                waiting += _iterate_names(node)
    return called


def _iterate_names(node: Any) -> Iterator[str]:
    """Everything in a node that may name a function."""
    yield node.op
    yield from _iterate_attributes(node.attr)


def _iterate_attributes(attributes: Any) -> Iterator[str]:
    for value in attributes.values():
        for function in (value.func, *value.list.func):
            yield function.name
            yield from _iterate_attributes(function.attr)
        yield from (text.decode(errors="replace") for text in (value.s, *value.list.s))  # gradients are named by text


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
