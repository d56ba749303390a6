"""Why a loss is no number: the training played again up to that step, and each layer's output looked at."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from kcnn.training.callbacks import NonFiniteLossError

ADVICE = (
    "What usually helps: a learning rate a tenth as high ({rate:.2g}), a longer warm-up (warm_up), bounded gradients "
    "(clip_global_norm=1), batch normalisation{precision}"
)


def find_first_non_finite(model: Any, images: Any, *, training: bool) -> str | None:
    """The first layer, from the image on, whose output on a batch is not finite everywhere; None where all are."""
    if not _finite(images):
        return "the images themselves"
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    outputs = [layer.output for layer in layers]
    every = keras.Model(model.inputs, outputs)(ops.convert_to_tensor(images, "float32"), training=training)
    for layer, output in zip(layers, every if len(layers) > 1 else [every], strict=True):
        if not _finite(output):
            broken = next((w.name for w in layer.weights if not _finite(w)), None)
            return f"layer {layer.name!r}" + (f", whose {broken} is not finite itself" if broken else "")
    return None


def _finite(values: Any) -> bool:
    return bool(np.isfinite(ops.convert_to_numpy(ops.cast(values, "float32"))).all())


def replay_step(model: Any, batches: Iterable[Any], at: int, learn: Any) -> str:
    """Where a training step failed; the model is at the epoch's start, `learn(n)` trains n steps from there."""
    if at:
        learn(at)
    batch = next(batch for number, batch in enumerate(batches) if number == at)
    where = find_first_non_finite(model, batch[0], training=True)
    if where:
        return f"the first output that is not finite is that of {where}"
    if not all(map(_finite, model.trainable_variables)):
        return "every output was finite still, a weight was not"
    return "every layer's output was finite when the step was played again: the loss itself, or chance, made it so"


def replay_validation(model: Any, batches: Iterable[Any]) -> str:
    """Where the loss of validation failed."""
    for batch in batches:
        where = find_first_non_finite(model, batch[0], training=False)
        if where:
            return f"the first output that is not finite is that of {where}"
    return "every layer's output is finite"


def explain(error: NonFiniteLossError, *, rate: float, where: str, peak: float, half: bool) -> str:
    """One text for a person: what happened, where, and what to do."""
    precision = ", or mixed_bfloat16 instead of mixed_float16" if half else ""
    at = "in validation" if error.step is None else f"at step {error.step + 1}"
    return (
        f"the loss became {error.loss} {at} of epoch {error.epoch + 1}, at a learning rate of {rate:.3g}; {where}. "
        + ADVICE.format(rate=peak / 10, precision=precision)
    )
