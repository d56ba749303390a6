"""Optimizers and learning rates as the recipes have them: Keras' own, each usable with plain Keras."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kcnn.keras_bridge.layers import registered

SPARED = ("bias", "gamma", "beta")  # names of variables that weight decay leaves alone


class _PerLayer:
    """Factors to the learning rate by the name of a layer; saved with the optimizer, and so with the model."""

    multipliers: Mapping[str, float] = {}

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        super().update_step(gradient, variable, self._rate(variable, learning_rate))  # type: ignore[misc]

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()  # type: ignore[misc]
        return {**config, "multipliers": dict(self.multipliers)} if self.multipliers else config

    def build(self, variables: Any) -> None:
        super().build(variables)  # type: ignore[misc]
        layers = [("/" + variable.path).split("/")[-2] for variable in variables]
        self._factors = tuple(self.multipliers.get(layer, 1.0) for layer in layers)

    def _rate(self, variable: Any, learning_rate: Any) -> Any:
        factor = self._factors[self._get_variable_index(variable)]  # type: ignore[attr-defined]
        return learning_rate if factor == 1.0 else ops.multiply(learning_rate, ops.cast(factor, learning_rate.dtype))


@registered
class SGD(_PerLayer, keras.optimizers.SGD):
    """Keras' SGD, its weight decay a part of the gradient, which momentum carries on, as papers and PyTorch have it.

    Keras subtracts it apart from the gradient, which with momentum 0.9 is a tenth of that.
    `multipliers` are factors to the learning rate by the names of layers.
    """

    def __init__(self, *args: Any, multipliers: Mapping[str, float] | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.multipliers = dict(multipliers or {})

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if self.weight_decay and self._use_weight_decay(variable):
            decay = ops.cast(self.weight_decay, variable.dtype)
            gradient = ops.add(ops.cast(gradient, variable.dtype), ops.multiply(decay, variable))
        super().update_step(gradient, variable, learning_rate)

    def _apply_weight_decay(self, variables: Any) -> None:
        """Nothing: the gradients have it."""


@registered
class Adam(_PerLayer, keras.optimizers.Adam):
    """Keras' Adam with factors to the learning rate, its weight decay included, by the names of layers."""

    def __init__(self, *args: Any, multipliers: Mapping[str, float] | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.multipliers = dict(multipliers or {})

    def _apply_weight_decay(self, variables: Any) -> None:
        """Nothing: it is done with each variable's own rate."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if self.weight_decay and self._use_weight_decay(variable):
            rate = ops.cast(self._rate(variable, learning_rate), variable.dtype)
            decay = ops.cast(self.weight_decay, variable.dtype)
            variable.assign(ops.subtract(variable, ops.multiply(ops.multiply(variable, decay), rate)))
        super().update_step(gradient, variable, learning_rate)


def sgd(
    learning_rate: Any,
    *,
    momentum: float = 0.9,
    nesterov: bool = True,
    weight_decay: float = 0.0,
    clip_global_norm: float = 0.0,
    ema_momentum: float = 0.0,
    lr_multipliers: Mapping[str, float] | None = None,
) -> SGD:
    """SGD with momentum; weight decay, which spares biases and norms, is added to the gradient.

    `clip` bounds the norm of all gradients together, `ema` is the momentum of an average of the
    weights; each is off at 0. `multipliers` are factors to the learning rate by the names of layers.
    """
    shared = _shared(weight_decay, clip_global_norm, ema_momentum)
    made = SGD(learning_rate, momentum=float(momentum), nesterov=nesterov, multipliers=lr_multipliers, **shared)
    return _sparing(made)


def adamw(
    learning_rate: Any,
    *,
    weight_decay: float = 0.0,
    clip_global_norm: float = 0.0,
    ema_momentum: float = 0.0,
    lr_multipliers: Mapping[str, float] | None = None,
) -> Any:
    """AdamW (arXiv:1711.05101), which without weight decay is Adam; biases and norms are spared.

    `multipliers` are factors to the learning rate by the names of layers.
    """
    shared = _shared(weight_decay, clip_global_norm, ema_momentum)
    if lr_multipliers:
        return _sparing(Adam(learning_rate, multipliers=lr_multipliers, **shared))
    return _sparing(keras.optimizers.Adam(learning_rate, **shared))


def _shared(weight_decay: float, clip: float, ema: float) -> dict[str, Any]:
    average = {"use_ema": True, "ema_momentum": ema} if ema else {}
    return {"weight_decay": weight_decay or None, "global_clipnorm": clip or None, **average}


def _sparing(optimizer: Any) -> Any:
    if optimizer.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=list(SPARED))
    return optimizer


@registered
class LinearWarmup(keras.optimizers.schedules.LearningRateSchedule):
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
    def from_config(cls, config: dict[str, Any]) -> "LinearWarmup":
        return cls(keras.saving.deserialize_keras_object(config["schedule"]), config["steps"])


def schedule(
    kind: str, peak: float, steps: int, *, warmup: float = 0.0, milestones: Sequence[float] = (0.5, 0.75)
) -> Any:
    """A learning rate over `steps` steps: "cosine" to 0 (arXiv:1608.03983), "step", or "constant".

    It rises in a straight line over the share `warm_up` of all steps; "step" divides it by 10 at
    each share in `drops` (arXiv:1512.03385, section 4.2: at a half and at three quarters).
    """
    schedules = keras.optimizers.schedules
    warm = round(warmup * steps)
    if kind == "cosine":
        if not warm:
            return schedules.CosineDecay(peak, max(1, steps))
        return schedules.CosineDecay(0.0, max(1, steps - warm), warmup_target=peak, warmup_steps=warm)
    if kind == "step":
        # Keras keeps a value up to and with its boundary: step 1 of 10 is the last before boundary 1.
        bounds = [max(1, round(share * steps)) - 1 for share in milestones]
        rate: Any = schedules.PiecewiseConstantDecay(bounds, [peak / 10**i for i in range(len(bounds) + 1)])
    elif kind == "constant":
        rate = peak
    else:
        raise ValueError(f'a schedule is "cosine", "step" or "constant", not {kind!r}')
    return LinearWarmup(rate, warm) if warm else rate
