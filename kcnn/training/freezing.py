"""Which layers move: the head, stages by their stride, or layers by globs; set in a flat Keras model."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import keras

from kcnn.architectures.spec import summary
from kcnn.graph.names import suggest
from kcnn.graph.tracing import topological_order
from kcnn.keras_bridge.from_keras import from_keras
from kcnn.training.phases import BATCH_NORM_MODES

HEAD = "head"


def group_by_stage(model: Any) -> dict[str, int | None]:
    """The stage of each layer that has weights, by name and in order; None in the head.

    Stage k has output stride 2**k; the head is what stands behind the last tensor with rows and columns.
    """
    drawing = from_keras(model)
    body = {sketch.name for sketch in topological_order(drawing.features)}
    stages = {row.name: row.stage for row in summary(drawing)}
    named = {layer.name: layer for layer in model.layers if layer.weights}
    return {name: stages[name] if name in body else None for name in stages if name in named}


def freeze(model: Any, trainable: str | int | Sequence[str] = HEAD, *, batch_norm: str = "frozen") -> Any:
    """Let only `train` of a model move (see Phase), and return it; to be called before compile.

    ValueError for a word that fits no layer, with those there are; for a model inside the model.
    """
    if batch_norm not in BATCH_NORM_MODES:
        raise ValueError(f"norms is one of {', '.join(BATCH_NORM_MODES)}, not {batch_norm!r}")
    there = _flat(model)
    moving = _moving(there, trainable)
    for name, stage in there.items():
        layer = model.get_layer(name)
        if stage is None or not isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = name in moving
        elif batch_norm == "frozen":
            layer.trainable = False  # by which Keras has it compute with its moving statistics
        else:
            layer.trainable = True
            for variable in (layer.gamma, layer.beta):
                if variable is not None:
                    variable.trainable = name in moving
    return model


def unfreeze(model: Any, stages: int | str | Sequence[str], *, batch_norm: str = "frozen") -> Any:
    """Let more of a model move: its last `stages` stages and the head, or by globs beside what moves already."""
    there = _flat(model)
    now = [name for name in there if _trains(model.get_layer(name))]
    return freeze(model, [*now, *_moving(there, stages)], batch_norm=batch_norm)


def resolve_lr_multipliers(model: Any, lr_multipliers: Mapping[str, float]) -> dict[str, float]:
    """The factor to the learning rate of each layer that a glob of `multipliers` fits, by the layer's name."""
    there = _flat(model) if lr_multipliers else {}
    return {name: factor for glob, factor in lr_multipliers.items() for name in _fitting(there, glob)}


def _flat(model: Any) -> dict[str, int | None]:
    inner = next((layer for layer in model.layers if isinstance(layer, keras.Model)), None)
    if inner is not None:
        raise ValueError(
            f"{model.name!r} is not flat: {inner.name!r} is a model inside it, whose layers have no stages here; "
            "kcnn.fine_tuning.new_head takes that one and gives it a head"
        )
    return group_by_stage(model)


def _moving(there: Mapping[str, int | None], train: str | int | Sequence[str]) -> set[str]:
    if train == "all":
        return set(there)
    if isinstance(train, int):
        stages = sorted({stage for stage in there.values() if stage is not None})
        if not 0 <= train <= len(stages):
            raise ValueError(f"{train} stages are to train, and there are {len(stages)} with weights: {_said(stages)}")
        last = set(stages[len(stages) - train :])
        return {name for name, stage in there.items() if stage is None or stage in last}
    return {name for glob in ([train] if isinstance(train, str) else train) for name in _fitting(there, glob)}


def _fitting(there: Mapping[str, int | None], glob: str) -> list[str]:
    """The layers of a glob, of "head", or of a stage by its stride, as in kcnn.draw's taps."""
    found = [name for name in there if fnmatchcase(name, glob)]
    if not found and glob == HEAD:
        found = [name for name, stage in there.items() if stage is None]
    if not found and glob.startswith("stage") and glob[5:].isdigit():
        found = [name for name, stage in there.items() if stage == int(glob[5:])]
    if not found:
        stages = sorted({stage for stage in there.values() if stage is not None})
        raise ValueError(
            f"no layer with weights fits {glob!r}; there are {HEAD!r}, {_said(stages)}, and by name "
            f"{', '.join(suggest(glob.replace('*', ''), there, 4))}"
        )
    return found


def _said(stages: Sequence[int]) -> str:
    return ", ".join(f"'stage{k}'" for k in stages)


def _trains(layer: Any) -> bool:
    """Whether a gradient moves it; the shift and scale of a norm that only adapts stand still."""
    return any(variable.trainable for variable in layer.trainable_variables)
