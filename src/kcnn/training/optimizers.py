"""Optimizers and learning-rate schedules of the recipes: those of Keras, also for use with plain Keras."""

import math
from collections.abc import Mapping, Sequence
from inspect import Parameter, signature
from typing import Any

import keras
from keras import ops

from kcnn.graph.argument_kinds import check_argument, check_arguments
from kcnn.graph.arguments import check_integer, check_number, wrong_kind
from kcnn.graph.names import unknown
from kcnn.keras_bridge.layers import registered
from kcnn.keras_bridge.optimizer_steps import update_by_momentum
from kcnn.training.recipes import SCHEDULES

WARM_STEPS = 9  # the average of step t has a momentum of t / (t + 9) at most
# Patterns of the variables without weight decay; on TensorFlow a variable's name begins with that of its layer.
EXEMPT = ("bias[^/]*$", "gamma[^/]*$", "beta[^/]*$")


class _GlobalGradients:
    """Mix-in that sums gradients over replicas first; Keras clips those of each replica, and sums afterwards."""

    def apply(self, grads: Sequence[Any], trainable_variables: Any = None) -> None:
        super().apply(_sum_over_replicas(grads), trainable_variables)  # type: ignore[misc]

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        """Return the pairs as they are: Keras would sum the sums."""
        return grads_and_vars


def _sum_over_replicas(tensors: Sequence[Any]) -> list[Any]:
    """Return the sum of each tensor over the replicas of a strategy; None stays None."""
    if keras.backend.backend() != "tensorflow":
        return list(tensors)
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return list(tensors)
    sums = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, [one for one in tensors if one is not None]))
    return [None if one is None else next(sums) for one in tensors]


class _PerLayer:
    """Mix-in of factors to the learning rate by layer; saved with the optimizer, and so with the model."""

    lr_multipliers: Mapping[str, float] = {}

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        super().update_step(gradient, variable, self._rate(variable, learning_rate))  # type: ignore[misc]

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()  # type: ignore[misc]
        return {**config, "lr_multipliers": dict(self.lr_multipliers)} if self.lr_multipliers else config

    def build(self, variables: Any) -> None:
        super().build(variables)  # type: ignore[misc]
        paths = [variable.path if isinstance(variable, keras.Variable) else variable.name for variable in variables]
        layers = [("/" + path).split("/")[-2] for path in paths]
        self._factors = tuple(self.lr_multipliers.get(layer, 1.0) for layer in layers)

    def _rate(self, variable: Any, learning_rate: Any) -> Any:
        factor = self._factors[self._get_variable_index(variable)]  # type: ignore[attr-defined]
        return learning_rate if factor == 1.0 else ops.multiply(learning_rate, float(factor))


class _DecayExemption:
    """Mix-in of names of variables without weight decay; saved with the optimizer, and so with the model."""

    _exempt_names: tuple[str, ...] = ()

    def __init__(self, *args: Any, exclude_from_weight_decay: Sequence[str] = (), **kwargs: Any):
        super().__init__(*args, **kwargs)
        if exclude_from_weight_decay:
            self.exclude_from_weight_decay(var_names=exclude_from_weight_decay)

    def exclude_from_weight_decay(self, var_list: Any = None, var_names: Sequence[str] | None = None) -> None:
        super().exclude_from_weight_decay(var_list, var_names)  # type: ignore[misc]
        self._exempt_names = tuple(var_names or ())

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()  # type: ignore[misc]
        return {**config, "exclude_from_weight_decay": list(self._exempt_names)} if self._exempt_names else config


class _FusedMomentum:
    """Mix-in that updates a variable by one kernel where TensorFlow has one."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        update_by_momentum(self, gradient, variable, learning_rate)


class _WarmAverage:
    """Mix-in of an average of the weights that forgets the first ones, as in TensorFlow's ExponentialMovingAverage.

    With a constant momentum of 0.999 a training of 560 steps would average 57% of the weights before it.
    """

    def _update_model_variables_moving_average(self, trainable_variables: Any) -> None:
        optimizer: Any = self
        if not optimizer.use_ema:
            return
        step = ops.cast(optimizer.iterations, "float32")
        warm = ops.minimum(step / (step + WARM_STEPS), optimizer.ema_momentum)
        for variable, average in zip(trainable_variables, optimizer._model_variables_moving_average, strict=True):
            if average is not None:
                momentum = ops.cast(warm, variable.dtype)
                average.assign(momentum * average + (1 - momentum) * variable)


@registered
class SGD(_GlobalGradients, _PerLayer, _DecayExemption, _WarmAverage, _FusedMomentum, keras.optimizers.SGD):
    """Keras' SGD with weight decay added to the gradient, and so to the momentum, as in papers and PyTorch.

    Keras subtracts it apart from the gradient, which with momentum 0.9 is a tenth of that. On several replicas,
    gradients are summed before they are clipped.

    Args:
        *args: Of keras.optimizers.SGD.
        lr_multipliers: Factors to the learning rate by the names of layers.
        exclude_from_weight_decay: Patterns of the names of variables without weight decay.
        **kwargs: Of keras.optimizers.SGD.
    """

    def __init__(self, *args: Any, lr_multipliers: Mapping[str, float] | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.lr_multipliers = dict(lr_multipliers or {})

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update a variable, with weight decay in its gradient."""
        if self.weight_decay and self._use_weight_decay(variable):
            decay = ops.cast(self.weight_decay, variable.dtype)
            gradient = ops.add(ops.cast(gradient, variable.dtype), ops.multiply(decay, variable))
        super().update_step(gradient, variable, learning_rate)

    def _apply_weight_decay(self, variables: Any) -> None:
        """Do nothing: the gradients contain it."""


@registered
class Adam(_GlobalGradients, _PerLayer, _DecayExemption, _WarmAverage, keras.optimizers.Adam):
    """Keras' Adam with factors to the learning rate, its weight decay included, by the names of layers.

    On several replicas, gradients are summed before they are clipped.

    Args:
        *args: Of keras.optimizers.Adam.
        lr_multipliers: Factors to the learning rate by the names of layers.
        exclude_from_weight_decay: Patterns of the names of variables without weight decay.
        **kwargs: Of keras.optimizers.Adam.
    """

    def __init__(self, *args: Any, lr_multipliers: Mapping[str, float] | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.lr_multipliers = dict(lr_multipliers or {})

    def _apply_weight_decay(self, variables: Any) -> None:
        """Do nothing: update_step applies it at the learning rate of each variable."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update a variable, after its weight decay."""
        if self.weight_decay and self._use_weight_decay(variable):
            rate = ops.cast(self._rate(variable, learning_rate), variable.dtype)
            decay = ops.cast(self.weight_decay, variable.dtype)
            variable.assign(ops.subtract(variable, ops.multiply(ops.multiply(variable, decay), rate)))
        super().update_step(gradient, variable, learning_rate)


@registered
class LossScaleOptimizer(keras.optimizers.LossScaleOptimizer):
    """Keras' loss scaling for float16, which skips a step where the gradients of any replica are not finite.

    Keras reads the first replica only: gradients of another that overflow become the weights of all.

    Args:
        *args: Of keras.optimizers.LossScaleOptimizer.
        **kwargs: Of keras.optimizers.LossScaleOptimizer.
    """

    def check_finite(self, grads: Sequence[Any]) -> Any:
        """Return whether the gradients of all replicas are finite."""
        failures = ops.cast(ops.logical_not(super().check_finite(grads)), "float32")
        return ops.equal(_sum_over_replicas([failures])[0], 0.0)


@check_arguments
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
    """Return SGD with momentum and weight decay that is added to the gradient.

    Args:
        learning_rate: A number, a schedule, or a function without arguments that returns a number, as in Keras.
        momentum: The momentum.
        nesterov: Whether to use Nesterov momentum.
        weight_decay: Of kernels; biases and norms are exempt.
        clip_global_norm: Bound of the norm of all gradients together; 0 for none.
        ema_momentum: Momentum of an average of the weights, lower in the first steps; 0 for none.
        lr_multipliers: Factors to the learning rate by the names of layers.

    Returns:
        The optimizer.

    Raises:
        TypeError: An argument is of another kind, such as a function with arguments as the learning rate.
        ValueError: A number is out of range.
    """
    check_number("momentum", momentum, 0, 1)
    shared = _shared_options(learning_rate, weight_decay, clip_global_norm, ema_momentum)
    return SGD(momentum=float(momentum), nesterov=nesterov, lr_multipliers=lr_multipliers, **shared)


@check_arguments
def adamw(
    learning_rate: Any,
    *,
    weight_decay: float = 0.0,
    clip_global_norm: float = 0.0,
    ema_momentum: float = 0.0,
    lr_multipliers: Mapping[str, float] | None = None,
) -> Adam:
    """Return AdamW (arXiv:1711.05101), which without weight decay is Adam.

    Args:
        learning_rate: A number, a schedule, or a function without arguments that returns a number, as in Keras.
        weight_decay: Of kernels; biases and norms are exempt.
        clip_global_norm: Bound of the norm of all gradients together; 0 for none.
        ema_momentum: Momentum of an average of the weights, lower in the first steps; 0 for none.
        lr_multipliers: Factors to the learning rate by the names of layers.

    Returns:
        The optimizer.

    Raises:
        TypeError: An argument is of another kind, such as a function with arguments as the learning rate.
        ValueError: A number is out of range.
    """
    shared = _shared_options(learning_rate, weight_decay, clip_global_norm, ema_momentum)
    return Adam(lr_multipliers=lr_multipliers, **shared)


def _shared_options(
    learning_rate: Any, weight_decay: float, clip_global_norm: float, ema_momentum: float
) -> dict[str, Any]:
    if callable(learning_rate):
        _check_rate_function(learning_rate)
    else:
        check_argument("learning_rate", learning_rate, float)
        check_number("learning_rate", learning_rate, 0, math.inf)
        learning_rate = float(learning_rate)
    for name, value in (("weight_decay", weight_decay), ("clip_global_norm", clip_global_norm)):
        check_number(name, value, 0, math.inf)
    check_number("ema_momentum", ema_momentum, 0, 1)
    average = {"use_ema": True, "ema_momentum": ema_momentum} if ema_momentum else {}
    decay = {"weight_decay": weight_decay, "exclude_from_weight_decay": EXEMPT} if weight_decay else {}
    return {"learning_rate": learning_rate, **decay, "global_clipnorm": clip_global_norm or None, **average}


def _check_rate_function(function: Any) -> None:
    """Refuse a function of the step: Keras calls schedules with the step, and functions without arguments."""
    if isinstance(function, keras.optimizers.schedules.LearningRateSchedule):
        return
    variadic = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    parameters = signature(function).parameters.values()
    if any(one.default is Parameter.empty and one.kind not in variadic for one in parameters):
        expected = "a number, a keras.optimizers.schedules.LearningRateSchedule or a function without arguments"
        raise wrong_kind("learning_rate", expected, function)


@registered
class LinearWarmup(keras.optimizers.schedules.LearningRateSchedule):
    """Raise the learning rate linearly from 0 to another schedule over the first steps.

    Args:
        schedule: A schedule, or a number.
        steps: Length of the warmup.
    """

    def __init__(self, schedule: Any, steps: int):
        super().__init__()
        self.schedule, self.steps = schedule, steps

    def __call__(self, step: Any) -> Any:
        """Return the learning rate of a step."""
        rate = self.schedule(step) if callable(self.schedule) else self.schedule
        fraction = (ops.cast(step, "float32") + 1.0) / self.steps
        return ops.cast(rate, "float32") * ops.minimum(fraction, 1.0)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, as Keras saves them."""
        return {"schedule": keras.saving.serialize_keras_object(self.schedule), "steps": self.steps}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LinearWarmup":
        """Return the schedule that get_config describes."""
        return cls(keras.saving.deserialize_keras_object(config["schedule"]), config["steps"])


@check_arguments
def schedule(
    kind: str, peak: float, steps: int, *, warmup: float = 0.0, milestones: Sequence[float] = (0.5, 0.75)
) -> Any:
    """Return a learning-rate schedule.

    Args:
        kind: "cosine" to 0 (arXiv:1608.03983), "step", or "constant".
        peak: Peak learning rate.
        steps: Number of all steps.
        warmup: Fraction of all steps over which the learning rate rises linearly from 0.
        milestones: Fractions of all steps at which "step" divides the learning rate by 10 (arXiv:1512.03385, section
            4.2: at a half and at three quarters).

    Returns:
        A schedule; a number where the learning rate is constant.

    Raises:
        UnknownNameError: The kind is unknown.
        ValueError: A number is out of range.
    """
    check_number("peak", peak, 0, math.inf)
    check_integer("steps", steps, 0, "an integer of at least 0")
    check_number("warmup", warmup, 0, 1)
    schedules = keras.optimizers.schedules
    warm = round(warmup * steps)
    if kind == "cosine":
        if not warm:
            return schedules.CosineDecay(peak, max(1, steps))
        return schedules.CosineDecay(0.0, max(1, steps - warm), warmup_target=peak, warmup_steps=warm)
    if kind == "step":
        # Keras keeps a value up to and including its boundary.
        bounds = [max(1, round(fraction * steps)) - 1 for fraction in milestones]
        rate: Any = schedules.PiecewiseConstantDecay(bounds, [peak / 10**i for i in range(len(bounds) + 1)])
    elif kind == "constant":
        rate = peak
    else:
        raise unknown("learning-rate schedule", kind, SCHEDULES)
    return LinearWarmup(rate, warm) if warm else rate
