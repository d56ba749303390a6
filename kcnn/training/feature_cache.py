"""What a frozen part of a network gives for each picture, computed once, and the rest of the network trained on it."""

import inspect
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import psutil

from kcnn.data import ImageDataset
from kcnn.data.readers import split_into_runs
from kcnn.data.source_splits import TRAIN, VALIDATION
from kcnn.data.splits import Split
from kcnn.graph.tracing import topological_order
from kcnn.keras_bridge.keras_graph import count_calls, operation, producers

MEMORY_SHARE = 0.25  # of the memory that is free: more is not kept of features
ROWS = 32  # pictures computed together


def find_frozen_output(model: Any) -> str | None:
    """The last layer up to which a model computes the same for a picture in every step; None where it has no weights.

    So a layer does that has nothing to train, draws nothing at random, and stands only behind such.
    """
    order = list(topological_order(*model.outputs, sources=producers))
    fixed: set[int] = set()
    for tensor in order:
        before = producers(tensor)
        if not before or (all(id(one) in fixed for one in before) and _still(operation(tensor))):
            fixed.add(id(tensor))
    while True:
        needed = {id(one): one for tensor in order if id(tensor) not in fixed for one in producers(tensor)}
        ends = [tensor for tensor in order if id(tensor) in fixed and id(tensor) in needed]
        if not any(_weighty(tensor) for tensor in topological_order(*ends, sources=producers)):
            return None
        if len(ends) == 1 and count_calls(operation(ends[0])) == 1:
            return operation(ends[0]).name
        fixed.discard(id([one for one in ends if producers(one)][-1]))


def build_head(model: Any, layer: str) -> Any:
    """The part of a model behind a layer, of the same layers and weights: that layer's output in, the model's out."""
    return keras.Model(_output(model, layer), model.outputs[0], name=f"{model.name}_behind_{layer}")


@dataclass(frozen=True, eq=False)
class FeatureImages:
    """Features by number, as a kcnn.data.image_cache.Store has pictures."""

    values: np.ndarray
    good: np.ndarray  # whether the picture could be decoded
    names: Sequence[str]
    checked: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape[1:]

    @property
    def broken(self) -> set[int]:
        return set(np.flatnonzero(~self.good).tolist())

    def read(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.values[numbers], self.good[numbers]


@dataclass(frozen=True)
class CachedFeatures:
    """Data whose train and validation pictures are features, and what computing them took."""

    data: ImageDataset
    images: int
    seconds: float
    starting: float  # seconds before the first of them


def fits_in_memory(model: Any, layer: str, data: ImageDataset) -> bool:
    """Whether the features of all pictures take at most a quarter of the memory that is free."""
    size = int(np.prod(_output(model, layer).shape[1:])) * 4
    images = sum(len(data.splits[word]) for word in (TRAIN, VALIDATION))
    return images * size <= psutil.virtual_memory().available * MEMORY_SHARE


def cache_features(model: Any, layer: str, data: ImageDataset) -> CachedFeatures:
    """Data with what `layer` gives for each picture in the picture's place, in the same order and batches."""
    output = _output(model, layer)
    body = keras.Model(model.inputs[0], output)
    body.jit_compile = False
    shape: Any = tuple(output.shape[1:])
    splits, begun = dict(data.splits), time.perf_counter()
    body.predict_on_batch(np.zeros((ROWS, *model.input_shape[1:]), "float32"))
    ready = time.perf_counter()
    for word in (TRAIN, VALIDATION):
        split = data.splits[word]
        values, good = np.zeros((len(split), *shape), "float32"), np.zeros(len(split), "bool")
        for run in split_into_runs(len(split), ROWS):
            pixels, there = split.store.read(split.rows[list(run)])
            rows = np.zeros((ROWS, *pixels.shape[1:]), "float32")  # all alike, or TensorFlow traces the last anew
            rows[: len(run)] = pixels
            found = keras.ops.convert_to_numpy(body.predict_on_batch(rows))
            values[run.start : run.stop], good[run.start : run.stop] = found[: len(run)], there
        places = np.arange(len(split)) if word == TRAIN else np.flatnonzero(good)  # as such a split serves them
        stored: Any = FeatureImages(values, good, split.names)
        splits[word] = Split(stored, places, split.labels[places])
    images = sum(len(data.splits[word]) for word in (TRAIN, VALIDATION))
    served = replace(data, input_shape=shape, splits=splits)
    return CachedFeatures(served, images, time.perf_counter() - ready, ready - begun)


def _weighty(tensor: Any) -> bool:
    return bool(getattr(operation(tensor), "weights", ()))


def _still(layer: Any) -> bool:
    """Whether a layer gives the same for the same input at every step of a training."""
    if not isinstance(layer, keras.layers.Layer):
        return True
    if any(variable.trainable for variable in layer.trainable_variables):
        return False
    if isinstance(layer, keras.layers.BatchNormalization):
        return not layer.trainable
    if isinstance(layer, keras.layers.Dropout):
        return not layer.rate
    return "training" not in inspect.signature(layer.call).parameters


def _output(model: Any, layer: str) -> Any:
    return model.get_layer(layer).output
