"""A search before its first trial: the request, checked against the data, and its claim on a folder."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kcnn.architectures.determinism import hash_unpublished
from kcnn.data import ImageDataset, load
from kcnn.data.folds import join_for_folds, split_folds
from kcnn.data.sources import find_location
from kcnn.graph.graph import Graph
from kcnn.run_folders import SEARCH, check_output_folder
from kcnn.search.config import SearchConfig
from kcnn.search.environment import is_chief, is_worker
from kcnn.search.latency import check_runtime
from kcnn.search.objectives import LATENCY, hash_function, resolve_objectives
from kcnn.search.result import WEIGHTS, read_record, read_request, write_record
from kcnn.search.resumption import describe_other_search
from kcnn.search.space import Space
from kcnn.search.training_choices import check_training, find_resize_factor
from kcnn.search.trial import TrialSettings
from kcnn.training import TrainConfig, devices, request, run_directory, split_record
from kcnn.training.precision import resolve_policy
from kcnn.training.run_data import add_pretraining, check_unseen
from kcnn.training.split_record import SplitRecord, record_splits
from kcnn.weights.versions import read_version
from kcnn.weights.weight_files import resolve_file


@dataclass(frozen=True)
class SearchJob:
    """A search that is ready to start.

    Attributes:
        space: The space, with the classes and the input shape of the data.
        config: How the search is run.
        settings: What all trials share.
        request: What tells this search from another, as JSON values.
        record: Which image is in which split.
    """

    space: Space
    config: SearchConfig
    settings: TrialSettings
    request: Mapping[str, Any]
    record: SplitRecord

    @property
    def folder(self) -> Path:
        """The folder of the search."""
        return self.settings.out


def prepare_search(
    space: Space,
    data: Any,
    config: SearchConfig,
    *,
    out: str | Path,
    callbacks: Sequence[Any] = (),
    log: Callable[[str], None] = print,
) -> SearchJob:
    """Load the data and check the request, before anything is trained or written.

    Args:
        space: The space.
        data: What kcnn.data.load takes, or an ImageDataset.
        config: How the search is run.
        out: Folder of the search.
        callbacks: Keras callbacks of the caller.
        log: Called with each message for a person.

    Returns:
        The search, ready to start.

    Raises:
        FileExistsError: `out` is the folder of a run or a transfer.
        UnknownNameError: A field of the recipe is unknown.
        ValueError: A value of the recipe is invalid, the data does not fit the request, or this process is one of
            several workers.
    """
    config.check_process()
    check_output_folder(out, "search")
    if LATENCY in config.objectives:
        check_runtime()
    recipe = config.train.resolved_recipe
    check_training(space, config.train, space.spec.nominal_shape[:2])
    strategy = devices.make_strategy(config.train.strategy)
    data = _load(space, data, config.train)
    spec = dataclasses.replace(space.spec, classes=len(data.classes), input_shape=tuple(data.input_shape))
    space = dataclasses.replace(space, network=spec)
    held = read_request(Path(out)) if (Path(out) / SEARCH).exists() else None
    is_shared = bool(config.chief) or config.port is not None or is_chief() or is_worker()  # the processors can differ
    graph = None if is_shared or config.weights is not None else _trace_base(space)
    precision = resolve_policy(config.train.precision, graph, strategy)
    if config.train.precision == "auto" and held:
        precision = held["config"]["train"]["precision"]  # a search is resumed on another device
    train = dataclasses.replace(config.train, precision=precision)
    request.check_request(data, train.multi_label, False, recipe)
    devices.check_divisible(strategy, data)
    objective, *others = objectives = resolve_objectives(config.objectives, data)
    description = dataclasses.replace(config, train=dataclasses.replace(train, multi_label=data.multi_label)).describe()
    description["objective"] = [one.name for one in objectives] if others else objective.name
    record = add_pretraining(record_splits(data), config.weights, data.splits["test"])
    folds = split_folds(data, train.folds) if train.folds else ()
    if folds:
        check_unseen(config.weights, join_for_folds(data).splits["train"])
    start = None
    if config.weights is not None:
        graph = space.spec.trace_candidate()
        start = read_version(graph, resolve_file(graph, config.weights))
    values = {
        **(hash_unpublished(space.spec) if space.has_default else {}),
        **hash_function(objectives),
        "space": space.to_json(),
        "config": description,
        "data": data.name,
        "images": {name: len(split) for name, split in data.splits.items()},
        "fingerprint": record.fingerprint,
        **({"weights": request.identify_weights(config.weights)} if config.weights is not None else {}),
        **({"data_seed": data.seed} if data.seed != train.seed else {}),
    }
    values = json.loads(json.dumps(values))
    values = request.keep_choices(values, held)
    settings = TrialSettings(
        out=Path(out),
        data=data,
        train=train,
        strategy=strategy,
        identity=run_directory.hash_request(values),
        objective=objective,
        others=others,
        folds=folds,
        start=start,
        callbacks=callbacks,
        log=log,
    )
    return SearchJob(space, config, settings, values, record)


def _load(space: Space, data: Any, train: TrainConfig) -> ImageDataset:
    recipe = train.resolved_recipe
    if not isinstance(data, ImageDataset):
        data = load(
            data,
            input_shape=space.spec.nominal_shape,
            batch_size=recipe.batch_size,
            seed=train.seed,
            multi_label=train.multi_label,
            resize_factor=find_resize_factor(space, train),
        )
    shape, classes = space.spec.input_shape, space.spec.classes
    if shape and any(size not in (None, own) for size, own in zip(shape, data.input_shape, strict=True)):
        raise ValueError(f"the space expects images of {tuple(shape)}, the data has {tuple(data.input_shape)}")
    if classes is not None and classes != len(data.classes):
        raise ValueError(f"the space expects {classes} classes, the data has {len(data.classes)}")
    return data


def _trace_base(space: Space) -> Graph | None:
    try:
        return space.base
    except ValueError:  # it does not fit the images; candidates can
        return None


def claim_folder(job: SearchJob) -> None:
    """Write the request of a search to its folder, or compare it with the request there.

    Args:
        job: The search.

    Raises:
        ValueError: The folder holds another search; the message has the difference.
    """
    path, location = job.folder / SEARCH, find_location(job.settings.data.name)
    where = {run_directory.DATA_PATH: location} if location else {}
    if (weights := job.config.weights) is not None:
        where[WEIGHTS] = str(Path(weights).resolve()) if Path(weights).exists() else weights
    if path.exists():
        held = read_record(job.folder)
        existing = held["request"]
        if existing != job.request:
            changes = split_record.describe_changes(job.folder, existing.get("fingerprint", ""), job.record)
            raise ValueError(describe_other_search(job.folder, existing, job.request, changes))
        split_record.keep_record(job.folder, job.record)
        if held != {**held, **where}:
            write_record(job.folder, {**held, **where})
        return
    split_record.keep_record(job.folder, job.record)
    record = {
        "request": job.request,
        "command": run_directory.command_line(),
        "versions": run_directory.library_versions(),
        **where,
    }
    write_record(job.folder, record)


def check_images(job: SearchJob) -> None:
    """Refuse images that were changed since the search in the folder began.

    Args:
        job: The search, as prepared now.

    Raises:
        ValueError: The images differ; the message counts them.
    """
    fingerprint = read_request(job.folder).get("fingerprint", "")
    if job.record.fingerprint != fingerprint:
        changes = split_record.describe_changes(job.folder, fingerprint, job.record)
        raise ValueError(f"{job.settings.data.name} differs from the data of the search in {job.folder}{changes}")
