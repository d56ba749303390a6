"""Features of images by frozen networks on disk: each image passes through each network once, also across runs."""

import hashlib
import json
import math
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kcnn.architectures.spec import ModelSpec
from kcnn.atomic_io import replace_atomically
from kcnn.building import build
from kcnn.data.splits import Split, resize_split
from kcnn.graph.graph import Graph
from kcnn.graph.ops import Flatten
from kcnn.graph.tracing import topological_order
from kcnn.parallel import split_into_runs
from kcnn.training.feature_cache import compute_features
from kcnn.weights.loading import PartialWeightsWarning, load_weights

CHUNK = 256  # images of a file, and in memory
MOST_FLATTENED = 4096  # values of an image; larger feature maps are averaged


class FeatureStore:
    """The features of one network: those of its backbone, averaged over rows and columns, in a folder of its own.

    Where its own head flattens the maps instead, and they are at most 4,096 values, they are flattened here, too.

    Each file holds those of some images, and its name the hash of these images. It is written when it is complete, so
    that a killed run loses the features of one file at most.

    Args:
        folder: Folder of the stores.
        spec: The network.
        file: The file of its weights, or the folder of a KerasHub preset.
    """

    def __init__(self, folder: Path, spec: ModelSpec, file: Path):
        self.spec = replace(spec, top=True, pooling=None, weights=None, aux=False, outputs=())
        self.file = file
        key = json.dumps([self.spec.to_json(), _hash_weights(file)], sort_keys=True)
        name = f"{spec.title.replace(':', '_')}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        self.folder = folder / name
        self._extractor: Any = None

    def compute(self, split: Split) -> Iterator[tuple[int, bool]]:
        """Compute the features that are not in the store, in files of 256 images.

        Args:
            split: Images of any size.

        Yields:
            After each file the number of its images, and whether they were computed now.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for images, path in self._list_files(split):
            if _read(path) is not None:
                yield len(images), False
                continue
            values, good = compute_features(self._load_extractor(), resize_split(images, self._shape))
            if not np.isfinite(values[good]).all():
                raise ValueError(f"{self.file}: {self.spec.title} gives features that are not finite numbers")
            with replace_atomically(path) as temporary, temporary.open("wb") as file:
                np.savez(file, values=values, good=good)
            yield len(images), True

    def read(self, split: Split) -> tuple[np.ndarray, np.ndarray]:
        """Return the features of images float32 (images, features), and whether each could be decoded."""
        parts = [part for _, path in self._list_files(split) if (part := _read(path)) is not None]
        return np.concatenate([values for values, _ in parts]), np.concatenate([good for _, good in parts])

    @property
    def _shape(self) -> tuple[int, int, int]:
        return self.spec.nominal_shape

    def _list_files(self, split: Split) -> Iterator[tuple[Split, Path]]:
        for run in split_into_runs(len(split), CHUNK):
            images = split.take(np.array(run))
            digest = hashlib.sha256(images.hashes.tobytes()).hexdigest()[:32]
            yield images, self.folder / f"{digest}.npz"

    def _load_extractor(self) -> Any:
        if self._extractor is None:
            model = build(self.spec)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PartialWeightsWarning)  # of a classifier, which is not needed
                load_weights(model, self.file, head=False)
            graph = self.spec.trace()
            x = model.get_layer(graph.features.name).output
            if len(x.shape) == 4:
                x = (keras.layers.Flatten if _is_flattened(graph) else keras.layers.GlobalAveragePooling2D)()(x)
            self._extractor = keras.Model(model.inputs[0], x)
            self._extractor.jit_compile = False
        return self._extractor


def _is_flattened(graph: Graph) -> bool:
    """Whether the head of a network flattens the feature maps, and these are few values."""
    head = topological_order(*graph.outputs.values())
    return math.prod(graph.features.shape) <= MOST_FLATTENED and any(isinstance(x.op, Flatten) for x in head)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """The features of a file; None where there is none, or it is damaged and is to be computed anew."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays["values"], arrays["good"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def _hash_weights(file: Path) -> str:
    """A hash of a file of weights, or of those of a KerasHub preset."""
    hashes = []
    for path in [file] if file.is_file() else sorted(file.glob("*.weights.h5")):
        with path.open("rb") as stream:
            hashes.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return "".join(hashes)
