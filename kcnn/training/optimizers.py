"""Optimizers and learning rates as the recipes have them: Keras' own, each usable with plain Keras."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kcnn.layers import registered

SPARED = ("bias", "gamma", "beta")  # names of variables that weight decay leaves alone


@registered
class SGD(keras.optimizers.SGD):
    """Keras' SGD, its weight decay a part of the gradient, which momentum carries on, as papers and PyTorch have it.

    Keras subtracts it apart from the gradient, which with momentum 0.9 is a tenth of that.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if self.weight_decay and self._use_weight_decay(variable):
            decay = ops.cast(self.weight_decay, variable.dtype)
            gradient = ops.add(ops.cast(gradient, variable.dtype), ops.multiply(decay, variable))
        super().update_step(gradient, variable, learning_rate)

    def _apply_weight_decay(self, variables: Any) -> None:
        """Nothing: the gradients have it."""


def sgd(
    learning_rate: Any,
    *,
    momentum: float = 0.9,
    nesterov: bool = True,
    weight_decay: float = 0.0,
    clip: float = 0.0,
    ema: float = 0.0,
) -> SGD:
    """SGD with momentum; weight decay, which spares biases and norms, is added to the gradient.

    `clip` bounds the norm of all gradients together, `ema` is the momentum of an average of the
    weights; each is off at 0.
    """
    made = SGD(learning_rate, momentum=float(momentum), nesterov=nesterov, **_shared(weight_decay, clip, ema))
    return _sparing(made)


def adamw(learning_rate: Any, *, weight_decay: float = 0.0, clip: float = 0.0, ema: float = 0.0) -> Any:
    """AdamW (arXiv:1711.05101), which without weight decay is Adam; biases and norms are spared."""
    return _sparing(keras.optimizers.Adam(learning_rate, **_shared(weight_decay, clip, ema)))


def _shared(weight_decay: float, clip: float, ema: float) -> dict[str, Any]:
    average = {"use_ema": True, "ema_momentum": ema} if ema else {}
    return {"weight_decay": weight_decay or None, "global_clipnorm": clip or None, **average}


def _sparing(optimizer: Any) -> Any:
    if optimizer.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=list(SPARED))
    return optimizer


@registered
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Another schedule, or one rate, reached in a straight line from 0 over the first `steps` steps."""

    def __init__(self, schedule: Any, steps: int):
        super().__init__()
        self.schedule, self.steps = schedule, steps

    def __call__(self, step: Any) -> Any:
        rate = self.schedule(step) if callable(self.schedule) else self.schedule
        done = (ops.cast(step, "float32") + 1.0) / self.steps
        return ops.cast(rate, "float32") * ops.minimum(done, 1.0)

    def get_config(self) -> dict[str, Any]:
        return {"schedule": keras.saving.serialize_keras_object(self.schedule), "steps": self.steps}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "WarmUp":
        return cls(keras.saving.deserialize_keras_object(config["schedule"]), config["steps"])


def schedule(kind: str, peak: float, steps: int, *, warm_up: float = 0.0, drops: Sequence[float] = (0.5, 0.75)) -> Any:
    """A learning rate over `steps` steps: "cosine" to 0 (arXiv:1608.03983), "step", or "constant".

    It rises in a straight line over the share `warm_up` of all steps; "step" divides it by 10 at
    each share in `drops` (arXiv:1512.03385, section 4.2: at a half and at three quarters).
    """
    schedules = keras.optimizers.schedules
    warm = round(warm_up * steps)
    if kind == "cosine":
        if not warm:
            return schedules.CosineDecay(peak, max(1, steps))
        return schedules.CosineDecay(0.0, max(1, steps - warm), warmup_target=peak, warmup_steps=warm)
    if kind == "step":
        # Keras keeps a value up to and with its boundary: step 1 of 10 is the last before boundary 1.
        bounds = [max(1, round(share * steps)) - 1 for share in drops]
        rate: Any = schedules.PiecewiseConstantDecay(bounds, [peak / 10**i for i in range(len(bounds) + 1)])
    elif kind == "constant":
        rate = peak
    else:
        raise ValueError(f'a schedule is "cosine", "step" or "constant", not {kind!r}')
    return WarmUp(rate, warm) if warm else rate
