"""Whether a search resumes that of its folder, as far as this is known before the data is loaded. No Keras here."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kcnn.run_folders import SEARCH
from kcnn.search.config import SearchConfig
from kcnn.search.objectives import AUTO
from kcnn.search.result import read_request
from kcnn.search.space import Space
from kcnn.training.run_directory import explain_difference


def check_resumed(folder: Path, space: Space, config: SearchConfig) -> None:
    """Refuse another search than that of a folder, before its data is loaded and compared, too.

    Args:
        folder: Folder of the search; it may be missing.
        space: The space, with or without the classes and the input shape of the data.
        config: How the search is run.

    Raises:
        ValueError: The folder holds another search; the message has the difference.
    """
    if not (folder / SEARCH).exists():
        return
    held = read_request(folder)
    request = {**held, "space": _describe_space(space, held), "config": _describe_config(config, held)}
    request = json.loads(json.dumps(request))
    if request != held:
        raise ValueError(describe_other_search(folder, held, request))


def describe_other_search(folder: Path, held: Mapping[str, Any], request: Mapping[str, Any], images: str = "") -> str:
    """Return the message for a folder that holds another search.

    Args:
        folder: The folder.
        held: The request of its search.
        request: The request of this one.
        images: How the images differ, to be appended.
    """
    difference = explain_difference(held, request)
    return f"{folder} holds another search ({difference}){images}; choose another folder, or remove it"


def _describe_space(space: Space, held: Mapping[str, Any]) -> dict[str, Any]:
    """The space, with the classes and the input shape that the data of the folder gave it where it has none."""
    spec, known = space.spec, held["space"]["spec"]
    if known["network"] == spec.to_json()["network"]:
        shape = spec.input_shape if spec.input_shape and None not in spec.input_shape else known.get("input_shape")
        classes = known.get("classes") if spec.classes is None else spec.classes
        shape = tuple(shape) if shape else None
        space = replace(space, network=replace(spec, classes=classes, input_shape=shape))
    return space.to_json()


def _describe_config(config: SearchConfig, held: Mapping[str, Any]) -> dict[str, Any]:
    """What tells the search from others, with what the data and the devices gave that of the folder for "auto"."""
    values, known = config.describe(), held["config"]
    objective, before = values["objective"], known["objective"]
    if objective == AUTO and isinstance(before, str):
        values["objective"] = before
    elif isinstance(objective, list) and objective[0] == AUTO and isinstance(before, list):
        values["objective"] = [before[0], *objective[1:]]
    train, known_train = values["train"], known["train"]
    if train["precision"] == "auto":
        train["precision"] = known_train["precision"]
    if not train["multi_label"]:  # the data may have several labels per image nonetheless
        train["multi_label"] = known_train["multi_label"]
    return values
