"""Batches shared out among replicas, each sample counted once. TensorFlow's alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from kcnn.distribute.strategies import list_gpus, worker_position

AHEAD = 2  # batches on a GPU before they are needed
Make = Callable[[tuple[int, int]], tf.data.Dataset]


def distribute_dataset(strategy: Any, make: Make, batch_size: int) -> Any:
    """What Keras' fit and evaluate take under the strategy: whole batches of `batch_size`, split among its replicas.

    `make((i, n))` gives the i-th of n equal slices of every batch; a worker reads only its own.
    ValueError for a batch size that the replicas do not divide.
    """
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        near = max(1, round(batch_size / replicas)) * replicas
        raise ValueError(f"a batch of {batch_size} cannot be split evenly among {replicas} replicas; take {near}")
    workers = worker_position(strategy)[1]
    if workers == 1:
        return make((0, 1))
    mine = replicas // workers

    def own(context: tf.distribute.InputContext) -> tf.data.Dataset:
        dataset = make((context.input_pipeline_id, context.num_input_pipelines))
        return dataset if mine == 1 else dataset.map(_in_parts(mine)).unbatch()

    return strategy.distribute_datasets_from_function(own)


def prefetch(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Batches copied to the first GPU, where there is one, before they are needed; tf.distribute does so for several.

    TensorFlow then no longer knows how many there are: tell fit `steps_per_epoch`.
    """
    ours = list_gpus()
    return dataset.apply(tf.data.experimental.prefetch_to_device(ours[0], AHEAD)) if ours else dataset


def _in_parts(parts: int) -> Callable[..., Any]:
    """A batch's tensors (n, ...) as (parts, n / parts, ...)."""

    def split(*batch: Any) -> Any:
        return tf.nest.map_structure(lambda t: tf.reshape(t, tf.concat([[parts, -1], tf.shape(t)[1:]], 0)), batch)

    return split


def pad_batches(
    dataset: tf.data.Dataset, count: int, batch_size: int, shard: tuple[int, int] = (0, 1)
) -> tf.data.Dataset:
    """Batches (images, labels) of `count` samples, all of `batch_size`, with weights: (images, labels, weights).

    The rows that fill the last batch weigh nothing and the others so much more, that the mean of all weights is
    one: Keras' loss is then the mean over the samples, and so are metrics compiled as `weighted_metrics`.
    `shard=(i, n)` gives the i-th of n equal slices of each batch. InvalidArgumentError or
    FailedPreconditionError while reading, where the data set has other batches than `count` and `batch_size` say.
    """
    batches = -(-count // batch_size)
    weight = batches * batch_size / count

    def whole(images: Any, labels: Any) -> Any:
        rows = tf.shape(labels)[0]
        weights = tf.where(tf.range(batch_size) < rows, weight, 0.0)
        return (*_filled((images, labels), batch_size), weights)

    full = dataset.map(whole, num_parallel_calls=tf.data.AUTOTUNE)
    return _shared(full, batch_size, shard).apply(tf.data.experimental.assert_cardinality(batches))


def predict_dataset(strategy: Any, model: Any, dataset: tf.data.Dataset, count: int, batch_size: int) -> np.ndarray:
    """The model's output for each of the `count` samples in batches (images, labels), in their order, on every worker.

    ValueError for a batch size that the replicas do not divide, or where rows are missing.
    """

    def numbered(batch: tf.Tensor, sample: Any) -> Any:
        images = sample[0]
        place_in_batch = tf.range(batch_size, dtype=tf.int64)
        there = place_in_batch < tf.shape(images, tf.int64)[0]
        return _filled((images,), batch_size)[0], tf.where(there, batch * batch_size + place_in_batch, -1)

    def make(shard: tuple[int, int]) -> tf.data.Dataset:
        return _shared(dataset.enumerate().map(numbered, num_parallel_calls=tf.data.AUTOTUNE), batch_size, shard)

    @tf.function
    def outputs(images: Any, numbers: Any) -> Any:
        found = strategy.run(lambda x: model(x, training=False), (images,))
        return strategy.gather(found, axis=0), strategy.gather(numbers, axis=0)

    batches = distribute_dataset(strategy, make, batch_size)
    if worker_position(strategy)[1] == 1:
        batches = strategy.experimental_distribute_dataset(batches)
    rows: np.ndarray | None = None
    seen = np.zeros(count, int)
    for images, numbers in batches:
        found, where = (one.numpy() for one in outputs(images, numbers))
        real = where >= 0
        if rows is None:
            rows = np.zeros((count, *found.shape[1:]), found.dtype)
        if where.max() >= count:
            raise ValueError(f"the data set has more than the {count} samples that were told")
        rows[where[real]] = found[real]
        seen[where[real]] += 1
    if rows is None or (seen != 1).any():
        raise ValueError(f"{int((seen == 1).sum())} of {count} samples came, in batches of {batch_size}")
    return rows


def _filled(tensors: Any, size: int) -> Any:
    """Tensors (n, ...) with zeros behind, up to (size, ...)."""

    def fill(tensor: tf.Tensor) -> tf.Tensor:
        behind = [[0, size - tf.shape(tensor)[0]], *([[0, 0]] * (tensor.shape.rank - 1))]
        return tf.ensure_shape(tf.pad(tensor, behind), (size, *tensor.shape[1:]))

    return tf.nest.map_structure(fill, tensors)


def _shared(dataset: tf.data.Dataset, size: int, shard: tuple[int, int]) -> tf.data.Dataset:
    index, parts = shard
    if parts == 1:
        return dataset
    first, last = index * size // parts, (index + 1) * size // parts
    return dataset.map(lambda *batch: tf.nest.map_structure(lambda t: t[first:last], batch))
