"""Which devices train together, and what a model needs for it. TensorFlow's alone."""

import contextlib
import functools
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from kcnn.distribute.cluster import detect_cluster
from kcnn.keras_bridge.keras_graph import flatten_layers

KINDS = ("auto", "single", "mirrored", "multiworker")
GONE = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError)


def make_strategy(kind: str = "auto", devices: Sequence[str] | None = None, *, port: int | None = None) -> Any:
    """The tf.distribute strategy of a word: "single", "mirrored" (the GPUs of this machine), "multiworker", or "auto".

    "auto" is multiworker where TF_CONFIG or Slurm names more than one worker, else mirrored where there are several
    GPUs, else single. `devices` ("GPU:0", ...) takes the place of the GPUs for "mirrored"; `port` as in `cluster`.
    One strategy of a kind is made in a process and given again. Ask before TensorFlow does anything else.
    ValueError for another word, for a mirrored of one device, and for a multiworker without a cluster; RuntimeError
    on another backend than TensorFlow, or too late.
    """
    if kind not in KINDS:
        raise ValueError(f"strategy must be one of {', '.join(KINDS)}, not {kind!r}")
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"tf.distribute is TensorFlow's alone, and Keras runs on {keras.backend.backend()}; "
            "set KERAS_BACKEND=tensorflow, or train there with Keras' own loop on one device"
        )
    if devices is not None and kind != "mirrored":
        raise ValueError(f'devices are chosen for "mirrored" alone, not for {kind!r}; leave them out')
    here = detect_cluster(port=port) if kind in ("auto", "multiworker") else None
    if kind == "auto":
        several = here is not None and len(here.workers) > 1
        kind = "multiworker" if several else "mirrored" if len(list_gpus()) > 1 else "single"
    if kind == "single":
        return tf.distribute.get_strategy()
    if kind == "mirrored":
        return _mirrored(tuple(devices) if devices is not None else list_gpus())
    if here is None:
        raise ValueError(
            '"multiworker" needs workers: start each process with its TF_CONFIG, all of them with srun, '
            "or on this machine with: kcnn launch --workers 2 COMMAND"
        )
    return _multiworker(here.config)


def list_gpus() -> tuple[str, ...]:
    """The GPUs of this machine that TensorFlow sees: "GPU:0", ..."""
    return tuple(f"GPU:{n}" for n in range(len(tf.config.list_logical_devices("GPU"))))


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> Any:
    if len(devices) < 2:
        there = f"only {devices[0]}" if devices else "no GPU"
        raise ValueError(
            f'"mirrored" needs two devices or more, and here is {there}; take "single", '
            "or name others in kcnn.distribute.strategy"
        )
    if len(set(devices)) < len(devices):
        raise ValueError(f'"mirrored" needs each device once, not {", ".join(devices)}')
    if _mirrored.cache_info().currsize:  # fit breaks under a second one
        raise ValueError(f"this process has a mirrored strategy over other devices than {', '.join(devices)} already")
    processors = all(tf.DeviceSpec.from_string(_full(one)).device_type == "CPU" for one in devices)
    return tf.distribute.MirroredStrategy(
        list(devices), cross_device_ops=tf.distribute.ReductionToOneDevice() if processors else None
    )


def _full(device: str) -> str:
    return device if device.startswith("/") else f"/device:{device}"


@functools.cache
def _multiworker(config: str) -> Any:
    from kcnn.distribute.multiworker import patch_keras

    os.environ["TF_CONFIG"] = config  # tf.distribute reads it there, Slurm's cluster too
    return patch_keras()


def worker_position(strategy: Any) -> tuple[int, int]:
    """(number of this worker, workers): (0, 1) but for multiworker; number 0 is the chief."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 0, 1
    resolver = strategy.cluster_resolver
    return resolver.task_id, resolver.cluster_spec().num_tasks("worker")


def is_chief(strategy: Any) -> bool:
    """Whether this process writes the files of a run: one of the workers does."""
    return worker_position(strategy)[0] == 0


def find_batch_norms(model: Any) -> list[Any]:
    """The model's batch normalisations, nested ones too."""
    return [one for one in flatten_layers(model) if isinstance(one, keras.layers.BatchNormalization)]


def synchronize_batch_norm(strategy: Any, model: Any) -> None:
    """Let replicas, where there are several, compute as one device would; before `compile`.

    Batch normalisation sees the batches of all as one, and each draws dropout masks of its own, where Keras
    draws the same in all.
    """
    several = strategy.num_replicas_in_sync > 1
    for layer in find_batch_norms(model):
        layer.synchronized = several
    for layer in flatten_layers(model):
        if several and isinstance(getattr(layer, "seed_generator", None), keras.random.SeedGenerator):
            layer.seed_generator.next = functools.partial(_own_seed, layer.seed_generator)


def _own_seed(generator: Any, ordered: bool = True) -> Any:
    """A seed generator's next, in the first replica, and another in each of the others."""
    context, seed = tf.distribute.get_replica_context(), type(generator).next(generator, ordered)
    number = 0 if context is None else context.replica_id_in_sync_group
    return seed + tf.cast(tf.stack([number, 0]), seed.dtype)


def unreplicated(model: Any) -> Any:
    """The model with its weights on one device, not compiled and not synchronised: to save, export or test alone.

    RuntimeError inside a strategy's scope.
    """
    if tf.distribute.has_strategy():
        raise RuntimeError("a plain copy is made outside strategy.scope(); leave the scope first")
    copy = type(model).from_config(model.get_config())
    for layer in find_batch_norms(copy):
        layer.synchronized = False
    copy.set_weights(model.get_weights())
    return copy


@contextlib.contextmanager
def join_workers(strategy: Any) -> Iterator[None]:
    """Around what workers do together: where one of them is gone, the others stop with a RuntimeError that says so."""
    number, workers = worker_position(strategy)
    try:
        yield
    except tf.errors.OpError as error:
        told = str(error)
        if workers == 1 or not (isinstance(error, GONE) or "Collective ops is aborted" in told):
            raise
        named = {int(task) for task in re.findall(r"/job:worker/(?:replica:\d+/)?task:(\d+)", told)} - {number}
        who = " and ".join(f"worker {task}" for task in sorted(named)) or "another worker"
        raise RuntimeError(
            f"worker {number} of {workers} stops: {who} is gone; "
            "start the same command again on every worker, and each goes on from its last checkpoint"
        ) from error
