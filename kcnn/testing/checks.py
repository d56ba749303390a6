"""What must hold of any published architecture: each check a function of its name, failing in a sentence.

Networks are built no larger than they must be: at the standard size once, else at the smallest input or 32 pixels.
"""

import gc
import re
import tempfile
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import keras
import numpy as np

import kcnn
from kcnn.architectures import catalogue
from kcnn.keras_bridge.layers import BatchNormalization
from kcnn.training import freeze, group_by_stage, unfreeze
from kcnn.training.precision import apply_policy

ADDRESS = re.compile(r"[a-z][a-z0-9_]*")
CLASSES, SIDE, IMAGES = 3, 32, 8  # images: norms over a few single pixels have gradients that overflow
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
PATCHED = 3  # layers whose change is built and looked at


class Skip(Exception):
    """A check for what an architecture does not claim, and why it does not."""


def fail(text: str) -> None:
    raise AssertionError(text)


def check_declared(name: str) -> None:
    """Parameters, MACs, receptive field, smallest input, weights and layouts are what the architecture says."""
    wrong = list(catalogue.find_discrepancies(catalogue.make_entry(name)))
    if wrong:
        fail(f"{name}: {'; '.join(wrong)}")
    plan = kcnn.get_architecture(name)
    if plan.params is None:
        fail(
            f"{name} declares no params, so nobody can see that it is the paper's network; it has "
            f"{kcnn.summary(name).params:,}"
        )


def check_names(name: str) -> None:
    """Layers have names of their own, in small letters, digits and _, so that an address reaches each."""
    names = [row.name for row in kcnn.summary(name)]
    twice = {one for one in names if names.count(one) > 1}
    if twice:
        fail(f"{name} has two layers {min(twice)!r}")
    odd = [one for one in names if not ADDRESS.fullmatch(one)]
    if odd:
        fail(f"{name} has a layer {odd[0]!r}: a name is small letters, digits and _, so that an address can reach it")


def check_matches_keras(name: str) -> None:
    """At the standard size, every Keras layer has the shape, parameters and state that the sketch says."""
    _equal(name, kcnn.build(name))


def check_small_input(name: str, channels: int) -> None:
    """At its smallest input, with other channels and classes, it is as drawn and predicts finite numbers."""
    side = smallest(name)
    asked: dict[str, Any] = {"classes": CLASSES, "input_shape": (side, side, channels)}
    model = kcnn.build(name, seed=0, **asked)
    _equal(name, model, **asked)
    found = logits(model, pixels(model, 2))
    if found.shape != (2, CLASSES) or not np.isfinite(found).all():
        fail(f"{name} at {side}x{side}x{channels} gives {found.shape} for 2 images and {CLASSES} classes: {found}")


def check_overrides(name: str) -> None:
    """A convolution's kernel, and any window's, is changed by address, on paper and in Keras, and nothing else is."""
    if kcnn.get_architecture(name).keras is not None:
        raise Skip(f"{name} exists only as Keras code, which no address reaches")
    model = small(name)
    shape = model.input_shape[1:]
    before = {row.name: row for row in kcnn.summary(kcnn.trace(name, input_shape=shape, classes=CLASSES))}
    windows = [one for one, row in before.items() if hasattr(row.op, "kernel") and hasattr(row.op, "padding")]
    tried = 0
    for layer in windows:
        op = before[layer].op
        kernel = 3 if op.kernel in (1, (1, 1)) else 1
        changes = {f"{layer}.kernel": kernel, **({} if op.padding == "same" else {f"{layer}.padding": "same"})}
        if getattr(op, "stride", 1) not in (1, (1, 1)) and kernel == 1 and not hasattr(op, "filters"):
            continue
        try:
            drawing = kcnn.trace(name, input_shape=shape, classes=CLASSES, overrides=changes)
        except ValueError:
            continue  # another branch would no longer fit: arithmetic refuses that change, rightly
        after = {row.name: row for row in kcnn.summary(drawing)}
        if after[layer].op.kernel != kernel:
            fail(f"{name}: {layer}.kernel={kernel} leaves it {after[layer].op.kernel}")
        other = [one for one in before if one != layer and after[one].op != before[one].op]
        if other:
            fail(f"{name}: {layer}.kernel={kernel} changes {other[0]} too")
        _equal(name, kcnn.build(drawing), drawing=drawing)
        tried += 1
        if tried == PATCHED:
            break
    if windows and not tried:
        fail(f"{name}: no window takes another kernel by its address")


def check_gradients(name: str) -> None:
    """One step of SGD gives finite numbers and reaches every trainable weight."""
    model = fresh(name)
    x = pixels(model, IMAGES)
    y = np.arange(IMAGES) % CLASSES
    before = logits(model, x)
    if not np.isfinite(before).all():
        fail(f"{name} gives logits that are no numbers before any training")
    weights = [keras.ops.convert_to_numpy(w) for w in model.trainable_weights]
    # A rate so high that a gradient of 1e-9 moves a weight of 1.
    model.compile(keras.optimizers.SGD(1e3), LOSS, run_eagerly=True)
    loss = model.train_on_batch(x, y)
    if not np.isfinite(loss):
        fail(f"{name} has a loss of {loss} in its first step")
    for variable, was in zip(model.trainable_weights, weights, strict=True):
        now = keras.ops.convert_to_numpy(variable)
        if not np.isfinite(now).all():
            fail(f"{name}: the gradient of {variable.path} is not finite")
        if (now == was).all():
            fail(f"{name}: no gradient reaches {variable.path}: that branch learns nothing")


def check_saved(name: str) -> None:
    """A saved model is loaded by kcnn.load, without running code from the file, and gives the same numbers."""
    model = small(name)
    x = pixels(model, 2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        again = kcnn.load_model(path)
    if again.metadata != model.metadata:
        fail(f"{name}: the card of the loaded model is another")
    _same(name, "the loaded model", logits(again, x), logits(model, x), 0.0)


def check_mixed_precision(name: str) -> None:
    """Under mixed_bfloat16 every layer computes in bfloat16, weights are float32, and logits are float32."""
    with apply_policy("mixed_bfloat16"):
        model = fresh(name)
    ends = {tensor._keras_history.operation for tensor in model.outputs}
    for layer in model.layers:
        leaks = getattr(layer, "compute_dtype", "bfloat16") == "float32" or _float32(layer)
        if leaks and layer not in ends and not isinstance(layer, keras.layers.InputLayer):
            fail(f"{name}: {layer.name} ({type(layer).__name__}) computes in float32 under mixed_bfloat16")
    wide = [variable.path for variable in model.trainable_weights if variable.dtype != "float32"]
    if wide:
        fail(f"{name}: {wide[0]} is {model.trainable_weights[0].dtype}; weights are float32 under a mixed policy")
    if model.output.dtype != "float32":
        fail(f"{name}: logits are {model.output.dtype} under mixed_bfloat16, float32 is wanted")
    if not np.isfinite(logits(model, pixels(model, 2))).all():
        fail(f"{name} gives logits that are no numbers under mixed_bfloat16")


def _float32(layer: Any) -> bool:
    """Whether a layer gives float32 whatever its policy says."""
    found = keras.tree.flatten(layer.output)
    return any(tensor.dtype == "float32" for tensor in found) and layer.compute_dtype != "float32"


def check_inference_model(name: str) -> None:
    """The deployed model is of Keras' own layers alone, and gives the same logits."""
    model = fresh(name)
    _learned(model)
    plain = kcnn.optimize_for_inference(model)
    x = pixels(model, IMAGES)
    _same(name, "the deployed model", logits(plain, x), logits(model, x), 1e-4)


def check_two_copies(name: str) -> None:
    """Two copies with prefixes stand in one graph."""
    if kcnn.get_architecture(name).keras is not None:
        raise Skip(f"{name} exists only as Keras code, whose layers have the names that it gives them")
    shape = small(name).input_shape[1:]
    image = keras.Input(shape)
    copies = [kcnn.build(name, prefix=prefix, classes=CLASSES, input_shape=shape) for prefix in ("left_", "right_")]
    both = keras.Model(image, [copy(image) for copy in copies])
    flat = [layer.name for copy in copies for layer in copy.layers]
    if len(set(flat)) < len(flat):
        fail(f"{name}: two copies share the layer name {next(one for one in flat if flat.count(one) > 1)!r}")
    if both.count_params() != 2 * small(name).count_params():
        fail(f"{name}: two copies have {both.count_params():,} parameters, not twice {small(name).count_params():,}")


def check_mirrored(name: str) -> None:
    """It is built and takes a step inside the scope of tf.distribute.MirroredStrategy."""
    if keras.backend.backend() != "tensorflow":
        raise Skip("MirroredStrategy is TensorFlow's alone")
    strategy = _mirrored()
    with strategy.scope():
        model = fresh(name)
        model.compile(keras.optimizers.SGD(1e-4), LOSS, run_eagerly=True)
    loss = model.fit(pixels(model, IMAGES), np.arange(IMAGES) % CLASSES, batch_size=IMAGES, verbose=0).history["loss"]
    if not np.isfinite(loss[0]):
        fail(f"{name} has a loss of {loss[0]} under {type(strategy).__name__}")


@lru_cache(maxsize=1)
def _mirrored() -> Any:
    """Over two CPU devices where a conftest has made them, else over one."""
    import tensorflow as tf

    devices = [device.name.partition("device:")[2] for device in tf.config.list_logical_devices("CPU")][:2]
    return (
        kcnn.distribute.make_strategy("mirrored", devices) if devices[1:] else tf.distribute.MirroredStrategy(devices)
    )


def check_freezing(name: str) -> None:
    """The head alone trains, then the last stage with it, then everything; what is frozen is out of reach."""
    model = fresh(name)
    stages = group_by_stage(model)
    head = {layer for layer, stage in stages.items() if stage is None}
    if not head:
        fail(f"{name} has no head: a layer with weights behind the last features")
    _moves(name, freeze(model), head, "with the body frozen")
    last = max((stage for stage in stages.values() if stage is not None), default=None)
    if last is not None:
        body = {layer for layer, stage in stages.items() if stage == last}
        still = {one for one in body if isinstance(model.get_layer(one), keras.layers.BatchNormalization)}
        _moves(name, unfreeze(model, 1), head | (body - still), "with the last stage thawed")
    _moves(name, freeze(model, "all", batch_norm="adapt"), set(stages), "with everything thawed")


def _moves(name: str, model: Any, wanted: set[str], when: str) -> None:
    there = {layer.name for layer in model.layers if layer.trainable_weights}
    if there != wanted:
        fail(f"{name} {when}: {min(there ^ wanted)} {'trains' if there - wanted else 'does not train'}")


def check_from_keras(name: str) -> None:
    """The sketch read back from the Keras graph is the one that was drawn."""
    if kcnn.get_architecture(name).keras is not None:
        raise Skip(f"the sketch of {name} is read from its Keras graph")
    model = small(name)
    drawing = kcnn.trace(name, classes=CLASSES, input_shape=model.input_shape[1:])
    difference = str(kcnn.diff(drawing, kcnn.from_keras(model)))
    if difference != "the same, layer by layer":
        fail(f"{name}, read back from Keras, differs from its sketch: {difference}")


def smallest(name: str) -> int:
    return kcnn.min_input_size(name)


def fresh(name: str, **asked: Any) -> Any:
    side = max(smallest(name), SIDE)
    shape = (side, side, kcnn.get_architecture(name).input_shape[2])
    return kcnn.build(name, classes=CLASSES, input_shape=shape, seed=0, **asked)


@lru_cache(maxsize=1)
def small(name: str) -> Any:
    """A model of three classes at a small size, for checks that leave it as it is."""
    return fresh(name)


def clear_cache() -> None:
    """Let go of the model that is kept, and of what Keras keeps of all."""
    small.cache_clear()
    keras.utils.clear_session()
    gc.collect()


def logits(model: Any, x: np.ndarray) -> np.ndarray:
    """In inference, op by op: tracing a large graph would take longer than all that it computes."""
    return keras.ops.convert_to_numpy(model(x, training=False))


def pixels(model: Any, count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (count, *model.input_shape[1:])).astype("float32")


def _learned(model: Any) -> None:
    """Give norms numbers that are not what they begin as."""
    rng = np.random.default_rng(0)
    spread = {"gamma": (0.5, 1.5), "moving_variance": (0.5, 1.5)}
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization | BatchNormalization):
            layer.set_weights([rng.uniform(*spread.get(w.name, (-0.2, 0.2)), w.shape) for w in layer.weights])


def _same(name: str, what: str, found: np.ndarray, wanted: np.ndarray, most: float) -> None:
    away = np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-12)
    if not away <= most:
        fail(f"{name}: {what} gives other numbers, off by {away:.2g} of the largest")


def _equal(name: str, model: Any, drawing: Any = None, **asked: Any) -> None:
    layers = {layer.name: layer for layer in model.layers}
    measured = kcnn.summary(drawing or kcnn.trace(name, **asked))
    for row in measured:
        if row.name not in layers and kcnn.get_architecture(name).keras and not row.params:
            continue  # an activation inside a layer, or an operator, which is none
        if row.name not in layers:
            fail(f"{name}: the sketch has a layer {row.name!r}, and the Keras model none of that name")
        layer = layers[row.name]
        have = (*(sum(prod(w.shape) for w in ws) for ws in (layer.trainable_weights, layer.non_trainable_weights)),)
        if tuple(layer.output.shape[1:]) != row.shape or have != (row.params, row.non_trainable_params):
            fail(
                f"{name}: {row.name} is {row.shape} with {row.params} parameters and {row.non_trainable_params} others on paper, "
                f"in Keras {tuple(layer.output.shape[1:])} with {have[0]} and {have[1]}"
            )
    if model.count_params() != measured.params + measured.non_trainable_params:
        fail(
            f"{name}: Keras counts {model.count_params():,} numbers, the sketch {measured.params + measured.non_trainable_params:,}"
        )
