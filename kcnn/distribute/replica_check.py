"""Before a distributed run: do all replicas together compute what one computes? TensorFlow's alone."""

from typing import Any

import tensorflow as tf

from kcnn.distribute.datasets import Make, distribute_dataset
from kcnn.distribute.strategies import find_batch_norms, unreplicated, worker_position
from kcnn.keras_bridge.keras_graph import flatten_layers

CLOSE, CLOSE_IN_HALF = 1e-3, 5e-2  # of loss and gradient norm; sums of floats in another order differ by less


def check_replicas(strategy: Any, model: Any, make: Make, batch_size: int) -> None:
    """Refuse a run in which the replicas together do not have the loss and the gradient of one with the whole batch.

    The first batch of `make((0, 1))` is given to a plain copy of the compiled model, and `spread` to all replicas,
    without dropout; a random augmentation that differs between slices is no part of `make`. A batch of two rows for
    each replica is enough, and the copy needs room for it on one device. Nothing is asked of a single replica.
    RuntimeError with both numbers, or with the batch normalisations that are not synchronised.
    """
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return
    apart = [layer.name for layer in find_batch_norms(model) if layer.trainable and not layer.synchronized]
    if apart:
        raise RuntimeError(
            f"{len(apart)} batch normalisations, such as {apart[0]}, are not synchronised over {replicas} replicas; "
            "call kcnn.distribute.synchronize(strategy, model) before compile"
        )
    one = _alone(model, next(iter(make((0, 1)))))
    batches = distribute_dataset(strategy, make, batch_size)
    if worker_position(strategy)[1] == 1:
        batches = strategy.experimental_distribute_dataset(batches)
    many = _together(strategy, model, next(iter(batches)))
    halves = any(layer.compute_dtype in ("float16", "bfloat16") for layer in flatten_layers(model))
    for what, a, b in zip(("loss", "gradient norm"), one, many, strict=True):
        if not abs(a - b) <= (CLOSE_IN_HALF if halves else CLOSE) * abs(a) + 1e-6:
            raise RuntimeError(
                f"{replicas} replicas do not agree with one on the same batch: its {what} is {a:.6g}, theirs {b:.6g}; "
                "a loss that is not averaged over replicas, or slices that are not those of the whole batch, do this"
            )


def _loss(model: Any, batch: Any) -> tuple[Any, Any]:
    """The loss of a batch, and its gradients."""
    images, labels = batch[:2]
    variables = [v.value for v in model.trainable_variables]
    with tf.GradientTape() as tape:
        loss = model.compute_loss(images, labels, model(images, training=False), None, False)
    return loss, [one for one in tape.gradient(loss, variables) if one is not None]


def _alone(model: Any, batch: Any) -> tuple[float, float]:
    copy = unreplicated(model)
    copy.compile(loss=model.loss)

    @tf.function
    def measured(batch: Any) -> Any:
        loss, gradients = _loss(copy, batch)
        return loss, tf.linalg.global_norm(gradients)

    loss, norm = measured(batch)
    return float(loss), float(norm)


def _together(strategy: Any, model: Any, batch: Any) -> tuple[float, float]:
    def step(batch: Any) -> Any:
        loss, gradients = _loss(model, batch)
        whole = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        return loss, tf.linalg.global_norm(whole)

    @tf.function
    def measured(batch: Any) -> Any:
        loss, norm = strategy.run(step, (batch,))
        reduced = strategy.reduce(tf.distribute.ReduceOp.SUM, loss, axis=None)
        return reduced, strategy.reduce(tf.distribute.ReduceOp.MEAN, norm, axis=None)

    loss, norm = measured(batch)
    return float(loss), float(norm)
