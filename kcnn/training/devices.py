"""One device or several: what a training asks of kcnn.distribute, and on other backends than TensorFlow of nobody."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import keras

from kcnn.data import ImageDataset


def make_strategy(word: str) -> Any:
    """The tf.distribute strategy of a word (see kcnn.distribute.strategy); None on other backends, for one device.

    RuntimeError where several devices are asked for on another backend than TensorFlow; ValueError.
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        if word in ("auto", "single"):
            return None
        raise RuntimeError(
            f'"{word}" is a strategy of tf.distribute, which is TensorFlow\'s alone, and Keras runs on {backend}; '
            'take "single", or set KERAS_BACKEND=tensorflow'
        )
    from kcnn import distribute

    return distribute.make_strategy(word)


def worker_position(strategy: Any) -> tuple[int, int]:
    """(number of this worker, workers)."""
    if strategy is None:
        return 0, 1
    from kcnn import distribute

    return distribute.worker_position(strategy)


def all_gather(strategy: Any, number: int) -> list[int]:
    """What every worker says, in their order: a number each. They wait for each other here."""
    workers = worker_position(strategy)[1]
    if workers == 1:
        return [number]
    import tensorflow as tf

    replicas = strategy.num_replicas_in_sync // workers
    each = strategy.experimental_distribute_values_from_function(lambda _: tf.constant([number], tf.int64))
    return strategy.gather(each, axis=0).numpy()[::replicas].tolist()


def count_replicas(strategy: Any) -> int:
    return 1 if strategy is None else strategy.num_replicas_in_sync


def check_divisible(strategy: Any, data: ImageDataset) -> None:
    """Refuse a batch that the replicas cannot share out evenly: ValueError."""
    count, rows = count_replicas(strategy), min(data.batch_size, len(data.splits["train"]))
    if rows % count:
        near = max(1, rows // count) * count
        raise ValueError(f"a batch of {rows} images cannot be split evenly among {count} replicas; take {near}")


def scope(strategy: Any) -> contextlib.AbstractContextManager[Any]:
    """Where a model, its optimizer and its state are made."""
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def join_workers(strategy: Any) -> contextlib.AbstractContextManager[Any]:
    """Around what all workers do: a worker that is gone becomes one clear error."""
    if strategy is None:
        return contextlib.nullcontext()
    from kcnn import distribute

    return distribute.join_workers(strategy)


def distribute_training(strategy: Any, data: ImageDataset, first: int, last: int, augmentation: Any) -> Any:
    """Training batches of some epochs, as fit takes them under the strategy."""
    if strategy is None:
        return data.epochs(first, last, augmentation=augmentation)
    from kcnn import distribute

    def make(shard: tuple[int, int]) -> Any:
        return data.epochs(first, last, augmentation=augmentation, shard=shard)

    batches = distribute.distribute_dataset(strategy, make, data.batch_size)
    return batches if count_replicas(strategy) > 1 else distribute.prefetch(batches)


def distribute_validation(strategy: Any, data: ImageDataset) -> dict[str, Any]:
    """What fit takes for validation under the strategy: batches, and their number where Keras cannot count them.

    Every image counts once. Nothing where the data has no validation split.
    """
    if "validation" not in data.splits:
        return {}
    if count_replicas(strategy) == 1:
        return {"validation_data": data.validation}
    from kcnn import distribute

    batches, count, size = data.validation, len(data.splits["validation"]), data.batch_size
    if not data.splits["validation"].store.checked:  # what cannot be decoded is found out now, and the gaps closed
        count = sum(len(labels) for _, labels in batches)
        batches = batches.unbatch().batch(size)
    shared = distribute.distribute_dataset(
        strategy, lambda shard: distribute.pad_batches(batches, count, size, shard=shard), size
    )
    return {"validation_data": shared, "validation_steps": -(-count // size)}


def prepare(strategy: Any, model: Any) -> None:
    """Before compile: replicas compute as one device; see kcnn.distribute.synchronize."""
    if count_replicas(strategy) > 1:
        from kcnn import distribute

        distribute.synchronize_batch_norm(strategy, model)


def preflight(strategy: Any, model: Any, data: ImageDataset) -> None:
    """Refuse to start where all replicas together disagree with one; see kcnn.distribute.preflight."""
    if count_replicas(strategy) > 1:
        from kcnn import distribute

        size = count_replicas(strategy) * min(2, len(data.splits["train"]) // count_replicas(strategy))
        small = dataclasses.replace(data, batch_size=size)
        distribute.check_replicas(strategy, model, lambda shard: small.epochs(0, 1, shard=shard), size)


@contextlib.contextmanager
def release_functions() -> Iterator[None]:
    """Around a training whose model is gone afterwards: TensorFlow lets go of it too.

    Keras reduces gradients over replicas, if there is one only, by a function with a gradient of its own, and
    TensorFlow keeps every such gradient, and the traced graph that it belongs to, for as long as the process lives.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    from tensorflow.python.framework.ops import gradient_registry

    there = gradient_registry._registry
    known = set(there)
    try:
        yield
    finally:
        for name in [name for name in there if name.startswith("CustomGradient-") and name not in known]:
            del there[name]


def has_gpu() -> bool:
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU"))
    if backend == "jax":
        import jax

        return jax.default_backend() != "cpu"
    import torch

    return torch.cuda.is_available()
