"""A network that learned on something, with a new head for other classes and the rest of it frozen."""

from collections.abc import Sequence
from os import PathLike
from typing import Any

import keras

from kcnn.graph.graph import Graph
from kcnn.keras_bridge.building import build
from kcnn.keras_bridge.keras_graph import operation, producers
from kcnn.training import freeze as frozen
from kcnn.training import group_by_stage, unfreeze
from kcnn.weights.loading import load_weights, trace_metadata


def replace_head(
    network: Any,
    *,
    classes: int | Sequence[str],
    weights: str | PathLike[str] | None = None,
    freeze: str | int | Sequence[str] | None = "backbone",
    batch_norm: str = "frozen",
    seed: int | None = None,
    **options: Any,
) -> Any:
    """A flat Keras model of these classes, by number or name, that ends in logits of a new head.

    `network` is a name, built with `options` (those of kcnn.build) and `weights`, published ones by
    name or a file; or a model, kcnn's or any functional one, whose weights are copied and which stays
    as it is. Of a model from elsewhere the last dense layer or 1x1 convolution is replaced; one that
    ends in features gets a global average pool and a dense layer. It takes pixels as it did before.

    `freeze` is "backbone", all but the head; a number of stages, the first so many; globs of layers; or
    None. `norms` is as in kcnn.fine_tuning.Phase. ValueError, TypeError.
    """
    names = None if isinstance(classes, int) else [str(one) for one in classes]
    count = classes if isinstance(classes, int) else len(classes)
    if isinstance(network, keras.Model):
        if weights is not None or options:
            given = ", ".join(["weights"] * (weights is not None) + sorted(options))
            raise ValueError(f"{network.name!r} is built already; {given} are for a network by name")
        make = _rebuilt if getattr(network, "metadata", None) else _headed
        model = make(network, count, seed)
    elif isinstance(network, str | Graph):
        model = build(network, classes=count, seed=seed, **options)
        if weights is not None:
            load_weights(model, weights, head=False)
    else:
        raise TypeError(f"a network is a name or a Keras model, not {network!r}")
    if names and hasattr(model, "update_metadata"):
        model.update_metadata(classes=names)
    return _freeze(model, freeze, batch_norm)


def _freeze(model: Any, what: str | int | Sequence[str] | None, norms: str) -> Any:
    if what is None:
        return frozen(model, "all", batch_norm=norms)
    if what == "backbone":
        return frozen(model, "head", batch_norm=norms)
    there = group_by_stage(model)
    stages = sorted({stage for stage in there.values() if stage is not None})
    if isinstance(what, int):
        if not 0 <= what <= len(stages):
            raise ValueError(f"{what} stages are to be frozen, and there are {len(stages)} with weights")
        return frozen(model, len(stages) - what, batch_norm=norms)
    unfreeze(model, "all")
    frozen(model, what, batch_norm=norms)  # finds the layers, or says what there is
    still = {name for name in there if any(v.trainable for v in model.get_layer(name).trainable_variables)}
    return frozen(model, [name for name in there if name not in still], batch_norm=norms)


def _rebuilt(network: Any, classes: int, seed: int | None) -> Any:
    """One of kcnn's own built anew for other classes, with every weight of the old one but those of classifiers."""
    drawing = trace_metadata(network.metadata, classes=classes, top=True, aux=False, outputs=())
    if drawing is None:
        raise ValueError(
            f"{network.name!r} was built from an architecture that no plugin publishes; "
            "build that for the new classes, and give kcnn.load_weights a file that kcnn.weights.save wrote"
        )
    model = build(drawing, seed=seed)
    there = {layer.name: layer for layer in network.layers}
    weighty = [layer for layer in model.layers if layer.weights]
    for layer in weighty:
        classifier = layer.name.endswith("logits") or layer is weighty[-1]
        if layer.name in there and not classifier:
            layer.set_weights(there[layer.name].get_weights())
    return model


def _headed(network: Any, classes: int, seed: int | None) -> Any:
    """A copy of a functional model from elsewhere with another classifier."""
    if not getattr(network, "inputs", None) or len(network.outputs) != 1:
        raise ValueError(f"{network.name!r} has no graph with one output, so there is no head to replace")
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    x = end = copy.outputs[0]
    while len(producers(end)) == 1 and not getattr(operation(end), "weights", ()):
        end = producers(end)[0]
    classifier = isinstance(operation(end), keras.layers.Dense | keras.layers.Conv2D)
    if len(x.shape) == 2 and classifier:
        x = producers(end)[0]
    if len(x.shape) == 4:
        x = keras.layers.GlobalAveragePooling2D(name="pooled")(x)
    if len(x.shape) != 2:
        raise ValueError(f"{network.name!r} ends in {tuple(x.shape)}, on which no classifier stands")
    kernel = keras.initializers.GlorotUniform(seed)
    logits = keras.layers.Dense(classes, kernel_initializer=kernel, dtype="float32", name="logits")(x)
    return keras.Model(copy.inputs, logits, name=network.name)
