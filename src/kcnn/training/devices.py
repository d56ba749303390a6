"""One device or several: kcnn.distribute where the backend is TensorFlow, one device where it is not."""

import contextlib
import dataclasses
from typing import Any

import keras

from kcnn.data import ImageDataset

DIGITS = 15  # of a hash in hexadecimal, which fit into 64 bits


def make_strategy(name: str) -> Any:
    """Return the tf.distribute strategy of a name (see kcnn.distribute.make_strategy).

    Args:
        name: "auto", "single", "mirrored" or "multiworker".

    Returns:
        The strategy; None on other backends, for one device.

    Raises:
        RuntimeError: Several devices on another backend than TensorFlow.
        UnknownNameError, ValueError: As from kcnn.distribute.make_strategy.
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        if name in ("auto", "single"):
            return None
        raise RuntimeError(
            f'strategy "{name}" needs TensorFlow, and the backend of Keras is {backend}; use strategy "single", or set '
            "KERAS_BACKEND=tensorflow"
        )
    from kcnn import distribute

    return distribute.make_strategy(name)


def name_strategy(strategy: Any) -> str:
    """Return the name of a strategy: "single", "mirrored" or "multiworker", where "auto" was requested too."""
    if strategy is None:
        return "single"
    from kcnn import distribute

    return distribute.name_strategy(strategy)


def worker_position(strategy: Any) -> tuple[int, int]:
    """Return (number of this worker, number of workers)."""
    if strategy is None:
        return 0, 1
    from kcnn import distribute

    return distribute.worker_position(strategy)


def all_gather(strategy: Any, number: int) -> list[int]:
    """Return the number that each worker passes, in their order; workers wait for each other here."""
    workers = worker_position(strategy)[1]
    if workers == 1:
        return [number]
    import tensorflow as tf

    replicas = strategy.num_replicas_in_sync // workers
    values = strategy.experimental_distribute_values_from_function(lambda _: tf.constant([number], tf.int64))
    return strategy.gather(values, axis=0).numpy()[::replicas].tolist()


def check_same_data(strategy: Any, fingerprint: str, images: int) -> None:
    """Refuse to train on several workers whose images or labels differ; each worker raises the same error.

    Args:
        strategy: The strategy.
        fingerprint: Hash of the images, labels and splits, in hexadecimal digits.
        images: Number of images.

    Raises:
        ValueError: The message names the workers that differ from worker 0.
    """
    hashes = all_gather(strategy, int(fingerprint[:DIGITS], 16))
    counts = all_gather(strategy, images)
    differing = [n for n, one in enumerate(zip(hashes, counts, strict=True)) if one != (hashes[0], counts[0])]
    if differing:
        texts = [
            f"worker {n} has {counts[n]:,} images" + (", of which some are others" if counts[n] == counts[0] else "")
            for n in differing
        ]
        raise ValueError(
            "the workers have different images, labels or splits: worker 0 has "
            f"{counts[0]:,} images, {', '.join(texts)}; copy the data of one worker to all"
        )


def count_replicas(strategy: Any) -> int:
    """Return the number of replicas of a model."""
    return 1 if strategy is None else strategy.num_replicas_in_sync


def check_divisible(strategy: Any, data: ImageDataset) -> None:
    """Refuse a batch size that is not divisible by the number of replicas.

    Raises:
        ValueError: With the nearest batch size that is.
    """
    count, rows = count_replicas(strategy), min(data.batch_size, len(data.splits["train"]))
    if rows % count:
        nearest = max(1, rows // count) * count
        raise ValueError(f"a batch of {rows} images cannot be split evenly among {count} replicas; use {nearest}")


def scope(strategy: Any) -> contextlib.AbstractContextManager[Any]:
    """Return the context in which a model, its optimizer and its state are created."""
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def join_workers(strategy: Any) -> contextlib.AbstractContextManager[Any]:
    """Return the context in which the failure of another worker becomes one clear error."""
    if strategy is None:
        return contextlib.nullcontext()
    from kcnn import distribute

    return distribute.join_workers(strategy)


def distribute_training(strategy: Any, data: ImageDataset, first: int, last: int, augmentation: Any) -> Any:
    """Return training batches for Keras' fit.

    Args:
        strategy: The strategy, or None.
        data: The data.
        first: The first epoch, counted from 0.
        last: The epoch to end before.
        augmentation: A kcnn.augment.Augmentation.

    Returns:
        The batches.
    """
    if strategy is None:
        return data.epochs(first, last, augmentation=augmentation)
    from kcnn import distribute

    def make_shard(shard: tuple[int, int]) -> Any:
        return data.epochs(first, last, augmentation=augmentation, shard=shard)

    batches = distribute.distribute_dataset(strategy, make_shard, data.batch_size)
    return batches if count_replicas(strategy) > 1 else distribute.prefetch(batches)


def distribute_validation(strategy: Any, data: ImageDataset) -> dict[str, Any]:
    """Return the arguments of Keras' fit for validation; every image counts once.

    Returns:
        Batches, and their number where Keras cannot count them; empty without a validation split.
    """
    if "validation" not in data.splits:
        return {}
    if count_replicas(strategy) == 1:
        return {"validation_data": data.validation}
    from kcnn import distribute

    batches, count, size = data.validation, len(data.splits["validation"]), data.batch_size
    if not data.splits["validation"].cache.checked:  # images that cannot be decoded are dropped first
        count = sum(len(labels) for _, labels in batches)
        batches = batches.unbatch().batch(size)
    distributed = distribute.distribute_dataset(
        strategy, lambda shard: distribute.pad_batches(batches, count, size, shard=shard), size
    )
    return {"validation_data": distributed, "validation_steps": -(-count // size)}


def synchronize_replicas(strategy: Any, model: Any) -> None:
    """Let replicas compute as one device, before compile; see kcnn.distribute.synchronize_batch_norm."""
    if count_replicas(strategy) > 1:
        from kcnn import distribute

        distribute.synchronize_batch_norm(strategy, model)


def check_replicas(strategy: Any, model: Any, data: ImageDataset) -> None:
    """Refuse to start where all replicas together disagree with one; see kcnn.distribute.check_replicas."""
    if count_replicas(strategy) > 1:
        from kcnn import distribute

        size = count_replicas(strategy) * min(2, len(data.splits["train"]) // count_replicas(strategy))
        sample = dataclasses.replace(data, batch_size=size)
        distribute.check_replicas(strategy, model, lambda shard: sample.epochs(0, 1, shard=shard), size)


def has_gpu() -> bool:
    """Return whether the backend uses a GPU."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU"))
    if backend == "jax":
        import jax

        return jax.default_backend() != "cpu"
    import torch

    return torch.cuda.is_available()
