"""Why a loss is not finite: the run is replayed up to that step, and the output of each layer checked."""

from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from kcnn.training.callbacks import NonFiniteLossError

ADVICE = (
    "What usually helps: a tenth of the learning rate ({rate:.2g}), a longer warmup (warmup), gradient clipping "
    "(clip_global_norm=1), batch normalization{precision}"
)


def find_first_non_finite(model: Any, images: Any, *, training: bool) -> str | None:
    """Return the first layer, from the input on, whose output for a batch is not finite everywhere.

    Args:
        model: The model.
        images: The batch.
        training: Whether layers compute as in training.

    Returns:
        "layer 'conv1'", with its weight that is not finite where there is one; None if all outputs are finite.
    """
    if not _is_finite(images):
        return "the images themselves"
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    outputs = [layer.output for layer in layers]
    values = keras.Model(model.inputs, outputs)(ops.convert_to_tensor(images, "float32"), training=training)
    for layer, output in zip(layers, values if len(layers) > 1 else [values], strict=True):
        if not _is_finite(output):
            broken = next((w.name for w in layer.weights if not _is_finite(w)), None)
            return f"layer {layer.name!r}" + (f", whose {broken} is not finite itself" if broken else "")
    return None


def _is_finite(values: Any) -> bool:
    return bool(np.isfinite(ops.convert_to_numpy(ops.cast(values, "float32"))).all())


def replay_step(model: Any, batches: Iterable[Any], step: int, train_steps: Callable[[int], None]) -> str:
    """Return where a training step failed.

    Args:
        model: The model at the start of the epoch.
        batches: The batches of the epoch.
        step: The step that failed, counted from 0.
        train_steps: Trains a number of steps from the start of the epoch.

    Returns:
        A sentence for the error.
    """
    if step:
        train_steps(step)
    batch = next(batch for number, batch in enumerate(batches) if number == step)
    layer = find_first_non_finite(model, batch[0], training=True)
    if layer:
        return f"the first output that is not finite is that of {layer}"
    if not all(map(_is_finite, model.trainable_variables)):
        return "every output was still finite, but a weight was not"
    return "every output was finite when the step was replayed: the loss itself, or chance, is the cause"


def replay_validation(model: Any, batches: Iterable[Any]) -> str:
    """Return where the loss of validation failed, as a sentence for the error."""
    for batch in batches:
        layer = find_first_non_finite(model, batch[0], training=False)
        if layer:
            return f"the first output that is not finite is that of {layer}"
    return "the output of every layer is finite"


def explain(error: NonFiniteLossError, *, learning_rate: float, cause: str, peak: float, is_float16: bool) -> str:
    """Return the message of an error: what happened, where, and what to do.

    Args:
        error: The error.
        learning_rate: Of the step.
        cause: From replay_step or replay_validation.
        peak: Peak learning rate of the schedule.
        is_float16: Whether the policy is mixed_float16.

    Returns:
        The message.
    """
    precision = ", or mixed_bfloat16 instead of mixed_float16" if is_float16 else ""
    place = "in validation" if error.step is None else f"at step {error.step + 1}"
    advice = ADVICE.format(rate=peak / 10, precision=precision)
    return (
        f"the loss became {error.loss} {place} of epoch {error.epoch + 1}, at a learning rate of {learning_rate:.3g}; "
        f"{cause}. {advice}"
    )
