"""Networks that exist only as Keras code: their model, and the graph that is read from it."""

from collections.abc import Mapping
from typing import Any

import keras

from kcnn.architectures.architecture import Architecture
from kcnn.graph.formatting import format_size
from kcnn.graph.graph import Graph
from kcnn.graph.tracing import SymbolicTensor
from kcnn.keras_bridge.from_keras import from_keras, read_graph
from kcnn.keras_bridge.keras_graph import restart_layer_names
from kcnn.keras_bridge.to_keras import FLOAT32_OUTPUTS, make_layer


def call_keras_builder(
    title: str, architecture: Architecture, input_shape: Any, classes: int, options: Mapping[str, Any]
) -> Any:
    """Call the Keras code of a network.

    Args:
        title: Name of the network.
        architecture: An architecture with `keras`.
        input_shape: (rows, columns, channels).
        classes: Number of classes.
        options: Options of the network.

    Returns:
        The keras.Model: pixels 0..255 in, logits (batch, classes) out.

    Raises:
        ValueError: The code fails at this size, or the output has another shape.
        TypeError: The code returns anything but a functional model of one input and output.
    """
    assert architecture.keras is not None
    try:
        with restart_layer_names():
            model = architecture.keras(tuple(input_shape), classes, **options)
    except Exception as error:
        size = format_size(input_shape)
        reason = " ".join(str(error).split())
        raise ValueError(f"its Keras code fails for {size} and {classes} classes: {reason}") from error
    if not isinstance(model, keras.Model) or len(getattr(model, "inputs", None) or ()) != 1 or len(model.outputs) != 1:
        raise TypeError(
            f"{title}: its Keras code must return a functional keras.Model of one input and one output, got {model!r}"
        )
    if tuple(model.output.shape) != (None, classes):
        raise ValueError(f"its Keras code must end in logits (None, {classes}), got {tuple(model.output.shape)}")
    return model


def read_keras_code(
    title: str, architecture: Architecture, input_shape: Any, classes: int, options: Mapping[str, Any]
) -> tuple[SymbolicTensor, SymbolicTensor]:
    """Return the input and the logits of a network's Keras code as symbolic tensors.

    Args:
        title: Name of the network.
        architecture: An architecture with `keras`.
        input_shape: (rows, columns, channels).
        classes: Number of classes.
        options: Options of the network.

    Returns:
        The input and the logits.

    Raises:
        ValueError, TypeError: As from `call_keras_builder`.
    """
    graph = from_keras(call_keras_builder(title, architecture, input_shape, classes, options))
    return graph.input, next(iter(graph.outputs.values()))


def rebuild_tensors(graph: Graph) -> tuple[Any, dict[str, Any]]:
    """Call the Keras code of a graph again and return its tensors.

    Args:
        graph: A graph from kcnn.trace of a network that exists only as Keras code.

    Returns:
        The Keras tensor of the images, and the output tensors by name. Logits are float32 whatever the dtype policy.
    """
    architecture, spec = graph.architecture, graph.spec
    assert architecture is not None
    assert spec is not None
    options = {**architecture.options, **spec.options}
    model = call_keras_builder(
        graph.name, architecture, graph.input_shape, spec.classes or architecture.classes, options
    )
    tensors = read_graph(model, graph.input.shape)[1]
    outputs = {}
    for name, x in graph.outputs.items():
        if name in FLOAT32_OUTPUTS:
            outputs[name] = model.output
        elif (tensor := tensors.get((x.inputs[0] if name == "features" and spec.pooling else x).name)) is not None:
            outputs[name] = tensor
        else:
            raise ValueError(f"{graph.name}: layer {x.name!r} is inside a nested model; it cannot be an output")
        if spec.pooling or spec.activation:  # the layer behind the code's own ones
            outputs[name] = make_layer(x.op, x.name, "float32" if spec.activation else None)(outputs[name])
        elif name == "logits" and model.output.dtype != "float32":
            outputs[name] = keras.layers.Activation("linear", dtype="float32", name="logits_float32")(model.output)
    return model.inputs[0], outputs
