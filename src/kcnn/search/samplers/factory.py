"""The sampler of a tuner, by its name; a library is imported where it is used."""

from collections.abc import Mapping, Sequence
from typing import Any

from kcnn.search.config import SearchConfig
from kcnn.search.objectives import Objective
from kcnn.search.pareto import list_scores
from kcnn.search.samplers.grid_sampler import GridSampler
from kcnn.search.samplers.random_sampler import RandomSampler
from kcnn.search.samplers.sampler import Sampler
from kcnn.search.space import Space


def make_sampler(
    space: Space, config: SearchConfig, default: Mapping[str, Any], objectives: Sequence[Objective]
) -> Sampler:
    """Return the sampler of a search.

    Args:
        space: The space.
        config: Its tuner, seed and epochs.
        default: Values of the unchanged network and its recipe.
        objectives: What trials are judged by.

    Raises:
        ImportError: The library of the tuner is not installed.
    """
    tuner, seed, epochs = config.tuner, config.train.seed, config.train.resolved_recipe.epochs
    if tuner.startswith("optuna:"):
        from kcnn.search.samplers.optuna_sampler import OptunaSampler

        return OptunaSampler(tuner, space, default, seed, lambda trial: list_scores(trial, objectives), len(objectives))
    if tuner == "bayesian":
        from kcnn.search.samplers.gaussian_process import BayesianSampler

        return BayesianSampler(space, default, seed)
    if tuner == "hyperband":
        from kcnn.search.samplers.keras_tuner_sampler import make_hyperband

        return make_hyperband(space, default, seed, epochs)
    if tuner == "grid":
        return GridSampler(space, default)
    return RandomSampler(space, default, seed)
