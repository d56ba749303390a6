"""The final evaluation: the best and the default network, trained from scratch and tested on unused images."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.atomic_io import write_text
from kcnn.search.journal import Trial
from kcnn.search.result import BEST, DEFAULT, FINAL, Contender, FinalEvaluation
from kcnn.search.space import Candidate, Space
from kcnn.search.space.costs import estimate_costs
from kcnn.search.trial import TrialSettings
from kcnn.statistics import compare_paired
from kcnn.training import TrainConfig, get_recipe, train


def run_final_evaluation(space: Space, settings: TrialSettings, best: Trial, seeds: int) -> FinalEvaluation:
    """Train the best and the default network on the train and validation splits, test them once, write final.json.

    Args:
        space: The space.
        settings: What all trials share.
        best: The best trial.
        seeds: Number of seeds of each.

    Returns:
        The evaluation; with the best network only where the default one is the same or cannot be built.
    """
    candidate = space.candidate(best.values)
    contenders = [_train(BEST, f"trial-{best.number:04}", candidate, settings, seeds)]
    default = _make_default(space)
    unchanged = default is not None and _are_equal(candidate, default, settings.train)
    if default is not None and not unchanged:
        contenders.append(_train(DEFAULT, DEFAULT, default, settings, seeds))
    result = FinalEvaluation(best.number, tuple(contenders), unchanged=unchanged)
    if len(contenders) == 2:
        accuracies = [contender.accuracies for contender in contenders]
        if seeds > 1:
            result = dataclasses.replace(result, **asdict(compare_paired(*accuracies)))
        else:
            result = dataclasses.replace(result, points=100 * (accuracies[0][0] - accuracies[1][0]))
    write_text(settings.out / FINAL, json.dumps(asdict(result), indent=1))
    return result


def _are_equal(one: Candidate, other: Candidate, train: TrainConfig) -> bool:
    """Whether two candidates, which may be written differently, are one network and trained alike."""
    recipe = train.resolved_recipe
    return get_recipe(recipe, one.training) == get_recipe(recipe, other.training) and (
        estimate_costs(one.graph)[0] == estimate_costs(other.graph)[0]
    )


def _make_default(space: Space) -> Candidate | None:
    """The network without any choice; None where it does not fit this input."""
    try:
        return Candidate({}, space.base, {})
    except ValueError:
        return None


def _train(name: str, folder: str, candidate: Candidate, settings: TrialSettings, seeds: int) -> Contender:
    recipe = get_recipe(settings.train.resolved_recipe, candidate.training)
    spec = candidate.graph.spec
    assert spec is not None
    metrics: list[Mapping[str, Any]] = []
    folders: list[str] = []
    for seed in range(settings.train.seed, settings.train.seed + seeds):
        path = Path("final") / folder / f"seed-{seed}"  # a larger budget may find another best trial
        settings.log(f"{name}: training from scratch on the train and validation splits, seed {seed}")
        run = train(
            dataclasses.replace(spec, classes=None, input_shape=None),
            dataclasses.replace(settings.data.train_and_validation, batch_size=recipe.batch_size, seed=seed),
            TrainConfig(recipe=recipe, seed=seed, precision=settings.train.precision, strategy=settings.train.strategy),
            out=settings.out / path,
            callbacks=settings.callbacks,
            log=settings.log,
        )
        metrics.append(run.metrics)
        folders.append(str(path))
    accuracies = tuple(one.get("mean_average_precision", one["accuracy"]) for one in metrics)
    mean = float(np.mean(accuracies))
    return Contender(name, accuracies, mean, metrics[0]["params"], metrics[0]["macs"], tuple(folders))
