"""What distinguishes one training from another, as JSON values, and requests that no training can meet."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.architectures.spec import ModelSpec
from kcnn.data import ImageDataset
from kcnn.training.config import TrainConfig
from kcnn.training.recipes import Recipe

SAMPLED_IMAGES = 8  # of the train split, for a fingerprint


def check_request(data: ImageDataset, multi_label: bool, aux: bool, recipe: Recipe) -> None:
    """Refuse a request that the data does not allow.

    Args:
        data: The data.
        multi_label: Whether multi-label data was requested.
        aux: Whether auxiliary classifiers were requested.
        recipe: The recipe.

    Raises:
        ValueError: Early stopping without a validation split, or single-label options with multi-label data.
    """
    if recipe.patience and "validation" not in data.splits:
        raise ValueError("patience (early stopping) needs a validation split, which the data lacks; set patience to 0")
    if multi_label and not data.multi_label:
        raise ValueError("multi_label=True, but the data was loaded without it; load it with multi_label=True")
    single_label = "auxiliary classifiers" if aux else "class_weights" if recipe.class_weights else ""
    if data.multi_label and single_label:
        raise ValueError(f"{single_label} need images with one label each, and the data is multi-label; remove them")


def make_request(spec: ModelSpec, config: TrainConfig, data: ImageDataset) -> dict[str, Any]:
    """Return all that distinguishes a run from others, as JSON values: spec, config, and facts of the data.

    Args:
        spec: The network; classes and input shape are the data's.
        config: The training.
        data: The data.

    Returns:
        The request; config.json and metrics.json hold it, and its hash names the run.
    """
    weights = {"weights": identify_weights(spec.weights)} if spec.weights is not None else {}
    request = {
        "spec": {**replace(spec, input_shape=None, classes=None, weights=None).to_json(), **weights},
        "config": replace(config, multi_label=data.multi_label).describe(),
        "data": data.name,
        "images": {name: len(split) for name, split in data.splits.items()},
        "fingerprint": fingerprint_data(data),
        "input_shape": data.input_shape,
        **({"data_seed": data.seed} if data.seed != config.seed else {}),
        "multi_label": data.multi_label,
    }
    return json.loads(json.dumps(request))


def identify_weights(weights: str | Path) -> str:
    """Return what distinguishes weights: the checksum of a file, or the name of published ones."""
    path = Path(weights)
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest() if path.is_file() else str(weights)


def fingerprint_data(data: ImageDataset) -> str:
    """Return a hash of all labels and some images of the train split; it distinguishes data of the same name."""
    digest = hashlib.blake2b(digest_size=8)
    for name in sorted(data.splits):
        digest.update(data.splits[name].labels.tobytes())
    train = data.splits["train"]
    sample = np.linspace(0, len(train) - 1, min(len(train), SAMPLED_IMAGES)).astype("int64")
    digest.update(train.read_batch(sample)[0].tobytes())
    return digest.hexdigest()
