"""Compute the outputs of frozen layers for each image once, and train the rest of the network on them."""

import inspect
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import psutil

from kcnn.data import ImageDataset
from kcnn.data.dataset import fit_images
from kcnn.data.source_splits import TRAIN, VALIDATION
from kcnn.data.splits import Split
from kcnn.graph.tracing import topological_order
from kcnn.keras_bridge.keras_graph import count_calls, operation, producers
from kcnn.parallel import split_into_runs

MEMORY_FRACTION = 0.25  # of the free memory, at most, for features
ROWS = 32  # images per batch


def find_frozen_output(model: Any) -> str | None:
    """Return the last layer whose output for an image is the same in every step.

    So is the output of a layer that has nothing to train and draws no random numbers, behind only such layers.

    Args:
        model: A flat Keras model.

    Returns:
        The name of the layer; None if no layer up to it has weights.
    """
    order = list(topological_order(*model.outputs, sources=producers))
    fixed: set[int] = set()
    for tensor in order:
        before = producers(tensor)
        if not before or (all(id(one) in fixed for one in before) and _is_constant(operation(tensor))):
            fixed.add(id(tensor))
    while True:
        needed = {id(one): one for tensor in order if id(tensor) not in fixed for one in producers(tensor)}
        ends = [tensor for tensor in order if id(tensor) in fixed and id(tensor) in needed]
        if not any(_has_weights(tensor) for tensor in topological_order(*ends, sources=producers)):
            return None
        if len(ends) == 1 and count_calls(operation(ends[0])) == 1:
            return operation(ends[0]).name
        fixed.discard(id([one for one in ends if producers(one)][-1]))


def build_head(model: Any, layer: str) -> Any:
    """Return the part of a model behind a layer: it shares layers and weights, and takes the layer's output."""
    return keras.Model(_output(model, layer), model.outputs[0], name=f"{model.name}_behind_{layer}")


@dataclass(frozen=True, eq=False)
class FeatureImages:
    """Hold features of images, with the interface of kcnn.data.image_cache.

    Attributes:
        values: Features (images, ...).
        good: Whether each image could be decoded.
        names: Names of the images.
        checked: Whether all images were decoded.
    """

    values: np.ndarray
    good: np.ndarray
    names: Sequence[str]
    checked: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the features of an image."""
        return self.values.shape[1:]

    @property
    def broken(self) -> set[int]:
        """Indices of images that could not be decoded."""
        return set(np.flatnonzero(~self.good).tolist())

    def read(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the features of images, and whether each could be decoded."""
        return self.values[numbers], self.good[numbers]


@dataclass(frozen=True)
class CachedFeatures:
    """Hold data with features in place of images, and the time to compute them.

    Attributes:
        data: The data; its train and validation splits hold features.
        images: Number of images.
        seconds: Time to compute their features.
        startup_seconds: Time before the first of them.
    """

    data: ImageDataset
    images: int
    seconds: float
    startup_seconds: float


def fits_in_memory(model: Any, layer: str, data: ImageDataset) -> bool:
    """Return whether the features of all images take at most a quarter of the free memory."""
    size = int(np.prod(_output(model, layer).shape[1:])) * 4
    images = sum(len(data.splits[name]) for name in (TRAIN, VALIDATION))
    return images * size <= psutil.virtual_memory().available * MEMORY_FRACTION


def cache_features(model: Any, layer: str, data: ImageDataset) -> CachedFeatures:
    """Return data with the output of a layer in place of each image, in the same order and batches.

    Args:
        model: A flat Keras model.
        layer: From find_frozen_output.
        data: The data.

    Returns:
        The data, and the time it took.
    """
    output = _output(model, layer)
    extractor = keras.Model(model.inputs[0], output)
    extractor.jit_compile = False
    shape: Any = tuple(output.shape[1:])
    splits, start = dict(data.splits), time.perf_counter()
    extractor.predict_on_batch(np.zeros((ROWS, *model.input_shape[1:]), "float32"))
    ready = time.perf_counter()
    for name in (TRAIN, VALIDATION):
        split = data.splits[name]
        values, good = compute_features(extractor, split)
        indices = np.arange(len(split)) if name == TRAIN else np.flatnonzero(good)  # as the split serves images
        store: Any = FeatureImages(values, good, split.names)
        splits[name] = Split(store, indices, split.labels[indices])
    images = sum(len(data.splits[name]) for name in (TRAIN, VALIDATION))
    on_features = replace(data, input_shape=shape, splits=splits)
    return CachedFeatures(on_features, images, time.perf_counter() - ready, ready - start)


def compute_features(extractor: Any, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Return the outputs of a model for the images of a split, in batches of one size.

    Args:
        extractor: A Keras model of one input size.
        split: The images, cropped and resized where they have another size.

    Returns:
        Features float32 (images, ...), and whether each image could be decoded, bool (images,).
    """
    values = np.zeros((len(split), *extractor.output_shape[1:]), "float32")
    good = np.zeros(len(split), "bool")
    for run in split_into_runs(len(split), ROWS):
        pixels, is_good = split.cache.read(split.indices[list(run)])
        rows = np.zeros((ROWS, *extractor.input_shape[1:]), "float32")  # or TensorFlow traces the last batch again
        rows[: len(run)] = fit_images(pixels, extractor.input_shape[1:])
        features = keras.ops.convert_to_numpy(extractor.predict_on_batch(rows))
        values[run.start : run.stop], good[run.start : run.stop] = features[: len(run)], is_good
    return values, good


def _has_weights(tensor: Any) -> bool:
    return bool(getattr(operation(tensor), "weights", ()))


def _is_constant(layer: Any) -> bool:
    """Whether a layer computes the same for the same input in every step."""
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
