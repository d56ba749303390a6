"""The Pareto front: the trials that no other trial beats in all objectives. No Keras here."""

from collections.abc import Mapping, Sequence

from kcnn.graph.summaries import Summary
from kcnn.search.journal import OK, Trial
from kcnn.search.objectives import MACS, PARAMS, Objective

ATTRIBUTES = {MACS: "macs", PARAMS: "params"}  # of a trial, and of the summary of a network


def collect_values(
    objectives: Sequence[Objective], score: float, network: Summary, measured: Mapping[str, float]
) -> dict[str, float]:
    """Return the value of each objective of a trial, by key.

    Args:
        objectives: The objectives.
        score: The score of the first.
        network: The network, of which costs are arithmetic.
        measured: The values of the others, which the worker has measured, by key.
    """
    first, *others = objectives
    values = {first.key: first.to_value(score)}
    for one in others:
        attribute = ATTRIBUTES.get(one.name)
        values[one.key] = measured[one.key] if attribute is None else getattr(network, attribute)
    return values


def find_value(trial: Trial, objective: Objective) -> float:
    """Return the value of an objective of a trial with a score; that of a loss or cost is not negated.

    Args:
        trial: The trial.
        objective: One of its search, or the MACs or parameters of any.
    """
    if objective.name in ATTRIBUTES:
        return getattr(trial, ATTRIBUTES[objective.name])
    if objective.key in trial.objectives:
        return trial.objectives[objective.key]
    return objective.to_value(trial.score or 0.0)


def list_scores(trial: Trial, objectives: Sequence[Objective]) -> list[float]:
    """Return the score of each objective of a trial, the higher the better.

    Args:
        trial: A trial with a score.
        objectives: The objectives.
    """
    return [one.to_value(find_value(trial, one)) for one in objectives]


def find_front(trials: Sequence[Trial], objectives: Sequence[Objective]) -> list[Trial]:
    """Return the trials that no other dominates: none is as good in every objective and better in one.

    Args:
        trials: Trials with a score, after the same number of epochs.
        objectives: The objectives.

    Returns:
        The trials sorted by the first objective, the best first; equal ones by the next, and then by number.
    """
    scores = {trial.number: list_scores(trial, objectives) for trial in trials}

    def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
        return one != other and all(a >= b for a, b in zip(one, other, strict=True))

    front = [t for t in trials if not any(dominates(one, scores[t.number]) for one in scores.values())]
    return sorted(front, key=lambda t: ([-score for score in scores[t.number]], t.number))


def find_complete(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials that were trained to the last epoch.

    Args:
        trials: Trials that have ended.
    """
    return [trial for trial in trials if trial.status == OK and trial.score is not None]
