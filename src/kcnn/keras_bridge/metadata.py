"""Metadata of a model: what is saved with it beside its weights."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import kcnn
from kcnn.architectures.plugins import normalize_name
from kcnn.architectures.registry import find_entry_point
from kcnn.architectures.spec import ModelSpec
from kcnn.architectures.spec_values import to_json_value
from kcnn.atomic_io import parse_json
from kcnn.graph.graph import Graph, find_classifier
from kcnn.graph.ops import Activation

SIGMOIDS = ("sigmoid", "hard_sigmoid")


class OldFormatError(ValueError):
    """Raised for a file that an older version of kcnn wrote, in a format that is no longer read."""


def make_metadata(graph: Graph) -> dict[str, Any]:
    """Return the metadata of the model that is built from a graph.

    Args:
        graph: A graph from kcnn.trace.

    Returns:
        JSON values: versions of kcnn and of the distribution that publishes the network, its spec, its classes, its
        input shape, how it rescales pixels, and the names of the layers that its backbone and its classifier end in.
    """
    spec, architecture = graph.spec, graph.architecture
    assert spec is not None
    assert architecture is not None
    published = spec.network if isinstance(spec.network, str) and spec.definition is None else None
    point = find_entry_point(published)[0] if published else None
    publisher = point.dist if point else None
    classifier = find_classifier(graph.class_scores) if graph.class_scores else None
    classes = architecture.classes if spec.classes is None else spec.classes
    complete = replace(spec, classes=classes, input_shape=graph.input_shape, weights=None)
    return {
        "kcnn": kcnn.__version__,
        "distribution": normalize_name(publisher.name) if publisher else None,
        "distribution_version": publisher.version if publisher else None,
        "spec": complete.to_json(),
        "classes": classes,
        "input_shape": list(graph.input_shape),
        "backbone_output": graph.features.name,
        "classifier": classifier.name if classifier else None,
        "rescale": None if architecture.keras else to_json_value(architecture.rescale),
        **({"multi_label": True} if _gives_several_labels(graph) else {}),
    }


def _gives_several_labels(graph: Graph) -> bool:
    """Whether a graph ends in a sigmoid for each of several classes."""
    scores = graph.class_scores
    if scores is None or not isinstance(scores.op, Activation):
        return False
    return scores.op.function in SIGMOIDS and scores.shape[-1] > 1


def has_classes(metadata: Mapping[str, Any]) -> bool:
    """Return whether a model ends in its classifier, by its metadata."""
    spec = metadata.get("spec", {})
    return bool(spec.get("top", True)) and not spec.get("outputs")


def restore_spec(metadata: Mapping[str, Any]) -> ModelSpec | None:
    """Return the spec in a model's metadata, of the network that its distribution publishes.

    Args:
        metadata: The metadata.

    Returns:
        The spec; None where no distribution publishes the network.

    Raises:
        UnknownNameError: A field of the spec, or an op in it, is unknown.
    """
    if not metadata.get("distribution"):
        return None
    spec = ModelSpec.from_json(metadata["spec"])
    return replace(spec, network=f"{metadata['distribution']}:{spec.title.rpartition(':')[2]}")


def parse_metadata(fields: Mapping[str, Any], path: Any) -> dict[str, Any]:
    """Return the metadata in a file of kcnn.

    Args:
        fields: What the file holds beside its weights, with the metadata as JSON text under "metadata".
        path: The file, for messages.

    Returns:
        The metadata; empty where there is none.

    Raises:
        OldFormatError: An older version of kcnn wrote the file.
        ValueError: The metadata is damaged.
    """
    text = fields.get("metadata", "{}")
    try:
        metadata = parse_json(text)
    except (TypeError, ValueError) as error:
        raise ValueError(f"its metadata is damaged: {error}") from None
    if not isinstance(metadata, dict):
        raise ValueError(f"its metadata is damaged: expected an object, got {metadata!r}")
    if "card" in fields or (metadata and "spec" not in metadata):
        raise OldFormatError(f"{path} was written by an older version of kcnn in a format that is no longer read")
    if metadata:
        _check(metadata)
    return metadata


def check_classes(names: Any) -> None:
    """Refuse names of classes that are not a list of texts.

    Raises:
        ValueError: They are not, or there are none.
    """
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"its metadata is damaged: classes is {names!r}; expected a list of names")


def check_input_shape(shape: Any, *, flexible: bool = False) -> None:
    """Refuse an input shape that is not [rows, columns, channels].

    Args:
        shape: The shape, from JSON.
        flexible: Whether rows and columns may be None, as in a model that takes images of any size.

    Raises:
        ValueError: It is not.
    """
    sizes = shape if isinstance(shape, list) and len(shape) == 3 else [None, None, None]
    fixed = [size for n, size in enumerate(sizes) if not (flexible and n < 2 and size is None)]
    if not all(_is_size(size) for size in fixed):
        raise ValueError(f"its metadata is damaged: input_shape is {shape!r}; expected [rows, columns, channels]")


def _is_size(value: Any) -> bool:
    return type(value) is int and value > 0  # True is an int as well


def _check(metadata: Mapping[str, Any]) -> None:
    """Refuse metadata without the fields that a model is loaded by."""
    kinds = {"spec": dict, "distribution": str | None, "classes": int | list, "input_shape": list, "modules": list}
    for field, kind in kinds.items():
        if not isinstance(metadata.get(field, [] if field == "modules" else ...), kind):
            raise ValueError(f"its metadata is damaged: {field} is {metadata.get(field)!r}")
    if isinstance(metadata["classes"], list):
        check_classes(metadata["classes"])
    elif not _is_size(metadata["classes"]):
        raise ValueError(f"its metadata is damaged: classes is {metadata['classes']!r}; expected names, or at least 1")
    check_input_shape(metadata["input_shape"], flexible=True)
    names = (metadata["spec"].get("network"), *metadata.get("modules", ()))
    if not all(isinstance(name, str) for name in names) or not isinstance(metadata["spec"].get("options", {}), dict):
        raise ValueError("its metadata is damaged: the spec names no network")
