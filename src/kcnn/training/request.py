"""What distinguishes one training from another, as JSON values, its claim on a folder, and impossible requests."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from kcnn.architectures.determinism import hash_unpublished
from kcnn.architectures.spec import ModelSpec
from kcnn.data import ImageDataset
from kcnn.data.sources import find_location
from kcnn.run_folders import HUB_WEIGHTS, PRESET_WEIGHTS, is_run_folder, resolve_model
from kcnn.training import run_directory, split_record
from kcnn.training.checkpoints import compute_checksum
from kcnn.training.config import TrainConfig
from kcnn.training.recipes import Recipe
from kcnn.training.split_record import SplitRecord
from kcnn.weights.formats import read_weights
from kcnn.weights.hub_files import LOCAL


def check_request(data: ImageDataset, multi_label: bool, aux: bool, recipe: Recipe) -> None:
    """Refuse a request that the data does not allow.

    Args:
        data: The data.
        multi_label: Whether multi-label data was requested.
        aux: Whether auxiliary classifiers were requested.
        recipe: The recipe.

    Raises:
        ValueError: Early stopping without a validation split, single-label options with multi-label data, or crops
            of images that are no larger than their padding.
    """
    recipe.augmentation.check_size(data.input_shape[:2])
    if recipe.patience and "validation" not in data.splits:
        raise ValueError("patience (early stopping) needs a validation split, which the data lacks; set patience to 0")
    if multi_label and not data.multi_label:
        raise ValueError("multi_label=True, but the data was loaded without it; load it with multi_label=True")
    single_label = "auxiliary classifiers" if aux else "class_weights" if recipe.class_weights else ""
    if data.multi_label and single_label:
        raise ValueError(f"{single_label} need images with one label each, and the data is multi-label; remove them")


def make_request(spec: ModelSpec, config: TrainConfig, data: ImageDataset, fingerprint: str) -> dict[str, Any]:
    """Return all that distinguishes a run from others, as JSON values: spec, config, and facts of the data.

    Args:
        spec: The network; classes and input shape are the data's.
        config: The training.
        data: The data.
        fingerprint: Of the data's record (see kcnn.training.split_record): the content and label of every image.

    Returns:
        The request; config.json and metrics.json hold it, and its hash names the run.
    """
    weights = {"weights": identify_weights(spec.weights)} if spec.weights is not None else {}
    request = {
        **hash_unpublished(spec),
        "spec": {**replace(spec, input_shape=None, classes=None, weights=None).to_json(), **weights},
        "config": replace(config, multi_label=data.multi_label).describe(),
        "data": data.name,
        "images": {name: len(split) for name, split in data.splits.items()},
        "fingerprint": fingerprint,
        "input_shape": data.input_shape,
        **({"data_seed": data.seed} if data.seed != config.seed else {}),
        "multi_label": data.multi_label,
    }
    return json.loads(json.dumps(request))


def identify_weights(weights: str | Path) -> str:
    """Return what distinguishes weights: a hash of a file's tensors, or the name of published ones.

    The hash covers names, types, shapes and values of the tensors, and not the bytes of the file, which has dates.

    Args:
        weights: A file, the folder of a run, a name, or the address of a checkpoint: "hf://USER/NAME@COMMIT" names what
            never differs, and of "local-dir:FOLDER" the file counts.

    Raises:
        ValueError: The file is damaged, or no weights file.
    """
    path = resolve_model(weights)[0] if is_run_folder(weights) else Path(weights)
    if str(weights).startswith(LOCAL):
        folder = Path(str(weights).removeprefix(LOCAL))
        path = next((folder / name for name in (*HUB_WEIGHTS, *PRESET_WEIGHTS) if (folder / name).is_file()), folder)
    if not path.is_file():
        return str(weights)
    layers = read_weights(path).count_from_zero()
    tensors = {f"{layer}/{name}": array for layer, arrays in layers.items() for name, array in arrays.items()}
    return compute_checksum(tensors, {})


def keep_choices(
    request: dict[str, Any], held: Mapping[str, Any] | None, *, any_precision: bool = False
) -> dict[str, Any]:
    """Return a request with the data name and the precision of another, if nothing else distinguishes them.

    A run is resumed from another working directory, after its data was moved, and on another device.

    Args:
        request: A request of today.
        held: The request of a folder; None for a folder without one.
        any_precision: Whether "auto" chose the precision, so that it may be another.
    """
    if not held:
        return request
    kept = {**request, "data": held["data"]}
    if any_precision and "precision" in held.get("config", {}):
        kept["config"] = {**request["config"], "precision": held["config"]["precision"]}
    return kept if kept == held else request


def choose_folder(spec: ModelSpec, request: Mapping[str, Any], *, any_precision: bool = False) -> Path:
    """Choose the folder of a run that was given none: the same for the same request.

    Args:
        spec: The network.
        request: From make_request.
        any_precision: As for keep_choices.

    Returns:
        runs/NAME; or the first of runs/NAME-2, runs/NAME-3, ... that holds the same request, or no other run.
    """
    root = Path("runs") / spec.title
    for number in count(1):
        folder = root if number == 1 else root.with_name(f"{root.name}-{number}")
        config = run_directory.read_config(folder)
        is_free = config is None and not is_run_folder(folder) and not (folder / run_directory.CONFIG).exists()
        if is_free or (config and _is_same(config, request, any_precision)):
            return folder
        if config and not holds_another(folder, config, request) and not run_directory.is_locked(folder):
            return folder  # what was asked for before has completed no epoch, and trains no longer
    raise AssertionError("count has no end")


def holds_another(folder: Path, config: Mapping[str, Any], request: Mapping[str, Any]) -> bool:
    """Return whether a folder holds another run than that of a request, which has completed an epoch."""
    if _is_same(config, request):
        return False
    return run_directory.has_begun(folder)


def _is_same(config: Mapping[str, Any], request: Mapping[str, Any], any_precision: bool = False) -> bool:
    """Whether a request is that of a folder."""
    return keep_choices({**request}, config["request"], any_precision=any_precision) == config["request"]


def claim_folder(folder: Path, request: Mapping[str, Any], record: SplitRecord, data: str) -> int:
    """Write the request and the splits into a folder, unless it holds the same request already.

    A request that has not completed an epoch is replaced. Where the data is now is recorded beside it.

    Args:
        folder: Folder of the run.
        request: From make_request.
        record: Which image is in which split.
        data: Name of the data, for this process.

    Returns:
        The batch size to train with: smaller than the recipe's where that did not fit in memory.

    Raises:
        ValueError: The folder holds another run, or a config.json of something else.
    """
    path = folder / run_directory.CONFIG
    config = run_directory.read_config(folder)
    if config is None and path.exists():
        raise ValueError(f"{path} was not written by this version of kcnn; choose another folder, or remove {folder}")
    if config and holds_another(folder, config, request):
        text = run_directory.explain_difference(config["request"], request)
        changes = split_record.describe_changes(folder, config["request"].get("fingerprint", ""), record)
        raise ValueError(f"{folder} holds another run ({text}){changes}; choose another folder, or remove it")
    if config and run_directory.hash_request(config["request"]) != run_directory.hash_request(request):
        config = None  # it has completed no epoch
        shutil.rmtree(folder / run_directory.FOLDS, ignore_errors=True)
    split_record.keep_record(folder, record)
    claimed = config or {
        "request": request,
        "batch_size": request["config"]["recipe"]["batch_size"],
        "command": run_directory.command_line(),
        "versions": run_directory.library_versions(),
    }
    if location := find_location(data):
        claimed = {**claimed, run_directory.DATA_PATH: location}
    if claimed != config:
        run_directory.write_config(folder, claimed)
    return claimed["batch_size"]
