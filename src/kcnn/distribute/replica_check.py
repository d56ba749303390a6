"""Check before a distributed run that all replicas together compute what one computes. TensorFlow only."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kcnn.distribute.datasets import MakeShard, distribute_dataset
from kcnn.distribute.strategies import copy_to_single_device, find_batch_norms, worker_position
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_integer
from kcnn.keras_bridge.keras_graph import flatten_layers

# Relative tolerances; sums of floats in another order differ by less.
TOLERANCE, HALF_TOLERANCE = 1e-3, 5e-2  # of the loss and the norm of the gradient
STEP_TOLERANCE = 1e-2  # of half the elements of a variable, which single roundings do not move
STEEP = 1e3  # factor of the gradients at which every clip acts


@check_arguments
def check_replicas(
    strategy: tf.distribute.Strategy, model: keras.Model, make_shard: MakeShard, batch_size: int
) -> None:
    """Refuse a run in which all replicas together differ from one in the loss, the gradient or a step of the optimizer.

    One device gets the first batch, and all replicas get its slices, without dropout. From the weights of the model
    both take a step of its optimizer at learning rate 1, and one with gradients so steep that they are clipped wherever
    the optimizer clips; where it scales the loss, also one in which the gradients of the last replica are infinite. The
    weights are restored after each. Two rows for each replica are enough; the copy of the model, and an optimizer for
    each, need memory for them on one device. A single replica is not checked.

    Args:
        strategy: The strategy.
        model: The compiled model.
        make_shard: As in distribute_dataset, without random augmentation that differs between slices.
        batch_size: Images per batch, over all replicas.

    Raises:
        RuntimeError: Losses, gradients, weights or states of the optimizer differ, batch normalization is not
            synchronized, or the optimizer accumulates gradients.
    """
    check_integer("batch_size", batch_size, 1, "a positive integer")
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return
    if _find_accumulation(model.optimizer):
        raise RuntimeError(
            f"{replicas} replicas cannot accumulate gradients: Keras fails in its first step; remove "
            "gradient_accumulation_steps from the optimizer, and use a larger batch size"
        )
    names = [layer.name for layer in find_batch_norms(model) if layer.trainable and not layer.synchronized]
    if names:
        raise RuntimeError(
            f"{len(names)} batch-norm layers, such as {names[0]}, are not synchronized over {replicas} replicas; "
            "call kcnn.distribute.synchronize_batch_norm(strategy, model) before compile"
        )
    is_half = any(layer.compute_dtype in ("float16", "bfloat16") for layer in flatten_layers(model))
    single, batch = copy_to_single_device(model), next(iter(make_shard((0, 1))))
    single.compile(loss=model.loss)
    one = _Steps(tf.distribute.get_strategy(), single, model.optimizer)
    batches = distribute_dataset(strategy, make_shard, batch_size)
    if worker_position(strategy)[1] == 1:
        batches = strategy.experimental_distribute_dataset(batches)
    many = _Steps(strategy, model, model.optimizer)
    slices = next(iter(batches))
    factors = [(1.0, 1.0), (STEEP, STEEP)]  # of the gradients of the last replica, and of the others
    if isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer):
        factors.append((np.inf, 1.0))
    for last, others in factors:
        expected, got = one.run(batch, last, others), many.run(slices, last, others)
        _compare_sums(expected, got, replicas, HALF_TOLERANCE if is_half else TOLERANCE)
        _compare_steps(one, many, replicas, HALF_TOLERANCE if is_half else STEP_TOLERANCE)


class _Steps:
    """Steps of a new optimizer, equal to another but for its learning rate of 1, on all replicas of a strategy.

    Args:
        strategy: The strategy.
        model: The model, in the scope of the strategy.
        optimizer: The optimizer to copy.
    """

    def __init__(self, strategy: Any, model: Any, optimizer: Any):
        self.strategy = strategy
        with strategy.scope():
            self.optimizer = _copy_optimizer(optimizer)
            self.optimizer.build(model.trainable_variables)
        self.variables = [*model.trainable_variables, *self.optimizer.variables]
        self.before = self.after = self.read_variables()
        self.step = tf.function(self._make_step(model))

    def run(self, batch: Any, last: float, others: float) -> tuple[float, float]:
        """Take a step and undo it; return the loss of a batch and the norm of its gradient."""
        loss, norm = self.step(batch, tf.constant(last), tf.constant(others))
        self.after = self.read_variables()
        with self.strategy.scope():
            for variable, (value, *_) in zip(self.variables, self.before, strict=True):
                variable.assign(value)
        return float(loss), float(norm)

    def read_variables(self) -> list[list[np.ndarray]]:
        """The values of each variable, in the first and the last replica of this worker."""
        values = [self.strategy.experimental_local_results(one.value) for one in self.variables]
        return [[replica.numpy() for replica in one[:: max(1, len(one) - 1)]] for one in values]

    def _make_step(self, model: Any) -> Callable[..., Any]:
        strategy, optimizer, total = self.strategy, self.optimizer, tf.distribute.ReduceOp.SUM
        variables = model.trainable_variables

        def step(batch: Any, last: tf.Tensor, others: tf.Tensor) -> Any:
            images, labels = batch[:2]
            context = tf.distribute.get_replica_context()
            is_last = context.replica_id_in_sync_group == context.num_replicas_in_sync - 1
            with tf.GradientTape() as tape:
                loss = model.compute_loss(images, labels, model(images, training=False), None, False)
                scaled = optimizer.scale_loss(loss)
            gradients = tape.gradient(scaled, [v.value for v in variables])
            factor = tf.where(is_last, last, others)
            optimizer.apply([None if g is None else g * tf.cast(factor, g.dtype) for g in gradients], variables)
            sums = context.all_reduce(total, [g for g in gradients if g is not None])
            return loss, tf.linalg.global_norm([tf.cast(one, "float64") for one in sums])  # logits can be wider

        def measure(batch: Any, last: tf.Tensor, others: tf.Tensor) -> Any:
            loss, norm = strategy.run(step, (batch, last, others))
            return strategy.reduce(total, loss, axis=None), strategy.reduce("MEAN", norm, axis=None)

        return measure


def _find_accumulation(optimizer: Any) -> int | None:
    return getattr(getattr(optimizer, "inner_optimizer", optimizer), "gradient_accumulation_steps", None)


def _copy_optimizer(optimizer: Any) -> Any:
    """Return a new optimizer with the arguments of another, at learning rate 1 and without a scale of the loss."""
    config = optimizer.get_config()
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        inner = _copy_optimizer(optimizer.inner_optimizer)
        return type(optimizer)(inner, initial_scale=1.0, dynamic_growth_steps=config["dynamic_growth_steps"])
    return type(optimizer).from_config({**config, "learning_rate": 1.0})


def _compare_sums(expected: Sequence[float], got: Sequence[float], replicas: int, tolerance: float) -> None:
    for name, one, many in zip(("loss", "gradient norm"), expected, got, strict=True):
        if not abs(one - many) <= tolerance * abs(one) + 1e-6:
            raise RuntimeError(
                f"{replicas} replicas do not agree with one on the same batch: expected {name} {one:.6g}, got "
                f"{many:.6g}; average the loss over replicas, and check that the slices form the batch"
            )


def _compare_steps(one: _Steps, many: _Steps, replicas: int, tolerance: float) -> None:
    for number, variable in enumerate(one.variables):
        (before,), (after,) = one.before[number], one.after[number]
        for start, end in zip(many.before[number], many.after[number], strict=True):
            expected, got = _subtract(after, before), _subtract(end, start)
            changed = (expected != 0) | (got != 0)
            if not changed.any():
                continue
            size = np.abs(expected[changed]).mean()
            rounding = np.finfo("float32").eps * np.abs(before[changed]).mean()
            if not np.median(np.abs(got[changed] - expected[changed])) <= tolerance * size + rounding:
                raise RuntimeError(
                    f"{replicas} replicas do not agree with one in a step of {type(many.optimizer).__name__}: expected "
                    f"a mean change of {variable.path} of {size:.6g}, got {np.abs(got[changed]).mean():.6g}; sum "
                    "gradients over replicas before anything else is computed from them, such as a clip: use the "
                    "optimizers of kcnn.training"
                )


def _subtract(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(a, "float64") - np.asarray(b, "float64")
