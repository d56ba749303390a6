"""Checks of a published architecture, by its name; each raises an AssertionError with one sentence.

Networks are built as small as possible: at the standard size once, otherwise at the minimum input size or 32 pixels.
"""

import gc
import tempfile
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, NoReturn

import keras
import numpy as np

import kcnn
from kcnn import ModelSpec
from kcnn.architectures import catalogue, determinism
from kcnn.graph.graph import Graph
from kcnn.keras_bridge.keras_graph import flatten_layers, operation, output_activation
from kcnn.training import freeze, group_by_stage, unfreeze
from kcnn.training.precision import apply_policy

CLASSES, SIZE, IMAGES = 3, 32, 8  # fewer images: norms over a few single pixels have gradients that overflow
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
MAX_OVERRIDES = 3  # layers whose override is built


class CheckSkippedError(Exception):
    """Raised by a check that does not apply to an architecture; the message has the reason."""


def fail(text: str) -> NoReturn:
    """Raise an AssertionError."""
    raise AssertionError(text)


def check_declared(name: str) -> None:
    """Check declared parameters, MACs, receptive field, minimum input, weights and their mappings."""
    problems = list(catalogue.find_discrepancies(catalogue.make_entry(name)))
    if problems:
        fail(f"{name}: {'; '.join(problems)}")


def check_deterministic(name: str) -> None:
    """Check that the network has the same layers in the same order each time, in every process."""
    problems = [*determinism.find_unstable_traces(name), *determinism.compare_processes([name]).values()]
    if problems:
        fail(f"{name}: {problems[0]}")


def check_names(name: str) -> None:
    """Check that layers have unique names of lowercase letters, digits and "_", which addresses can match."""
    for problem in catalogue.find_invalid_layers(kcnn.summary(name)):
        fail(f"{name} {problem}")


def check_matches_keras(name: str) -> None:
    """Check that every Keras layer has the shape and parameters of the graph at the standard size."""
    compare_layers(name, kcnn.build(name))


def check_small_input(name: str, channels: int) -> None:
    """Check the model at the minimum input size with other channels and classes: layers, and finite logits."""
    size = kcnn.min_input_size(name)
    spec = ModelSpec(network=name, classes=CLASSES, input_shape=(size, size, channels))
    model = kcnn.build(spec, seed=0)
    compare_layers(name, model, spec.trace())
    if activation := output_activation(model.outputs[0]):
        fail(f"{name} ends in a {activation}; its head must return logits")
    outputs = compute_logits(model, make_pixels(model, 2))
    if outputs.shape != (2, CLASSES) or not np.isfinite(outputs).all():
        fail(f"{name} at {size}x{size}x{channels} gives {outputs.shape} for 2 images and {CLASSES} classes: {outputs}")


def check_overrides(name: str) -> None:
    """Check that overrides change the kernel of one layer, in the graph and in Keras, and nothing else."""
    if kcnn.get_architecture(name).keras is not None:
        raise CheckSkippedError(f"{name} exists only as Keras code, which takes no overrides")
    shape = build_cached(name).input_shape[1:]
    before = {row.name: row for row in kcnn.summary(kcnn.trace(name, input_shape=shape, classes=CLASSES))}
    windows = [layer for layer, row in before.items() if hasattr(row.op, "kernel") and hasattr(row.op, "padding")]
    count = 0
    for layer in windows:
        op = before[layer].op
        kernel = 3 if op.kernel in (1, (1, 1)) else 1
        overrides = {f"{layer}.kernel": kernel, **({} if op.padding == "same" else {f"{layer}.padding": "same"})}
        if getattr(op, "stride", 1) not in (1, (1, 1)) and kernel == 1 and not hasattr(op, "filters"):
            continue
        try:
            graph = kcnn.trace(name, input_shape=shape, classes=CLASSES, overrides=overrides)
        except ValueError:
            continue  # another branch would no longer fit
        after = {row.name: row for row in kcnn.summary(graph)}
        if after[layer].op.kernel != kernel:
            fail(f"{name}: override {layer}.kernel={kernel} leaves {after[layer].op.kernel}")
        others = [other for other in before if other != layer and after[other].op != before[other].op]
        if others:
            fail(f"{name}: override {layer}.kernel={kernel} also changes {others[0]}")
        compare_layers(name, kcnn.build(graph), graph)
        count += 1
        if count == MAX_OVERRIDES:
            break
    if windows and not count:
        fail(f"{name}: no layer takes another kernel by override")


def check_gradients(name: str) -> None:
    """Check that one step of SGD changes every trainable weight, to finite values."""
    model = build_small(name)
    x = make_pixels(model, IMAGES)
    y = np.arange(IMAGES) % CLASSES
    before = compute_logits(model, x)
    if not np.isfinite(before).all():
        fail(f"{name} gives logits that are not finite before training")
    weights = [keras.ops.convert_to_numpy(w) for w in model.trainable_weights]
    # A rate so high that a gradient of 1e-9 moves a weight of 1.
    model.compile(keras.optimizers.SGD(1e3), LOSS, run_eagerly=True)
    loss = model.train_on_batch(x, y)
    if not np.isfinite(loss):
        fail(f"{name} has a loss of {loss} in its first step")
    for variable, old in zip(model.trainable_weights, weights, strict=True):
        new = keras.ops.convert_to_numpy(variable)
        if not np.isfinite(new).all():
            fail(f"{name}: the gradient of {variable.path} is not finite")
        if (new == old).all():
            fail(f"{name}: no gradient reaches {variable.path}, so it is never trained")


def check_saved(name: str) -> None:
    """Check that kcnn.load_model reads the saved model, and that it gives the same logits."""
    model = build_cached(name)
    x = make_pixels(model, 2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        loaded = kcnn.load_model(path)
    if loaded.metadata != model.metadata:
        fail(f"{name}: the loaded model has other metadata")
    _compare_outputs(name, "the loaded model", compute_logits(loaded, x), compute_logits(model, x), 0.0)


def check_mixed_precision(name: str) -> None:
    """Check that layers compute in bfloat16 under mixed_bfloat16, with float32 weights, rescaled pixels and logits."""
    with apply_policy("mixed_bfloat16"):
        model = build_small(name)
    ends = {operation(tensor) for tensor in model.outputs}
    for layer in model.layers:
        is_float32 = getattr(layer, "compute_dtype", "bfloat16") == "float32" or _returns_float32(layer)
        if is_float32 and layer not in ends and not isinstance(layer, keras.layers.InputLayer | keras.layers.Rescaling):
            fail(f"{name}: {layer.name} ({type(layer).__name__}) computes in float32 under mixed_bfloat16")
    others = [variable for variable in model.trainable_weights if variable.dtype != "float32"]
    if others:
        fail(f"{name}: {others[0].path} is {others[0].dtype} under mixed_bfloat16; weights must be float32")
    if model.output.dtype != "float32":
        fail(f"{name}: logits are {model.output.dtype} under mixed_bfloat16; they must be float32")
    if not np.isfinite(compute_logits(model, make_pixels(model, 2))).all():
        fail(f"{name} gives logits that are not finite under mixed_bfloat16")


def _returns_float32(layer: Any) -> bool:
    """Whether a layer returns float32 whatever its policy."""
    outputs = keras.tree.flatten(layer.output)
    return any(tensor.dtype == "float32" for tensor in outputs) and layer.compute_dtype != "float32"


def check_inference_model(name: str) -> None:
    """Check that the model optimized for inference has only Keras' own layers and gives the same logits."""
    model = build_small(name)
    _randomize_norms(model)
    optimized = kcnn.optimize_for_inference(model)
    x = make_pixels(model, IMAGES)
    _compare_outputs(name, "the inference model", compute_logits(optimized, x), compute_logits(model, x), 1e-4)


def check_two_copies(name: str) -> None:
    """Check that two copies with prefixes can be part of one model."""
    if kcnn.get_architecture(name).keras is not None:
        raise CheckSkippedError(f"{name} exists only as Keras code, which takes no prefix")
    shape = build_cached(name).input_shape[1:]
    image = keras.Input(shape)
    copies = [kcnn.build(name, prefix=prefix, classes=CLASSES, input_shape=shape) for prefix in ("left_", "right_")]
    both = keras.Model(image, [copy(image) for copy in copies])
    flat = [layer.name for copy in copies for layer in copy.layers]
    if len(set(flat)) < len(flat):
        fail(f"{name}: two copies share the layer name {next(layer for layer in flat if flat.count(layer) > 1)!r}")
    if both.count_params() != 2 * build_cached(name).count_params():
        single = build_cached(name).count_params()
        fail(f"{name}: two copies have {both.count_params():,} parameters, one has {single:,}")


def check_mirrored(name: str) -> None:
    """Check that it is built, and takes a training step, in the scope of a tf.distribute.MirroredStrategy."""
    if keras.backend.backend() != "tensorflow":
        raise CheckSkippedError("MirroredStrategy needs the TensorFlow backend")
    strategy = _mirrored_strategy()
    with strategy.scope():
        model = build_small(name)
        model.compile(keras.optimizers.SGD(1e-4), LOSS, run_eagerly=True)
    labels = np.arange(IMAGES) % CLASSES
    (loss,) = model.fit(make_pixels(model, IMAGES), labels, batch_size=IMAGES, verbose=0).history["loss"]
    if not np.isfinite(loss):
        fail(f"{name} has a loss of {loss} under {type(strategy).__name__}")


@lru_cache(maxsize=1)
def _mirrored_strategy() -> Any:
    """A strategy of two CPU devices where a conftest configures them, otherwise of one."""
    import tensorflow as tf

    devices = [device.name.partition("device:")[2] for device in tf.config.list_logical_devices("CPU")][:2]
    return (
        kcnn.distribute.make_strategy("mirrored", devices) if devices[1:] else tf.distribute.MirroredStrategy(devices)
    )


def check_freezing(name: str) -> None:
    """Check that freezing leaves the head trainable, then also the last stage, then everything."""
    model = build_small(name)
    stages = group_by_stage(model)
    head = {layer for layer, stage in stages.items() if stage is None}
    if not head:
        fail(f"{name} has no head, that is no layer with weights after the features")
    _check_trainable(name, freeze(model), head, "with a frozen backbone")
    last = max((stage for stage in stages.values() if stage is not None), default=None)
    if last is not None:
        thawed = {layer for layer, stage in stages.items() if stage == last}
        norms = {layer for layer in thawed if isinstance(model.get_layer(layer), keras.layers.BatchNormalization)}
        _check_trainable(name, unfreeze(model, 1), head | (thawed - norms), "with the last stage thawed")
    _check_trainable(name, freeze(model, "all", batch_norm="adapt"), set(stages), "with everything thawed")


def _check_trainable(name: str, model: Any, expected: set[str], when: str) -> None:
    actual = {layer.name for layer in model.layers if layer.trainable_weights}
    if actual != expected:
        fail(f"{name} {when}: {min(actual ^ expected)} is {'' if actual - expected else 'not '}trainable")


def check_from_keras(name: str) -> None:
    """Check that the graph read from the Keras model is the traced one."""
    if kcnn.get_architecture(name).keras is not None:
        raise CheckSkippedError(f"the graph of {name} is read from its Keras code")
    compare_graphs(name, build_cached(name))


def build_small(name: str) -> Any:
    """Build a model of three classes at a small size."""
    size = max(kcnn.min_input_size(name), SIZE)
    shape = (size, size, kcnn.get_architecture(name).input_shape[2])
    return kcnn.build(name, classes=CLASSES, input_shape=shape, seed=0)


@lru_cache(maxsize=1)
def build_cached(name: str) -> Any:
    """Return a model from `build_small` for checks that leave it unchanged."""
    return build_small(name)


def clear_cache() -> None:
    """Free the cached model, and what Keras keeps of all models."""
    build_cached.cache_clear()
    keras.utils.clear_session()
    gc.collect()


def compute_logits(model: Any, x: np.ndarray) -> np.ndarray:
    """Compute logits in inference mode, eagerly: tracing a large graph takes longer than running it."""
    return keras.ops.convert_to_numpy(model(x, training=False))


def make_pixels(model: Any, count: int) -> np.ndarray:
    """Return random images 0..255 (count, rows, columns, channels) for a model."""
    return np.random.default_rng(0).uniform(0, 255, (count, *model.input_shape[1:])).astype("float32")


def _randomize_norms(model: Any) -> None:
    """Set the weights of norms and layer scales to values other than the initial ones."""
    rng = np.random.default_rng(0)
    ranges = {"gamma": (0.3, 1.0), "moving_variance": (0.5, 1.5)}  # above 1, linear layers in a row amplify rounding
    for layer in flatten_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization) or hasattr(layer, "gamma"):
            layer.set_weights([rng.uniform(*ranges.get(w.name, (-0.2, 0.2)), w.shape) for w in layer.weights])


def _compare_outputs(name: str, what: str, actual: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    difference = np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-12)
    if not difference <= tolerance:
        fail(f"{name}: {what} gives other logits, which differ by {difference:.2g} of the largest")


def compare_graphs(name: str, model: Any) -> None:
    """Compare the graph that is read from a model with the traced one."""
    difference = kcnn.diff(model.spec, kcnn.from_keras(model))
    if difference:
        fail(f"the graph of {name} that is read from Keras differs from the traced one: {difference}")


def compare_layers(name: str, model: Any, graph: Graph | None = None) -> None:
    """Compare shapes and parameters of a model's layers with those of a graph, by default the network's own."""
    layers = {layer.name: layer for layer in model.layers}
    summary = kcnn.summary(graph or name)
    for row in summary:
        if row.name not in layers and kcnn.get_architecture(name).keras and not row.params:
            continue  # an activation inside a layer, or an operator without a layer
        if row.name not in layers:
            fail(f"{name}: the graph has a layer {row.name!r}, which the Keras model lacks")
        layer = layers[row.name]
        params, other = (
            sum(prod(w.shape) for w in weights) for weights in (layer.trainable_weights, layer.non_trainable_weights)
        )
        shape = tuple(layer.output.shape[1:])
        if shape != row.shape or (params, other) != (row.params, row.non_trainable_params):
            fail(
                f"{name}: {row.name} is {row.shape} with {row.params} and {row.non_trainable_params} parameters in the "
                f"graph, {shape} with {params} and {other} in Keras"
            )
    total = summary.params + summary.non_trainable_params
    if model.count_params() != total:
        fail(f"{name}: the Keras model has {model.count_params():,} parameters, the graph {total:,}")
