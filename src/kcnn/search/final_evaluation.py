"""The final evaluation: the best and the default network, trained alike and tested on unused images."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.building import build
from kcnn.run_folders import BEST, FINAL
from kcnn.search.journal import Trial
from kcnn.search.objectives import Objective, measure_test
from kcnn.search.result import (
    DEFAULT,
    NETWORK,
    TRAINING,
    UNTUNED,
    Contender,
    FinalComparison,
    FinalEvaluation,
)
from kcnn.search.space import Candidate, Space
from kcnn.search.space.costs import estimate_costs
from kcnn.search.trial import TrialSettings
from kcnn.statistics import adjust_differences, compare_paired
from kcnn.training import NonFiniteLossError, OutOfMemoryError, TrainConfig, get_recipe, train
from kcnn.training.run_directory import write_values
from kcnn.weights import save_weights
from kcnn.weights.versions import set_morphed


def run_final_evaluation(space: Space, settings: TrialSettings, best: Trial, seeds: int) -> FinalEvaluation:
    """Train the best and the default network on the train and validation splits, test them once, write final.json.

    Each comparison changes one thing: the networks are trained with the same training values, those of the best trial;
    where the search tuned these, the default network is trained with the default ones too.

    Args:
        space: The space.
        settings: What all trials share.
        best: The best trial.
        seeds: Number of seeds of each.

    Returns:
        The evaluation. A training that fails is named in it.
    """
    candidate, default = space.candidate(best.values), _make_default(space)
    planned = {BEST: (f"trial-{best.number:04}", candidate)}
    unchanged = default is not None and estimate_costs(candidate.graph)[0] == estimate_costs(default.graph)[0]
    if default is not None:
        if not unchanged:
            planned[DEFAULT] = (
                f"default-trial-{best.number:04}",
                dataclasses.replace(default, training=candidate.training),
            )
        if not _are_trained_alike(candidate, default, settings.train):
            planned[UNTUNED] = ("default", default)
    contenders: dict[str, Contender] = {}
    problems: dict[str, str] = {}
    for name, (folder, one) in planned.items():
        try:
            contenders[name] = _train(name, folder, one, settings, seeds)
        except (NonFiniteLossError, OutOfMemoryError) as error:
            problems[name] = str(error)
            settings.log(f"{name}: its training failed: {error}")
    pairs = (
        (NETWORK, BEST, DEFAULT),
        (TRAINING, BEST if unchanged else DEFAULT, UNTUNED),
    )
    comparisons = [
        _compare(subject, contenders[first], contenders[second], settings.objective)
        for subject, first, second in pairs
        if first in contenders and second in contenders
    ]
    result = FinalEvaluation(
        best.number, tuple(contenders.values()), _adjust(comparisons), unchanged, problems, settings.objective.name
    )
    write_values(settings.out / FINAL, asdict(result))
    return result


def _compare(subject: str, first: Contender, second: Contender, objective: Objective) -> FinalComparison:
    """The difference in percentage points, or in the unit of an objective that is no fraction."""
    unit = 1 if objective.is_fraction else 100
    shared: dict[str, Any] = {
        "subject": subject,
        "first": first.name,
        "second": second.name,
        "objective": objective.name,
    }
    if len(first.scores) > 1:
        paired = compare_paired(*(tuple(value / unit for value in one.scores) for one in (first, second)))
        return FinalComparison(points=paired.points, paired=paired, **shared)
    return FinalComparison(points=100 * (first.score - second.score) / unit, **shared)


def _adjust(comparisons: Sequence[FinalComparison]) -> tuple[FinalComparison, ...]:
    """The comparisons with p-values adjusted for their number; with one seed they have none."""
    adjusted = iter(adjust_differences([one.paired for one in comparisons if one.paired]))
    return tuple(dataclasses.replace(one, paired=next(adjusted)) if one.paired else one for one in comparisons)


def _are_trained_alike(one: Candidate, other: Candidate, train: TrainConfig) -> bool:
    """Whether two candidates have the same training values, which may be written differently."""
    recipe = train.resolved_recipe
    return get_recipe(recipe, one.training) == get_recipe(recipe, other.training)


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
    scores: list[float] = []
    metrics: Mapping[str, Any] = {}
    folders: list[str] = []
    for seed in range(settings.train.seed, settings.train.seed + seeds):
        path = Path("final") / folder / f"seed-{seed}"  # a larger budget may find another best trial
        start = None if settings.start is None else settings.out / path.with_name(f"start-{seed}.safetensors")
        if start is not None and settings.start is not None:
            start.parent.mkdir(parents=True, exist_ok=True)
            model = build(candidate.graph, seed=seed)
            set_morphed(model, candidate.graph, settings.start)
            save_weights(model, start)
        origin = "scratch" if start is None else "morphed weights"
        settings.log(f"{name}: training from {origin} on the train and validation splits, seed {seed}")
        run = train(
            dataclasses.replace(spec, classes=None, input_shape=None, weights=None if start is None else str(start)),
            dataclasses.replace(settings.data.train_and_validation, batch_size=recipe.batch_size, seed=seed),
            TrainConfig(recipe=recipe, seed=seed, precision=settings.train.precision, strategy=settings.train.strategy),
            out=settings.out / path,
            callbacks=settings.callbacks,
            verbose=0,
            log=settings.log,
        )
        metrics = run.metrics
        scores.append(measure_test(settings.objective, run))
        folders.append(str(path))
    mean = float(np.mean(scores))
    return Contender(name, tuple(scores), mean, metrics["params"], metrics["macs"], tuple(folders))
