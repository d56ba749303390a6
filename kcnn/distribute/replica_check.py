"""Check before a distributed run that all replicas together compute what one computes. TensorFlow only."""

from typing import Any

import tensorflow as tf

from kcnn.distribute.datasets import MakeShard, distribute_dataset
from kcnn.distribute.strategies import copy_to_single_device, find_batch_norms, worker_position
from kcnn.keras_bridge.keras_graph import flatten_layers

TOLERANCE, HALF_TOLERANCE = 1e-3, 5e-2  # relative; sums of floats in another order differ by less


def check_replicas(strategy: Any, model: Any, make_shard: MakeShard, batch_size: int) -> None:
    """Refuse a run in which all replicas together differ from one in the loss or the gradient of a batch.

    One device gets the first batch, and all replicas get its slices, without dropout. Two rows for each replica are
    enough; the copy of the model needs memory for them on one device. A single replica is not checked.

    Args:
        strategy: The strategy.
        model: The compiled model.
        make_shard: As in distribute_dataset, without random augmentation that differs between slices.
        batch_size: Images per batch, over all replicas.

    Raises:
        RuntimeError: Losses or gradients differ, or batch normalization is not synchronized.
    """
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return
    names = [layer.name for layer in find_batch_norms(model) if layer.trainable and not layer.synchronized]
    if names:
        raise RuntimeError(
            f"{len(names)} batch-norm layers, such as {names[0]}, are not synchronized over {replicas} replicas; "
            "call kcnn.distribute.synchronize_batch_norm(strategy, model) before compile"
        )
    single = _measure_on_single_device(model, next(iter(make_shard((0, 1)))))
    batches = distribute_dataset(strategy, make_shard, batch_size)
    if worker_position(strategy)[1] == 1:
        batches = strategy.experimental_distribute_dataset(batches)
    distributed = _measure_on_replicas(strategy, model, next(iter(batches)))
    is_half = any(layer.compute_dtype in ("float16", "bfloat16") for layer in flatten_layers(model))
    tolerance = HALF_TOLERANCE if is_half else TOLERANCE
    for name, one, many in zip(("loss", "gradient norm"), single, distributed, strict=True):
        if not abs(one - many) <= tolerance * abs(one) + 1e-6:
            raise RuntimeError(
                f"{replicas} replicas do not agree with one on the same batch: expected {name} {one:.6g}, got "
                f"{many:.6g}; average the loss over replicas, and check that the slices form the batch"
            )


def _compute_gradients(model: Any, batch: Any) -> tuple[Any, Any]:
    """Return the loss of a batch, and its gradients."""
    images, labels = batch[:2]
    variables = [v.value for v in model.trainable_variables]
    with tf.GradientTape() as tape:
        loss = model.compute_loss(images, labels, model(images, training=False), None, False)
    return loss, [one for one in tape.gradient(loss, variables) if one is not None]


def _measure_on_single_device(model: Any, batch: Any) -> tuple[float, float]:
    copy = copy_to_single_device(model)
    copy.compile(loss=model.loss)

    @tf.function
    def measure(batch: Any) -> Any:
        loss, gradients = _compute_gradients(copy, batch)
        return loss, tf.linalg.global_norm(gradients)

    loss, norm = measure(batch)
    return float(loss), float(norm)


def _measure_on_replicas(strategy: Any, model: Any, batch: Any) -> tuple[float, float]:
    def step(batch: Any) -> Any:
        loss, gradients = _compute_gradients(model, batch)
        total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        return loss, tf.linalg.global_norm(total)

    @tf.function
    def measure(batch: Any) -> Any:
        loss, norm = strategy.run(step, (batch,))
        reduced = strategy.reduce(tf.distribute.ReduceOp.SUM, loss, axis=None)
        return reduced, strategy.reduce(tf.distribute.ReduceOp.MEAN, norm, axis=None)

    loss, norm = measure(batch)
    return float(loss), float(norm)
