"""Strategies of tf.distribute, and what a model needs under them. TensorFlow only."""

import contextlib
import functools
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from kcnn.distribute.cluster import detect_cluster
from kcnn.distribute.waiting import report_missing_workers
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_integer
from kcnn.graph.names import unknown
from kcnn.keras_bridge.keras_graph import finalize_normalization, flatten_layers

KINDS = ("auto", "single", "mirrored", "multiworker")
WORKER_FAILED = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError)


@check_arguments
def make_strategy(kind: str = "auto", devices: Sequence[str] | None = None, *, port: int | None = None) -> Any:
    """Return a strategy of tf.distribute; call it before TensorFlow does anything else.

    A process has one strategy of each kind; later calls return it again.

    Args:
        kind: "single", "mirrored" (the GPUs of this machine), "multiworker", or "auto": multiworker where TF_CONFIG or
            Slurm defines more than one worker, else mirrored where there are several GPUs, else single.
        devices: Devices ("GPU:0", ...) in place of the GPUs, for "mirrored".
        port: First port of a node under Slurm.

    Returns:
        The strategy.

    Raises:
        UnknownNameError: The kind is unknown.
        ValueError: "mirrored" with one device, or "multiworker" without a cluster.
        RuntimeError: The backend is not TensorFlow, or TensorFlow is in use already.
    """
    if port is not None:
        check_integer("port", port, 1, "an integer from 1 to 65535", maximum=65535)
    if kind not in KINDS:
        raise unknown("strategy", kind, KINDS)
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"tf.distribute needs TensorFlow, and the backend of Keras is {keras.backend.backend()}; "
            "set KERAS_BACKEND=tensorflow, or train on one device"
        )
    if devices is not None and kind != "mirrored":
        raise ValueError(f'devices can be set for strategy "mirrored" only, not for {kind!r}; remove them')
    cluster = detect_cluster(port=port) if kind in ("auto", "multiworker") else None
    if kind == "auto":
        is_distributed = cluster is not None and len(cluster.workers) > 1
        kind = "multiworker" if is_distributed else "mirrored" if len(list_gpus()) > 1 else "single"
    if kind == "single":
        return tf.distribute.get_strategy()
    if kind == "mirrored":
        return _mirrored(tuple(devices) if devices is not None else list_gpus())
    if cluster is None:
        raise ValueError(
            'strategy "multiworker" needs several workers: start each process with its TF_CONFIG, all with srun, '
            "or on this machine with: kcnn launch --workers 2 COMMAND"
        )
    return _multiworker(cluster.config)


def list_gpus() -> tuple[str, ...]:
    """Return the GPUs of this machine that TensorFlow can use: "GPU:0", ..."""
    return tuple(f"GPU:{n}" for n in range(len(tf.config.list_logical_devices("GPU"))))


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> Any:
    if len(devices) < 2:
        available = f"only {devices[0]}" if devices else "no GPU"
        raise ValueError(
            f'strategy "mirrored" needs at least two devices, found {available}; use "single", or pass devices to '
            "kcnn.distribute.make_strategy"
        )
    if len(set(devices)) < len(devices):
        raise ValueError(f'strategy "mirrored" needs each device once, got {", ".join(devices)}')
    if _mirrored.cache_info().currsize:  # fit breaks under a second one
        raise ValueError(f"this process already has a mirrored strategy over other devices than {', '.join(devices)}")
    is_cpu = all(tf.DeviceSpec.from_string(_full_name(device)).device_type == "CPU" for device in devices)
    return tf.distribute.MirroredStrategy(
        list(devices), cross_device_ops=tf.distribute.ReductionToOneDevice() if is_cpu else None
    )


def _full_name(device: str) -> str:
    return device if device.startswith("/") else f"/device:{device}"


@functools.cache
def _multiworker(config: str) -> Any:
    from kcnn.distribute.multiworker import make_multiworker_strategy

    os.environ["TF_CONFIG"] = config  # tf.distribute reads it, also for Slurm
    with report_missing_workers(config):
        return make_multiworker_strategy()


@check_arguments
def name_strategy(strategy: tf.distribute.Strategy) -> str:
    """Return the name of a strategy.

    Args:
        strategy: The strategy.

    Returns:
        "single", "mirrored" or "multiworker".
    """
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return "multiworker"
    return "mirrored" if isinstance(strategy, tf.distribute.MirroredStrategy) else "single"


@check_arguments
def worker_position(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """Return the number of this worker, and how many there are.

    Args:
        strategy: The strategy.

    Returns:
        (worker, workers): (0, 1) unless multiworker; worker 0 is the chief.
    """
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 0, 1
    resolver = strategy.cluster_resolver
    return resolver.task_id, resolver.cluster_spec().num_tasks("worker")


@check_arguments
def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Return whether this process is worker 0 (the chief), which writes the files of a run.

    Args:
        strategy: The strategy.

    Returns:
        True with one process.
    """
    return worker_position(strategy)[0] == 0


def find_batch_norms(model: Any) -> list[Any]:
    """Return the batch-norm layers of a model, nested ones too."""
    return [layer for layer in flatten_layers(model) if isinstance(layer, keras.layers.BatchNormalization)]


@check_arguments
def synchronize_batch_norm(strategy: tf.distribute.Strategy, model: keras.Model) -> None:
    """Let several replicas compute as one device; call it before compile.

    Batch normalization uses the statistics of the complete batch, and each replica draws its own dropout masks, where
    Keras draws the same in all.

    Args:
        strategy: The strategy.
        model: The model; it is changed in place.
    """
    is_replicated = strategy.num_replicas_in_sync > 1
    for layer in find_batch_norms(model):
        layer.synchronized = is_replicated
    for layer in flatten_layers(model):
        if is_replicated and isinstance(getattr(layer, "seed_generator", None), keras.random.SeedGenerator):
            layer.seed_generator.next = functools.partial(_next_seed, layer.seed_generator)


def _next_seed(generator: Any, ordered: bool = True) -> Any:
    """Return the next seed of a generator in the first replica, and another in each of the others."""
    context, seed = tf.distribute.get_replica_context(), type(generator).next(generator, ordered)
    number = 0 if context is None else context.replica_id_in_sync_group
    return seed + tf.cast(tf.stack([number, 0]), seed.dtype)


@check_arguments
def copy_to_single_device(model: keras.Model) -> Any:
    """Return a copy of a model on one device, not compiled and not synchronized: to save, export or test.

    Args:
        model: The model.

    Returns:
        The copy, with the weights of the model.

    Raises:
        RuntimeError: It is called inside a strategy's scope.
    """
    if tf.distribute.has_strategy():
        raise RuntimeError("cannot copy a model to one device inside strategy.scope(); leave the scope first")
    copy = type(model).from_config(model.get_config())
    for layer in find_batch_norms(copy):
        layer.synchronized = False
    copy.set_weights(model.get_weights())
    finalize_normalization(copy)
    return copy


@check_arguments
@contextlib.contextmanager
def join_workers(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Convert the failure of another worker meanwhile into one clear error.

    Args:
        strategy: The strategy.

    Yields:
        None.

    Raises:
        RuntimeError: Another worker failed.
    """
    number, workers = worker_position(strategy)
    try:
        yield
    except tf.errors.OpError as error:
        message = str(error)
        if workers == 1 or not (isinstance(error, WORKER_FAILED) or "Collective ops is aborted" in message):
            raise
        tasks = {int(task) for task in re.findall(r"/job:worker/(?:replica:\d+/)?task:(\d+)", message)} - {number}
        names = " and ".join(f"worker {task}" for task in sorted(tasks)) or "another worker"
        raise RuntimeError(
            f"worker {number} of {workers} stops because {names} failed; "
            "run the same command on every worker to resume from the last checkpoint"
        ) from error
