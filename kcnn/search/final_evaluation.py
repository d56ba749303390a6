"""The end of a search: the best network and the network as it is, trained from scratch and tested on new pictures."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.atomic_io import write_text
from kcnn.search.journal import Trial
from kcnn.search.result import BEST, DEFAULT, RESULT, Contender, FinalEvaluation
from kcnn.search.space import Candidate, Space
from kcnn.search.space.costs import estimate_costs
from kcnn.search.trial import TrialSettings
from kcnn.statistics import t_interval
from kcnn.training import Recipe, TrainConfig, train
from kcnn.training import get_recipe as planned


def run_final_evaluation(space: Space, setting: TrialSettings, winner: Trial, seeds: int) -> FinalEvaluation:
    """Train both sides on train and validation pictures with each seed, and test them once; final.json."""
    chosen = space.candidate(winner.values)
    sides = [_side(BEST, f"trial-{winner.number:04}", chosen, setting, seeds)]
    usual = _as_it_is(space)
    same = usual is not None and _alike(chosen, usual, setting.recipe)
    if usual is not None and not same:
        sides.append(_side(DEFAULT, DEFAULT, usual, setting, seeds))
    found = FinalEvaluation(winner.number, tuple(sides), unchanged=same)
    if len(sides) == 2:
        each = [100 * (a - b) for a, b in zip(sides[0].accuracies, sides[1].accuracies, strict=True)]
        low, high = t_interval(each) if seeds > 1 else (None, None)
        shown = low is not None and high is not None and (low > 0 or high < 0)
        found = dataclasses.replace(found, points=float(np.mean(each)), low=low, high=high, significant=shown)
    write_text(setting.out / RESULT, json.dumps(asdict(found), indent=1))
    return found


def _alike(one: Candidate, other: Candidate, recipe: Recipe) -> bool:
    """Whether two candidates are one network, trained alike: they may be written differently."""
    return planned(recipe, one.training) == planned(recipe, other.training) and (
        estimate_costs(one.graph)[0] == estimate_costs(other.graph)[0]
    )


def _as_it_is(space: Space) -> Candidate | None:
    """The network without any choice, where it can be built on this input."""
    try:
        return Candidate({}, space.base, {})
    except ValueError:
        return None


def _side(name: str, folder: str, one: Candidate, setting: TrialSettings, seeds: int) -> Contender:
    recipe = planned(setting.recipe, one.training)
    spec = one.graph.spec
    assert spec is not None
    metrics: list[Mapping[str, Any]] = []
    folders: list[str] = []
    for seed in range(setting.seed, setting.seed + seeds):
        place = Path("final") / folder / f"seed-{seed}"  # a larger budget may find another best
        setting.log(f"{name}: training from scratch on train and validation pictures, seed {seed}")
        run = train(
            dataclasses.replace(spec, classes=None, input_shape=None),
            dataclasses.replace(setting.data.train_and_validation, batch_size=recipe.batch_size, seed=seed),
            TrainConfig(recipe=recipe, seed=seed, precision=setting.policy, strategy=setting.word),
            out=setting.out / place,
            callbacks=setting.callbacks,
            log=setting.log,
        )
        metrics.append(run.metrics)
        folders.append(str(place))
    accuracies = tuple(one.get("mean_average_precision", one["accuracy"]) for one in metrics)
    mean = float(np.mean(accuracies))
    return Contender(name, accuracies, mean, metrics[0]["params"], metrics[0]["macs"], tuple(folders))
