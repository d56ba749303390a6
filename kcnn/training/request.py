"""What tells one training from another, and what no training is asked for."""

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


def check_request(data: ImageDataset, multi_label: bool, aux: bool, plan: Recipe) -> None:
    """Refuse what is for pictures of one label each, where they may have several, or takes a validation split."""
    if plan.patience and "validation" not in data.splits:
        raise ValueError("patience goes by a validation split, which the data does not have; set patience to 0")
    if multi_label and not data.multi_label:
        raise ValueError("multi_label is given, and the data was loaded without it; load it with multi_label=True")
    one = "auxiliary classifiers" if aux else "class_weights" if plan.class_weights else ""
    if data.multi_label and one:
        raise ValueError(f"{one} are for pictures of one label each; leave them out")


def make_request(spec: ModelSpec, config: TrainConfig, data: ImageDataset) -> dict[str, Any]:
    """Return what tells a run from others, as JSON values: spec, config, and facts of the data."""
    weights = {"weights": describe_weights(spec.weights)} if spec.weights is not None else {}
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


def describe_weights(weights: str | Path) -> str:
    """What tells weights from others: a hash of what a file holds, or the name of published ones."""
    path = Path(weights)
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest() if path.is_file() else str(weights)


def fingerprint_data(data: ImageDataset) -> str:
    """What tells data from other data of its name and size: all labels, and some pictures of the train split."""
    found = hashlib.blake2b(digest_size=8)
    for word in sorted(data.splits):
        found.update(data.splits[word].labels.tobytes())
    train = data.splits["train"]
    found.update(train.full(np.linspace(0, len(train) - 1, min(len(train), 8)).astype("int64"))[0].tobytes())
    return found.hexdigest()
