"""Publish the model of a run: weights, config and a model card, in a folder or on the Hugging Face Hub."""

import json
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import kcnn
from kcnn.export.model_card import write_model_card
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_keywords
from kcnn.graph.graph import Graph
from kcnn.keras_bridge.saved_models import read_metadata
from kcnn.run_folders import CARD, CONFIG, HUB_WEIGHTS, METRICS, MODEL, RunFolder, is_publication, resolve_run
from kcnn.training.run_directory import read_metrics
from kcnn.weights.hub import OWN
from kcnn.weights.hub_files import LOCAL, SCHEME, require_hub, upload
from kcnn.weights.loading import collect_tensors, save_tensors, trace_metadata
from kcnn.weights.timm_form import find_timm_name, make_timm_config, make_timm_tensors

WEIGHTS = HUB_WEIGHTS[0]
UNKNOWN = "unknown"  # an identifier of the Hub as well
LICENSE = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")  # an identifier of the Hub
REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)


@check_keywords
@dataclass(frozen=True)
class Publication:
    """Hold what was published.

    Attributes:
        folder: The folder, with model.safetensors, config.json and README.md.
        timm_name: timm's name of the network; None where only kcnn reads the files.
        url: Of the repository on the Hub; None where nothing was uploaded.
    """

    folder: Path
    timm_name: str | None
    url: str | None = None

    def __str__(self) -> str:
        form = f"timm's {self.timm_name}" if self.timm_name else "kcnn's form"
        return f"{self.folder} ({form})" + (f"; uploaded to {self.url}" if self.url else "")


@check_arguments
def publish(
    run: str | PathLike[str],
    to: str | PathLike[str],
    *,
    license: str = UNKNOWN,
    push: str | None = None,
    log: Callable[[str], None] = print,
) -> Publication:
    """Write the model of a run as others can load it: model.safetensors, config.json and a model card, README.md.

    Where timm has the network, the files are in timm's form: timm.create_model("local-dir:FOLDER", pretrained=True)
    gives the same logits. kcnn.build("local-dir:FOLDER") reads every publication, and kcnn.build("hf://USER/NAME")
    one that was uploaded.

    Args:
        run: Folder of a finished run, or of a transfer or a search, whose best run is taken.
        to: The folder to write, which does not exist yet or is empty.
        license: Of the weights, as the Hub spells it, such as "apache-2.0".
        push: "USER/NAME" of the repository on the Hub to upload to; it is created, for all to see, where it does not
            exist. Nothing is uploaded where it is None.
        log: Called with a sentence that says which run of a transfer or a search is taken.

    Returns:
        The publication.

    Raises:
        FileNotFoundError: The folder holds no finished run.
        FileExistsError: `to` is a file, or a folder with files.
        ValueError: No plugin publishes the network, so nobody else has it; or a license or repository is spelled
            otherwise.
        UploadError: The Hub cannot be reached, or refuses the upload; the folder is written.
        ImportError: huggingface_hub is not installed.
    """
    folder = Path(to)
    resolved, graph = check_publication(run, to, license=license, push=push)
    if resolved.note:
        log(resolved.note)
    timm_name = find_timm_name(graph)
    metrics, model = read_metrics(resolved.path), kcnn.load_model(resolved.path / MODEL)
    metadata = _clean_metadata(model.metadata)
    if timm_name:
        config = make_timm_config(graph, timm_name, metadata, license)
        tensors = make_timm_tensors(model, graph)
    else:
        config, tensors = {"library_name": "kcnn", "license": license}, collect_tensors(model)
    address = f"{SCHEME}{push}" if push else f"{LOCAL}{folder.name}"
    files = {
        CARD: write_model_card(metrics, metadata, license, timm_name, address),
        CONFIG: json.dumps(config | {OWN: metadata}, indent=1, ensure_ascii=False),
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        written = Path(temporary) / "publication"
        save_tensors(tensors, metadata, written / WEIGHTS)
        for name, text in files.items():
            (written / name).write_text(text, encoding="utf-8", errors="backslashreplace")
        if folder.is_dir():
            folder.rmdir()  # it is empty
        written.rename(folder)
    url = upload(folder, push, (WEIGHTS, *files)) if push else None
    return Publication(folder, timm_name, url)


@check_arguments
def check_publication(
    run: str | PathLike[str], to: str | PathLike[str], *, license: str = UNKNOWN, push: str | None = None
) -> tuple[RunFolder, Graph]:
    """Refuse what cannot be published, without Keras.

    Args:
        run: As of `publish`.
        to: As of `publish`.
        license: As of `publish`.
        push: As of `publish`.

    Returns:
        The run that is taken, and the graph of its network.

    Raises:
        FileNotFoundError, FileExistsError, ValueError, ImportError: As from `publish`.
    """
    if not LICENSE.fullmatch(license):
        raise ValueError(f"license must be an identifier of the Hub, such as apache-2.0 or cc-by-4.0, got {license!r}")
    if push is not None and not (REPOSITORY.fullmatch(push) and ".." not in push):
        raise ValueError(f"push must be USER/NAME of a repository on the Hub, got {push!r}")
    if push:
        require_hub(f"uploading to {push}")
    _check_folder(Path(to))
    resolved = resolve_run(run).require(MODEL, METRICS)
    read_metrics(resolved.path)
    metadata = read_metadata(resolved.path / MODEL)
    graph = trace_metadata(metadata, weights=None)
    if graph is None:
        raise ValueError(
            f"cannot publish {resolved.path}: no plugin publishes its network, {metadata['spec']['network']!r}, so "
            "others cannot build it; put it into a plugin (kcnn new-plugin) and train that network"
        )
    return resolved, graph


def _clean_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a model without the weights that its training started from, which may be a file of yours.

    Where they are from is still in the field `weights`.
    """
    spec = {name: value for name, value in metadata["spec"].items() if name != "weights"}
    return {**metadata, "spec": spec}


def _check_folder(folder: Path) -> None:
    """Refuse a folder in use: its model card may have been edited."""
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; choose a folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if is_publication(folder):
        raise FileExistsError(
            f"{folder} is published already; choose another folder, or upload this one: hf upload USER/NAME {folder}"
        )
    raise FileExistsError(f"{folder} has files; choose a new or an empty folder")
