"""The Keras model of a graph, with its metadata and initial weights."""

import json
import re
from typing import Any

from kcnn.graph.graph import Graph
from kcnn.keras_bridge.keras_code import rebuild_tensors
from kcnn.keras_bridge.metadata import make_metadata
from kcnn.keras_bridge.model import Network
from kcnn.keras_bridge.to_keras import build_tensors


def make_network(graph: Graph) -> Network:
    """Return the Keras model of a graph.

    Args:
        graph: A graph from kcnn.trace.
    """
    assert graph.spec is not None
    image, tensors = (rebuild_tensors if _is_keras_code(graph) else build_tensors)(graph)
    aux = tuple(tensors)[1:] if graph.spec.aux else ()
    outputs = list(tensors.values()) if len(tensors) > 1 else next(iter(tensors.values()))
    name = _to_model_name(graph.spec.prefix + graph.name.rpartition(":")[2])
    model = Network(image, outputs, name=name, aux=aux, metadata=json.dumps(make_metadata(graph)))
    model.update_metadata(modules=_modules(model))
    return model


def _to_model_name(name: str) -> str:
    """A name that TensorFlow takes for that of a scope: of ASCII letters, digits and _, as "lambda" of "<lambda>"."""
    return re.sub(r"\W", "_", name, flags=re.ASCII).strip("_") or "network"


def _is_keras_code(graph: Graph) -> bool:
    """Whether a network exists only as Keras code."""
    return graph.architecture is not None and graph.architecture.keras is not None


def _modules(model: Any) -> list[str]:
    """Modules of the layers that are neither Keras' nor kcnn's."""
    modules = {type(layer).__module__ for layer in model.layers}
    return sorted(module for module in modules if module.partition(".")[0] not in ("keras", "kcnn"))
