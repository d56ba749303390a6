"""A scheduler at the end of the journal of its search."""

from collections.abc import Callable, Mapping, Sequence
from math import log
from pathlib import Path
from typing import Any

from kcnn.search.config import SearchConfig
from kcnn.search.journal import Journal, Trial
from kcnn.search.objectives import Objective
from kcnn.search.samplers.factory import make_sampler
from kcnn.search.scheduler import Scheduler
from kcnn.search.space import Space
from kcnn.search.successive_halving import SuccessiveHalving
from kcnn.search.trial_folders import prune_checkpoints

BANDS = 3  # Hyperband's reduction factor


def open_scheduler(
    space: Space,
    config: SearchConfig,
    out: Path,
    on_trial_end: Callable[[Trial], None] = lambda trial: None,
    objectives: Sequence[Objective] = (Objective(),),
) -> Scheduler:
    """Return the scheduler of a search at the end of its journal, to which it appends from now on.

    Args:
        space: The space, with the classes and the input shape of the data.
        config: Tuner and budget.
        out: Folder of the search.
        on_trial_end: Called with each trial that has ended.
        objectives: What trials are judged by.

    Raises:
        ImportError: The library of the tuner is not installed.
        ValueError: The journal is of a version whose tuner proposed other trials.
    """
    journal, epochs = Journal(out), config.train.resolved_recipe.epochs
    is_hyperband = config.tuner == "hyperband"
    promotable = 2 * BANDS ** int(log(epochs, BANDS)) if is_hyperband else 0  # a band promotes from its best trials

    def record_end(trial: Trial) -> None:
        prune_checkpoints(out, journal.trials, config.keep_checkpoints, objectives, promotable)
        on_trial_end(trial)

    halving = SuccessiveHalving(0 if is_hyperband else config.reduction_factor, epochs)
    sampler = make_sampler(space, config, _find_default(space, config), objectives)
    return Scheduler(space, config, journal, sampler, halving, record_end, objectives)


def _find_default(space: Space, config: SearchConfig) -> dict[str, Any]:
    """The values of the unchanged network and its recipe."""
    recipe: Mapping[str, Any] = config.train.resolved_recipe.to_json()
    fields = {**recipe, **recipe["augmentation"]}
    own = {c.name: fields[c.name] for c in space.all_choices if c.name in space.training and fields[c.name] in c}
    return {**space.default, **{name: value for name, value in own.items() if name in space.default}}
