"""The images of a run in the splits that it recorded, and images that a run was not trained on."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.data import ImageDataset
from kcnn.data.arrays import ARRAYS
from kcnn.data.loading import load_as_is
from kcnn.data.source_splits import TEST, TRAIN, VALIDATION, ImageSource
from kcnn.data.sources import is_same_source, locate_source
from kcnn.data.splits import Split, hash_as_arrays
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_keywords
from kcnn.graph.formatting import join_names
from kcnn.graph.names import unknown
from kcnn.keras_bridge.saved_models import read_metadata
from kcnn.run_folders import find_run, resolve_run
from kcnn.training import run_directory, split_record
from kcnn.training.split_record import DataChanges, SplitRecord

log = logging.getLogger("kcnn.training")


@check_keywords
@dataclass(frozen=True)
class RunData:
    """Hold images to evaluate a run on.

    Attributes:
        dataset: The images.
        split: The split to evaluate.
        differences: How the images differ from those of the run.
        left_out: Number of images that were left out because the run was trained on them, by split.
        unmatched: Why some of them cannot be compared with the training images; empty where all can.
    """

    dataset: ImageDataset
    split: str = TEST
    differences: DataChanges = field(default_factory=DataChanges)
    left_out: Mapping[str, int] = field(default_factory=dict)
    unmatched: str = ""

    @property
    def notes(self) -> list[str]:
        """Return what a person should know about the images, a sentence each."""
        notes = (
            [f"{self.dataset.name} differs from the data of the run: {self.differences}"] if self.differences else []
        )
        if self.left_out:
            total = len(self.dataset.splits[self.split]) + sum(self.left_out.values())
            counts = " and ".join(f"{count} in the {name} split" for name, count in self.left_out.items())
            notes.append(f"of {total} images of {self.dataset.name}, the run had {counts}: they are left out")
        if self.unmatched:
            notes.append(f"whether the run was trained on some of {self.dataset.name} is not known: {self.unmatched}")
        return notes


def read_run_record(run: str | Path) -> SplitRecord:
    """Return which image was in which split of a run.

    Args:
        run: Folder of the run, or of a transfer or a search, whose best run is taken.

    Raises:
        FileNotFoundError: It is not the folder of a run, or has no record of its splits.
        ValueError: The record is damaged.
    """
    folder = resolve_run(run).path
    return split_record.read_record(folder, _read_config(folder)["request"]["fingerprint"])


@check_arguments
def load_run_data(run: str | Path, data: Any = None) -> RunData:
    """Load the images of a run, each in the split that the run had it in.

    Images are recognized by their content, wherever they are now. Images that were changed or added since are in no
    split; `differences` names them.

    Args:
        run: Folder of the run, or of a transfer or a search, whose best run is taken.
        data: The data where it has moved, or was passed from Python: as for kcnn.data.load, or an ImageDataset.

    Returns:
        The dataset with the splits of the run, and how it differs from what the run recorded.

    Raises:
        FileNotFoundError: The data or the record is missing.
        ValueError: The data has other classes, or no image of a split of the run.
    """
    folder, record = resolve_run(run).path, read_run_record(run)
    config = _read_config(folder)
    dataset, differences = split_record.restore_splits(record, _load(folder, config, data))
    dataset = replace(dataset, batch_size=config["batch_size"], seed=_data_seed(config["request"]))
    return RunData(dataset, differences=differences)


@check_arguments
def load_evaluation_data(run: str | Path, data: Any = None, split: str = TEST) -> RunData:
    """Load images to evaluate a run on; images that it was trained on are never among test images.

    Without other data these are the images of the split that the run recorded. With other data they are its test
    split, or all of its images if it has no splits, without those that the run, or the run whose weights it started
    from, had in its train or validation split.

    Args:
        run: Folder of the run, or of a transfer or a search, whose best run is taken.
        data: Other data, as for kcnn.data.load, or an ImageDataset; None for that of the run.
        split: "train", "validation" or "test"; of other data only "test" has images that the run did not have.

    Returns:
        The images, and what was left out.

    Raises:
        UnknownNameError: There is no such split.
        FileNotFoundError: The data or the record is missing.
        ValueError: The data has other classes, or no image is left.
    """
    if split not in split_record.SPLITS:
        raise unknown("split", split, split_record.SPLITS)
    folder = resolve_run(run).path
    config = _read_config(folder)
    if data is None or split != TEST or is_same_source(data, _locate(config)):
        restored = load_run_data(run, data)
        if split not in restored.dataset.splits:
            raise unknown("split", split, restored.dataset.splits, f"the run {folder}")
        return replace(restored, split=split)
    dataset = _load(folder, config, data)
    part = next(name for name in (TEST, VALIDATION, TRAIN) if name in dataset.splits)
    images = dataset.splits[part]
    owners, reason = _find_owners(folder, images)
    kept = np.array([i for i, owner in enumerate(owners) if owner not in split_record.TRAINED], "int64")
    left_out = dict(Counter(owner for owner in owners if owner in split_record.TRAINED))
    if not len(kept):
        raise ValueError(f"{folder} was trained on every image of {dataset.name}: none is left to test it on")
    return RunData(
        replace(dataset, splits={**dataset.splits, TEST: images.take(kept)}), left_out=left_out, unmatched=reason
    )


def _find_owners(folder: Path, images: Split) -> tuple[list[str | None], str]:
    """The split in which a run had each image, and why some cannot be compared with its images.

    Files are compared byte for byte, arrays pixel by pixel, and files with arrays by the pixels that they decode to.
    """
    record, contents = read_run_record(folder), images.hashes.tolist()
    splits = record.map_hashes_to_splits()
    owners = [splits.get(content) for content in contents]
    shapes = {content.partition(b":")[0] for content in contents if b":" in content}
    shapes_of_run = {content.partition(b":")[0] for content in splits if b":" in content}
    pairs: list[tuple[Sequence[bytes], Mapping[bytes, str]]] = []
    if not shapes:
        pairs = [(hash_as_arrays(images, _parse_shape(shape)), splits) for shape in sorted(shapes_of_run)]
    elif any(b":" not in content for content in splits):
        try:
            dataset = load_run_data(folder).dataset
        except (FileNotFoundError, ValueError) as error:
            return owners, f"arrays cannot be compared with the files of the run: {error}"
        for name in (name for name in reversed(split_record.SPLITS) if name in dataset.splits):
            for shape in sorted(shapes):
                decoded = hash_as_arrays(dataset.splits[name], _parse_shape(shape))
                pairs.append((contents, dict.fromkeys(filter(None, decoded), name)))
    for candidates, names in pairs:
        others = (names.get(content) for content in candidates)
        owners = [
            other if owner in (None, TEST) and other else owner for owner, other in zip(owners, others, strict=True)
        ]
    return owners, ""


def _parse_shape(text: bytes) -> Any:
    return tuple(int(size) for size in text.split(b"x"))


def _load(folder: Path, config: Mapping[str, Any], data: Any) -> ImageDataset:
    """The images in whatever splits they came, at the input size of the run."""
    request = config["request"]
    shape: Any = tuple(request["input_shape"])
    if isinstance(data, ImageDataset):
        if tuple(data.input_shape) != shape:
            raise ValueError(f"the data was loaded with input_shape {tuple(data.input_shape)}; {folder} has {shape}")
        dataset = data
    else:
        if data is None and request["data"] == ARRAYS:
            raise ValueError(
                f"{folder} was trained on arrays from Python, which are not on disk; pass them: "
                f"kcnn.training.load_run_data({str(folder)!r}, (images, labels))"
            )
        source = _locate(config) if data is None else data
        if data is None and run_directory.DATA_PATH in config and not Path(source).exists():
            raise FileNotFoundError(f"folder not found: {source}, the data of {folder}; pass its new path (--data)")
        dataset = load_as_is(
            source,
            input_shape=shape,
            batch_size=config["batch_size"],
            seed=_data_seed(request),
            multi_label=request["multi_label"],
        )
    if dataset.multi_label != request["multi_label"]:
        raise ValueError(
            f"{dataset.name} has {'several labels' if dataset.multi_label else 'one label'} per image, {folder} was "
            f"trained with {'several' if request['multi_label'] else 'one'}"
        )
    if (folder / "model.keras").exists():
        check_classes(dataset, read_metadata(folder / "model.keras")["classes"])
    return dataset


def check_classes(data: ImageDataset | ImageSource, classes: Sequence[str]) -> None:
    """Refuse data with other classes than a model has.

    Args:
        data: The data, loaded or not.
        classes: Class names of the model.

    Raises:
        ValueError: They differ.
    """
    if list(data.classes) != list(classes):
        raise ValueError(
            f"{data.name} has the classes {join_names(data.classes)}; expected those of the model: "
            f"{join_names(classes)}"
        )


def _locate(config: Mapping[str, Any]) -> str:
    return locate_source(config["request"]["data"], config.get(run_directory.DATA_PATH))


def _data_seed(request: Mapping[str, Any]) -> int:
    return request.get("data_seed", request["config"]["seed"])


def _read_config(folder: Path) -> Mapping[str, Any]:
    config = run_directory.read_config(folder)
    if config is None:
        raise ValueError(f"{folder / run_directory.CONFIG} is damaged; train again")
    return config


def check_unseen(weights: str | Path | None, images: Split) -> None:
    """Refuse folds of images on which the weights that a run starts from were trained.

    Args:
        weights: Its pretrained weights; those in the folder of a run count, others have no record.
        images: The images of the folds.

    Raises:
        ValueError: The weights were trained on some of them.
    """
    if (source := _find_pretraining(weights)) is None:
        return
    owners, _ = _find_owners(source, images)
    if seen := sum(owner in split_record.TRAINED for owner in owners):
        raise ValueError(
            f"{seen} of the {len(images)} images of the folds were in the train or validation split of {source}, whose "
            "weights this run starts from: the scores of the folds would be too high; train without folds, or from "
            "other weights"
        )


def _find_pretraining(weights: str | Path | None) -> Path | None:
    """The run that weights are of; None for weights without a record."""
    source = find_run(weights) if weights is not None and Path(weights).exists() else None
    return source if source is not None and (source / split_record.FILE).exists() else None


def add_pretraining(record: SplitRecord, weights: str | Path | None, test: Split) -> SplitRecord:
    """Return a record with the images on which the weights that a run starts from were trained.

    Args:
        record: The record of the run.
        weights: Its pretrained weights; those in the folder of a run count, others have no record.
        test: The test images of the run.

    Returns:
        The record, with rows of the split "pretraining".

    Raises:
        ValueError: The weights were trained on test images of the run.
    """
    source = _find_pretraining(weights)
    if source is None:
        return record
    trained = {content for content, split in read_run_record(source).map_hashes_to_splits().items() if split != TEST}
    own = record.map_hashes_to_splits()
    owners, reason = _find_owners(source, test)
    if reason:
        log.warning("whether %s was trained on test images is not known: %s", source, reason)
    contents = test.hashes.tolist()  # those in another split too are duplicates here
    pairs = zip(owners, contents, strict=True)
    seen = sum(owner in split_record.TRAINED and own.get(content) == TEST for owner, content in pairs)
    if seen:
        raise ValueError(
            f"{seen} of {len(contents)} test images were in the train or validation split of {source}, whose weights "
            "this run starts from; split the data as that run did (the same seed and shares), or use other data"
        )
    return record.add(split_record.PRETRAINING, sorted(content for content in trained if content not in own))
