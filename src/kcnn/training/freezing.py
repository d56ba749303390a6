"""Freeze layers of a flat Keras model: the backbone, stages by their stride, or layers by globs."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.names import unknown
from kcnn.keras_bridge.from_keras import from_keras
from kcnn.training.layer_selection import HEAD, find_stages, match_layers, select_layers
from kcnn.training.phases import BATCH_NORM_MODES


@check_arguments
def group_by_stage(model: keras.Model) -> dict[str, int | None]:
    """Return the stage of each layer that has weights, by name and in order.

    Args:
        model: A flat Keras model.

    Returns:
        Stage k has output stride 2**k; None is the head, all layers behind the output of the backbone.
    """
    name = (getattr(model, "metadata", None) or {}).get("backbone_output", "")
    weighted = {layer.name for layer in model.layers if layer.weights}
    return {layer: stage for layer, stage in find_stages(from_keras(model), name).items() if layer in weighted}


@check_arguments
def freeze(model: keras.Model, trainable: str | int | Sequence[str] = HEAD, *, batch_norm: str = "frozen") -> Any:
    """Freeze all layers of a model but some; call it before compile.

    Args:
        model: A flat Keras model.
        trainable: What trains: "head", "all", a number of stages (the last ones and the head), or globs of layers.
        batch_norm: "frozen" or "adapt": see TrainingPhase.

    Returns:
        The model.

    Raises:
        UnknownNameError: No layer matches, or the mode of batch norms is unknown.
        ValueError: The model has fewer stages, or contains another model.
    """
    if batch_norm not in BATCH_NORM_MODES:
        raise unknown("batch_norm mode", batch_norm, BATCH_NORM_MODES)
    stages = _stages_of_flat(model)
    names = select_layers(stages, trainable)
    for name, stage in stages.items():
        layer = model.get_layer(name)
        if stage is None or not isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = name in names
        elif batch_norm == "frozen":
            layer.trainable = False  # Keras then uses the moving statistics
        else:
            layer.trainable = True
            for variable in (layer.gamma, layer.beta):
                if variable is not None:
                    variable.trainable = name in names
    return model


@check_arguments
def unfreeze(model: keras.Model, trainable: int | str | Sequence[str], *, batch_norm: str = "frozen") -> Any:
    """Unfreeze more layers of a model, beside those that train already; call it before compile.

    Args:
        model: A flat Keras model.
        trainable: A number of stages (the last ones and the head), or globs of layers.
        batch_norm: "frozen" or "adapt": see TrainingPhase.

    Returns:
        The model.

    Raises:
        UnknownNameError, ValueError: As from freeze.
    """
    stages = _stages_of_flat(model)
    trained = [name for name in stages if _is_trained(model.get_layer(name))]
    return freeze(model, [*trained, *select_layers(stages, trainable)], batch_norm=batch_norm)


@check_arguments
def resolve_lr_multipliers(model: keras.Model, lr_multipliers: Mapping[str, float]) -> dict[str, float]:
    """Return the factor to the learning rate of each layer that a glob matches.

    Args:
        model: A flat Keras model.
        lr_multipliers: Factors by globs of layers; the last that matches a layer counts.

    Returns:
        Factors by the names of layers.

    Raises:
        UnknownNameError: No layer matches a glob.
    """
    stages = _stages_of_flat(model) if lr_multipliers else {}
    return {name: factor for glob, factor in lr_multipliers.items() for name in match_layers(stages, glob)}


def _stages_of_flat(model: Any) -> dict[str, int | None]:
    inner = next((layer for layer in model.layers if isinstance(layer, keras.Model)), None)
    if inner is not None:
        raise ValueError(
            f"{model.name!r} is not flat: it contains the model {inner.name!r}, whose layers have no stages; "
            "replace its head with kcnn.fine_tuning.replace_head, which returns a flat model"
        )
    return group_by_stage(model)


def _is_trained(layer: Any) -> bool:
    """Whether gradients change a layer; scale and shift of a batch norm that only adapts are not trained."""
    return any(variable.trainable for variable in layer.trainable_variables)
