"""Split batches among replicas; each sample counts once. TensorFlow only."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kcnn.distribute.strategies import list_gpus, worker_position
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_integer, wrong_value

MAX_BATCH = 1 << 24  # images
PREFETCHED = 2  # batches on the GPU before they are needed
MakeShard = Callable[[tuple[int, int]], tf.data.Dataset]


@check_arguments
def distribute_dataset(strategy: tf.distribute.Strategy, make_shard: MakeShard, batch_size: int) -> Any:
    """Return batches for Keras' fit and evaluate, each split among the replicas of a strategy.

    Args:
        strategy: The strategy.
        make_shard: Takes (i, n) and returns the i-th of n equal slices of every batch; a worker reads only its own.
        batch_size: Images per batch, over all replicas.

    Returns:
        The batches.

    Raises:
        ValueError: The batch size is not divisible by the number of replicas.
    """
    check_integer("batch_size", batch_size, 1, "a positive integer")
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        nearest = max(1, round(batch_size / replicas)) * replicas
        raise ValueError(f"a batch of {batch_size} cannot be split evenly among {replicas} replicas; use {nearest}")
    workers = worker_position(strategy)[1]
    if workers == 1:
        return make_shard((0, 1))
    replicas_here = replicas // workers

    def make_own(context: tf.distribute.InputContext) -> tf.data.Dataset:
        dataset = make_shard((context.input_pipeline_id, context.num_input_pipelines))
        return dataset if replicas_here == 1 else dataset.map(_split_into(replicas_here)).unbatch()

    return strategy.distribute_datasets_from_function(make_own)


@check_arguments
def prefetch(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Copy batches to the first GPU, if there is one, before they are needed; tf.distribute does so for several.

    TensorFlow then does not know how many there are: pass `steps_per_epoch` to fit.

    Args:
        dataset: The batches.

    Returns:
        The batches; as they are without a GPU.
    """
    gpus = list_gpus()
    return dataset.apply(tf.data.experimental.prefetch_to_device(gpus[0], PREFETCHED)) if gpus else dataset


def _check_count(dataset: tf.data.Dataset, count: int, batch_size: int) -> None:
    """Refuse a number of samples that batches of a dataset cannot hold, where it knows how many it has."""
    check_integer("count", count, 1, "a positive integer")
    check_integer("batch_size", batch_size, 1, f"an integer from 1 to {MAX_BATCH:,}", maximum=MAX_BATCH)
    batches = int(dataset.cardinality())
    if batches >= 0 and count > batches * batch_size:
        raise wrong_value("count", f"at most the {batches * batch_size} samples of {batches} batches", count)


def _split_into(parts: int) -> Callable[..., Any]:
    """Return a function that splits a batch's tensors (n, ...) into (parts, n / parts, ...)."""

    def split(*batch: Any) -> Any:
        return tf.nest.map_structure(lambda t: tf.reshape(t, tf.concat([[parts, -1], tf.shape(t)[1:]], 0)), batch)

    return split


@check_arguments
def pad_batches(
    dataset: tf.data.Dataset, count: int, batch_size: int, shard: tuple[int, int] = (0, 1)
) -> tf.data.Dataset:
    """Pad the last batch to the batch size, and add sample weights.

    Padding weighs 0, and all other rows so much that the mean of all weights is 1: the loss of Keras is then the mean
    over the samples, and so are metrics that are compiled as `weighted_metrics`.

    Args:
        dataset: Batches (images, labels).
        count: Number of samples.
        batch_size: Images per batch.
        shard: (i, n) for the i-th of n equal slices of each batch.

    Returns:
        Batches (images, labels, weights). Reading them raises InvalidArgumentError or FailedPreconditionError where the
        dataset does not match `count` and `batch_size`.

    Raises:
        ValueError: The dataset knows that it has fewer samples.
    """
    _check_count(dataset, count, batch_size)
    batches = -(-count // batch_size)
    weight = batches * batch_size / count

    def pad(images: Any, labels: Any) -> Any:
        rows = tf.shape(labels)[0]
        weights = tf.where(tf.range(batch_size) < rows, weight, 0.0)
        return (*_pad_to((images, labels), batch_size), weights)

    padded = dataset.map(pad, num_parallel_calls=tf.data.AUTOTUNE)
    return _slice_batches(padded, batch_size, shard).apply(tf.data.experimental.assert_cardinality(batches))


@check_arguments
def predict_dataset(
    strategy: tf.distribute.Strategy, model: keras.Model, dataset: tf.data.Dataset, count: int, batch_size: int
) -> np.ndarray:
    """Predict all samples on all replicas.

    Args:
        strategy: The strategy.
        model: The model.
        dataset: Batches (images, labels).
        count: Number of samples.
        batch_size: Images per batch.

    Returns:
        The model's output for each sample, in their order, on every worker.

    Raises:
        ValueError: The batch size is not divisible by the number of replicas, or the number of samples differs.
    """
    _check_count(dataset, count, batch_size)

    def enumerate_rows(batch: tf.Tensor, sample: Any) -> Any:
        images = sample[0]
        rows = tf.range(batch_size, dtype=tf.int64)
        is_sample = rows < tf.shape(images, tf.int64)[0]
        return _pad_to((images,), batch_size)[0], tf.where(is_sample, batch * batch_size + rows, -1)

    def make_shard(shard: tuple[int, int]) -> tf.data.Dataset:
        enumerated = dataset.enumerate().map(enumerate_rows, num_parallel_calls=tf.data.AUTOTUNE)
        return _slice_batches(enumerated, batch_size, shard)

    @tf.function
    def predict(images: Any, indices: Any) -> Any:
        outputs = strategy.run(lambda x: model(x, training=False), (images,))
        return strategy.gather(outputs, axis=0), strategy.gather(indices, axis=0)

    batches = distribute_dataset(strategy, make_shard, batch_size)
    if worker_position(strategy)[1] == 1:
        batches = strategy.experimental_distribute_dataset(batches)
    rows: np.ndarray | None = None
    seen = np.zeros(count, int)
    for images, numbers in batches:
        outputs, indices = (tensor.numpy() for tensor in predict(images, numbers))
        is_sample = indices >= 0
        if rows is None:
            rows = np.zeros((count, *outputs.shape[1:]), outputs.dtype)
        if indices.max() >= count:
            raise ValueError(f"expected {count} samples, but the dataset has more")
        rows[indices[is_sample]] = outputs[is_sample]
        seen[indices[is_sample]] += 1
    if rows is None or (seen != 1).any():
        raise ValueError(f"expected {count} samples, got {int((seen == 1).sum())}, in batches of {batch_size}")
    return rows


def _pad_to(tensors: Any, size: int) -> Any:
    """Pad tensors (n, ...) with zeros to (size, ...)."""

    def pad(tensor: tf.Tensor) -> tf.Tensor:
        paddings = [[0, size - tf.shape(tensor)[0]], *([[0, 0]] * (tensor.shape.rank - 1))]
        return tf.ensure_shape(tf.pad(tensor, paddings), (size, *tensor.shape[1:]))

    return tf.nest.map_structure(pad, tensors)


def _slice_batches(dataset: tf.data.Dataset, size: int, shard: tuple[int, int]) -> tf.data.Dataset:
    index, parts = shard
    if parts == 1:
        return dataset
    first, last = index * size // parts, (index + 1) * size // parts
    return dataset.map(lambda *batch: tf.nest.map_structure(lambda t: t[first:last], batch))
