"""Publish the model of a run: weights, config and a model card, in a folder or on the Hugging Face Hub."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import kcnn
from kcnn.atomic_io import parse_json, write_text
from kcnn.export.model_card import write_model_card
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.graph import Graph
from kcnn.keras_bridge.metadata import restore_spec
from kcnn.run_folders import METRICS, MODEL, resolve_run
from kcnn.training.run_directory import read_metrics
from kcnn.weights.hub import CONFIG, FILES, OWN
from kcnn.weights.hub_files import require_hub, upload
from kcnn.weights.loading import save_tensors, save_weights
from kcnn.weights.timm_form import find_timm_name, make_timm_config, make_timm_tensors

CARD = "README.md"
LICENSE = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")  # an identifier of the Hub
REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


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
    license: str | None = None,
    push: str | None = None,
    log: Callable[[str], None] = print,
) -> Publication:
    """Write the model of a run as others can load it: model.safetensors, config.json and a model card, README.md.

    Where timm has the network, the files are in timm's form: timm.create_model("local-dir:FOLDER", pretrained=True)
    gives the same logits. kcnn.build("local-dir:FOLDER") reads every publication, and kcnn.build("hf://USER/NAME")
    one that was uploaded.

    Args:
        run: Folder of a finished run, or of a transfer or a search, whose best run is taken.
        to: The folder: a new or empty one, or one of an earlier publication, whose files are replaced.
        license: Of the weights, as the Hub spells it, such as "apache-2.0".
        push: "USER/NAME" of the repository on the Hub to upload to; it is created where it does not exist.
        log: Called with a sentence that says which run of a transfer or a search is taken.

    Returns:
        The publication.

    Raises:
        FileNotFoundError: The folder holds no finished run.
        FileExistsError: `to` is a file, or has other files.
        ValueError: The network is defined in a file of yours, which nobody else has; or a license or repository is
            spelled otherwise.
        DownloadError: The Hub refuses the upload.
        ImportError: huggingface_hub is not installed.
    """
    folder = Path(to)
    if license is not None and not LICENSE.fullmatch(license):
        raise ValueError(f"license must be an identifier of the Hub, such as apache-2.0 or cc-by-4.0, got {license!r}")
    if push is not None and not (REPOSITORY.fullmatch(push) and ".." not in push):
        raise ValueError(f"expected USER/NAME to push to, got {push!r}")
    if push:
        require_hub(f"uploading to {push}")
    _check_folder(folder)
    resolved = resolve_run(run).require(MODEL, METRICS)
    if resolved.note:
        log(resolved.note)
    metrics = read_metrics(resolved.path)
    model = kcnn.load_model(resolved.path / MODEL)
    graph = _trace(model.metadata, resolved.path)
    timm_name = find_timm_name(graph)
    weights = folder / FILES[0]
    if timm_name:
        config = make_timm_config(graph, timm_name, model.metadata, license)
        save_tensors(make_timm_tensors(model, graph), model.metadata, weights)
    else:
        config = {"library_name": "kcnn"}
        save_weights(model, weights)
    config |= {**({"license": license} if license else {}), OWN: model.metadata}
    address = f"hf://{push}" if push else f"local-dir:{folder}"
    write_text(folder / CARD, write_model_card(metrics, model.metadata, license, timm_name, address))
    write_text(folder / CONFIG, json.dumps(config, indent=1, ensure_ascii=False))
    url = upload(folder, push, (weights.name, CONFIG, CARD)) if push else None
    return Publication(folder, timm_name, url)


def _trace(metadata: Mapping[str, Any], run: Path) -> Graph:
    spec = restore_spec(metadata)
    if spec is None:
        network = metadata.get("spec", {}).get("network")
        raise ValueError(
            f"cannot publish {run}: its network, {network!r}, is defined in a file, which others do not have; "
            "put it into a plugin (kcnn new-plugin) and train that network"
        )
    return spec.trace()


def _check_folder(folder: Path) -> None:
    """Refuse a folder with files of others."""
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; choose a folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    try:
        is_own = isinstance(parse_json((folder / CONFIG).read_bytes())[OWN], dict)
    except (OSError, ValueError, TypeError, KeyError):
        is_own = False
    if not is_own:
        raise FileExistsError(f"{folder} has files that kcnn publish did not write; choose a new or empty folder")
