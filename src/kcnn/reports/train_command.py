"""The command that trains the network of a trial."""

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from kcnn.data.arrays import ARRAYS
from kcnn.graph.formatting import format_size
from kcnn.search.space import Candidate
from kcnn.training.config import TrainConfig
from kcnn.training.recipes import RECIPES, get_recipe

OWN_OPTIONS = {"epochs": "--epochs", "batch_size": "--batch-size", "learning_rate": "--learning-rate"}


def format_train_command(request: Mapping[str, Any], candidate: Candidate) -> str | None:
    """Return the `kcnn train` command for a candidate of a search, with the splits, recipe and seed of its trials.

    Args:
        request: The request of the search, from search.json.
        candidate: The network and its training values.

    Returns:
        The command for a shell; None where no command describes it: the data, or an attribute of a layer, is known to
        Python alone.
    """
    spec = candidate.graph.spec
    if spec is None or not isinstance(spec.network, str) or request["data"] == ARRAYS:
        return None
    config = TrainConfig.from_json(request["config"]["train"])
    name = config.recipe if isinstance(config.recipe, str) else "quick"
    changed = get_recipe(config.resolved_recipe, candidate.training).diff(RECIPES[name])
    words = ["kcnn", "train", spec.network, "--data", request["data"]]
    words += ["--input-size", format_size(spec.nominal_shape)]
    try:
        words += _repeat("--model-option", spec.options)
        words += _repeat("--override", spec.overrides)
        words += ["--recipe", name]
        words += [part for key in OWN_OPTIONS if key in changed for part in (OWN_OPTIONS[key], str(changed[key]))]
        words += _repeat("--recipe-option", {k: v for k, v in changed.items() if k not in OWN_OPTIONS})
    except TypeError:
        return None
    words += ["--multi-label"] if config.multi_label else []
    for option, value, default in (
        ("--folds", config.folds, None),
        ("--seed", config.seed, 0),
        ("--precision", config.precision, "auto"),
        ("--strategy", config.strategy, "auto"),
    ):
        words += [option, str(value)] if value != default else []
    return shlex.join(words)


def _repeat(option: str, values: Mapping[str, Any]) -> Iterator[str]:
    """An option for each value, written so that the command line reads the same value. TypeError: JSON has no such."""
    for name, value in values.items():
        is_word = isinstance(value, str) and value.isidentifier() and value not in ("True", "False", "None")
        is_word = is_word and value not in ("true", "false", "null", "NaN", "Infinity")
        yield from (option, f"{name}={value if is_word else json.dumps(value)}")
