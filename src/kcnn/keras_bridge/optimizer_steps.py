"""TensorFlow's training step: variables of optimizer and metrics made before the trace, SGD's update by one kernel."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


def build_optimizer(optimizer: Any, variables: Any) -> None:
    """Make the variables of an optimizer outside the graph that is traced.

    Variables that appear in a trace make TensorFlow trace everything again. On other backends nothing is done, and
    nothing under a strategy, where variables are made in the scope of the strategy.

    Args:
        optimizer: The optimizer, built or not.
        variables: The variables that it will update.
    """
    if _makes_variables_early() and not optimizer.built and variables:
        with _outside_trace(), keras.name_scope(optimizer.name, caller=optimizer):
            optimizer.build(variables)


def build_metrics(metrics: Any, y: Any, y_pred: Any) -> None:
    """Make the variables of the metrics that a model is compiled with, such as "accuracy", like `build_optimizer`.

    Args:
        metrics: Keras' CompileMetrics, built or not; None for none.
        y: Labels.
        y_pred: Outputs of the model.
    """
    if metrics is not None and _makes_variables_early() and not metrics.built:
        with _outside_trace():
            metrics.build(y, y_pred)


def _makes_variables_early() -> bool:
    return keras.backend.backend() == "tensorflow" and not tf.distribute.has_strategy()


@contextmanager
def _outside_trace() -> Iterator[None]:
    def create(next_creator: Any, **options: Any) -> Any:
        return next_creator(**{**options, "experimental_enable_variable_lifting": False})

    # Without lifting, the function that is traced does not count the variables among its own.
    with tf.init_scope(), tf.variable_creator_scope(create):
        yield


def fuse_updates(optimizer: Any) -> None:
    """Let Keras' SGD update each variable by one kernel.

    Args:
        optimizer: Any optimizer; those of other classes, or with an `update_step` of their own, stay as they are.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if type(inner) is keras.optimizers.SGD and "update_step" not in vars(inner):
        inner.update_step = partial(update_by_momentum, inner)


def update_by_momentum(optimizer: Any, gradient: Any, variable: Any, learning_rate: Any) -> None:
    """Update a variable as keras.optimizers.SGD.update_step does, to the last digit.

    Keras passes five times over variable and momentum, each pass as long as memory takes; TensorFlow's kernel once.

    Args:
        optimizer: An SGD.
        gradient: The gradient of the variable.
        variable: The variable.
        learning_rate: The learning rate.
    """
    if not _is_fusable(optimizer, gradient, variable):
        keras.optimizers.SGD.update_step(optimizer, gradient, variable, learning_rate)
        return
    momentum = optimizer.momentums[optimizer._get_variable_index(variable)]
    resource = variable.value if isinstance(variable, keras.Variable) else variable
    tf.raw_ops.ResourceApplyKerasMomentum(
        var=resource.handle,
        accum=momentum.value.handle,
        lr=tf.cast(learning_rate, variable.dtype),
        grad=tf.cast(gradient, variable.dtype),
        momentum=tf.cast(optimizer.momentum, variable.dtype),
        use_nesterov=optimizer.nesterov,
    )


def _is_fusable(optimizer: Any, gradient: Any, variable: Any) -> bool:
    return (
        keras.backend.backend() == "tensorflow"
        and optimizer.momentum != 0
        and isinstance(gradient, tf.Tensor)  # not rows of an embedding
        and tf.as_dtype(variable.dtype) == tf.float32
        and not tf.distribute.has_strategy()  # a variable of several replicas has no handle of its own
    )
