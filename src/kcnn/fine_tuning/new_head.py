"""A pretrained network with a new head for other classes, and the rest of it frozen."""

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

import keras

from kcnn import training
from kcnn.architectures.architecture import Architecture
from kcnn.architectures.spec import ModelSpec
from kcnn.building import build
from kcnn.graph.argument_kinds import check_arguments
from kcnn.keras_bridge.keras_graph import finalize_normalization, operation, producers
from kcnn.weights.loading import load_weights, trace_metadata
from kcnn.weights.published import resolve_spec


@check_arguments
def replace_head(
    network: Any,
    *,
    classes: int | Sequence[str],
    weights: str | PathLike[str] | None = None,
    freeze: str | int | Sequence[str] | None = "backbone",
    batch_norm: str = "frozen",
    seed: int | None = None,
) -> Any:
    """Build a network with a new head for other classes, on the backbone of a pretrained one.

    Args:
        network: A name or a ModelSpec; or a functional Keras model, of kcnn or any other, whose weights are copied and
            which stays as it is. In a model of another library what follows the features is replaced where it ends in
            one score for each class: the last Dense layer, or the 1x1 convolution behind which only a global pool
            follows. A model that ends in features gets global average pooling and a Dense layer.
        classes: Number of classes, or their names.
        weights: Pretrained weights of a network by name, or a file; by default those of the ModelSpec.
        freeze: "backbone", everything but the head; a number of stages, the first ones; globs of layers; or None.
        batch_norm: "frozen" or "adapt", as in kcnn.training.TrainingPhase.
        seed: Fixes the initial weights of the head.

    Returns:
        A flat Keras model that takes pixels as the network did and ends in logits (batch, classes).

    Raises:
        TypeError: `network` is neither a name, a ModelSpec nor a Keras model.
        ValueError: Weights for a built model, a model without a graph of one output, or a `freeze` that fits nothing.
    """
    names = None if isinstance(classes, int) else [str(name) for name in classes]
    count = classes if isinstance(classes, int) else len(classes)
    if isinstance(network, keras.Model):
        if weights is not None:
            raise ValueError(f"weights= applies to a network by name; the Keras model {network.name!r} has its own")
        rebuild = _rebuild_network if getattr(network, "metadata", None) else _rebuild_foreign
        model = rebuild(network, count, seed)
    elif isinstance(network, str | Architecture | ModelSpec):
        spec = resolve_spec(network, weights)
        model = build(replace(spec, classes=count, weights=None), seed=seed)
        if spec.weights is not None:
            load_weights(model, spec.weights, head=False)
    else:
        raise TypeError(f"replace_head expects a network name, a ModelSpec or a Keras model, got {network!r}")
    if names and hasattr(model, "update_metadata"):
        model.update_metadata(classes=names)
    return _freeze(model, freeze, batch_norm)


def _freeze(model: Any, frozen: str | int | Sequence[str] | None, batch_norm: str) -> Any:
    if frozen is None:
        return training.freeze(model, "all", batch_norm=batch_norm)
    if frozen == "backbone":
        return training.freeze(model, "head", batch_norm=batch_norm)
    layers = training.group_by_stage(model)
    stages = sorted({stage for stage in layers.values() if stage is not None})
    if isinstance(frozen, int):
        if not 0 <= frozen <= len(stages):
            raise ValueError(f"freeze must be 0 to {len(stages)} stages, the number with weights; got {frozen}")
        return training.freeze(model, len(stages) - frozen, batch_norm=batch_norm)
    training.unfreeze(model, "all")
    training.freeze(model, frozen, batch_norm=batch_norm)  # finds the layers that match, or raises
    matching = {name for name in layers if any(v.trainable for v in model.get_layer(name).trainable_variables)}
    return training.freeze(model, [name for name in layers if name not in matching], batch_norm=batch_norm)


def _rebuild_network(network: Any, classes: int, seed: int | None) -> Any:
    """A network of kcnn built for other classes, with every weight of the old one but those of classifiers."""
    graph = trace_metadata(network.metadata, classes=classes, top=True, pooling=None, aux=False, outputs=())
    if graph is None:
        raise ValueError(
            f"{network.name!r} was built from an architecture that no plugin publishes; build that for the new "
            "classes, and load a file of kcnn.weights.save_weights with kcnn.load_weights"
        )
    model = build(graph, seed=seed)
    old_layers = {layer.name: layer for layer in network.layers}
    new_layers = [layer for layer in model.layers if layer.weights]
    for layer in new_layers:
        is_classifier = layer.name == model.metadata["classifier"] or layer.name.endswith("logits")
        if layer.name in old_layers and not is_classifier:
            layer.set_weights(old_layers[layer.name].get_weights())
    finalize_normalization(model)
    return model


def _rebuild_foreign(network: Any, classes: int, seed: int | None) -> Any:
    """A copy of a functional model of another library with another classifier."""
    if not getattr(network, "inputs", None) or len(network.outputs) != 1:
        raise ValueError(f"cannot replace the head of {network.name!r}: expected a functional model with one output")
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    finalize_normalization(copy)
    x = end = copy.outputs[0]
    while len(producers(end)) == 1 and not getattr(operation(end), "weights", ()):
        end = producers(end)[0]
    is_class_map = isinstance(operation(end), keras.layers.Conv2D) and operation(end).kernel_size == (1, 1)
    if len(x.shape) == 2 and (isinstance(operation(end), keras.layers.Dense) or is_class_map):
        x = producers(end)[0]
    if len(x.shape) == 4:
        x = keras.layers.GlobalAveragePooling2D(name="pooled")(x)
    if len(x.shape) != 2:
        raise ValueError(f"cannot add a head to {network.name!r}: it ends in {tuple(x.shape)}")
    initializer = keras.initializers.GlorotUniform(seed)
    logits = keras.layers.Dense(classes, kernel_initializer=initializer, dtype="float32", name="logits")(x)
    return keras.Model(copy.inputs, logits, name=network.name)
