"""A search from the request to the result: survey, trials within a budget, final evaluation."""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import keras

from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_type
from kcnn.search import workers
from kcnn.search.config import SearchConfig
from kcnn.search.environment import is_chief, is_worker, name_worker
from kcnn.search.final_evaluation import run_final_evaluation
from kcnn.search.grid_order import describe_budget
from kcnn.search.job import SearchJob, claim_folder, prepare_search
from kcnn.search.journal import Journal, Trial
from kcnn.search.open_scheduler import open_scheduler
from kcnn.search.result import SearchResult, find_best_trial
from kcnn.search.resumption import check_resumed
from kcnn.search.space import FeasibilityReport, Space, analyze_feasibility
from kcnn.search.trial_loop import run_trials
from kcnn.training import TrainConfig, devices, hardware, run_directory


@check_arguments(
    within={
        "config=SearchConfig({}=...)": [f.name for f in fields(SearchConfig)],
        "config=SearchConfig(train=TrainConfig({}=...))": [f.name for f in fields(TrainConfig)],
    }
)
def search(
    space: Space,
    data: Any,
    config: SearchConfig | None = None,
    *,
    out: str | Path,
    folds: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    on_trial_end: Callable[[Trial], None] = lambda trial: None,
    on_survey: Callable[[FeasibilityReport], None] = lambda report: None,
    log: Callable[[str], None] = print,
) -> SearchResult:
    """Search the best network of a space on data, within a budget.

    A folder with an interrupted search of the same request is resumed: completed trials are kept, and the others resume
    from their last completed epoch. With a larger budget, a finished search continues. At the end the best network and
    the default one are trained alike on the train and validation splits with several seeds, and tested once on
    the test split, which no trial uses.

    Args:
        space: The space.
        data: What kcnn.data.load takes, or an ImageDataset; a folder or a name where trials run in several processes.
        config: How the search is run; SearchConfig() where it is None.
        out: Folder of the search.
        folds: Number of folds of the train and validation images, in place of that of `config.train`: the score of a
            trial is the mean over trainings that each validate on one fold.
        callbacks: Keras callbacks of your own, for the trials and the final training. Where trials run in several
            processes, only those with a true attribute `is_local` are accepted, which are for the final training.
        on_trial_end: Called with each trial that has ended.
        on_survey: Called with the feasibility of the space before the first trial.
        log: Called with each message for a person.

    Returns:
        The result; without trials on a machine that joined the search of another.

    Raises:
        FileExistsError: `out` is the folder of a run or a transfer.
        TypeError: The space, the data or the config has another type.
        NoFeasiblePointError: No point of the space can be built within its limits.
        ValueError: The folder holds another search, or another process searches into it; or the request does not fit
            the data.
        WorkerFailedError: A process of the search failed.
    """
    config = SearchConfig() if config is None else config
    check_type("config", config, SearchConfig)
    if isinstance(space, str):
        raise TypeError(f"space must be of type Space, got {space!r}; write kcnn.search.space.default_space({space!r})")
    check_type("space", space, Space)
    if folds is not None:
        config = dataclasses.replace(config, train=dataclasses.replace(config.train, folds=folds))
    if config.uses_processes:
        workers.check_data(data)
        workers.check_callbacks(callbacks)
    check_resumed(Path(out), space, config)
    job = prepare_search(space, data, config, out=out, callbacks=callbacks, log=log)
    hardware.introduce_device(log, job.settings.strategy, config.workers)
    if config.train.precision == "auto" and (precision := job.settings.train.precision) != "float32":
        log(f"precision: {precision}")
    report = analyze_feasibility(job.space, seed=config.train.seed)
    if config.uses_processes and not config.chief:
        with run_directory.lock_folder(job.folder):  # the process of the chief locks it later
            claim_folder(job)
    else:
        claim_folder(job)
    on_survey(report)
    _log_objectives(job, log)
    if job.settings.folds:
        log(_describe_folds(job))
    if config.tuner == "grid" and (note := describe_budget(job.space, config.max_trials)):
        log(note)
    earlier = [] if config.chief or is_worker() else Journal(job.folder).trials
    if earlier:
        log(f"resuming after trial {max(trial.number for trial in earlier)}")
    if config.uses_processes:
        workers.run_workers(job, data, on_trial_end)
        if config.chief:  # the machine of the chief has the journal
            return SearchResult(job.folder, (), None, None)
        with run_directory.lock_folder(job.folder):
            return _finish(job)
    joins = is_worker()  # of a chief elsewhere, by keras-tuner's own variables
    lock = contextlib.nullcontext() if joins else run_directory.lock_folder(job.folder)
    with lock, devices.join_workers(job.settings.strategy):
        if joins:
            from kcnn.search.chief import RemoteScheduler

            run_trials(RemoteScheduler(job.settings.identity), name_worker(), job.space, job.settings)
            return SearchResult(job.folder, (), None, None)
        scheduler = open_scheduler(job.space, config, job.folder, on_trial_end, job.settings.objectives)
        if is_chief():
            from kcnn.search.chief import serve

            serve(scheduler, job.settings.identity)
        else:
            run_trials(scheduler, name_worker(), job.space, job.settings)
        return _finish(job)


def _describe_folds(job: SearchJob) -> str:
    """What a person should know about the folds before the first trial, as a sentence."""
    data, folds = job.settings.data, job.settings.folds
    sizes = ", ".join(f"{len(part.splits['validation']):,}" for part in folds)
    return (
        f"cross-validation: {len(folds)} folds of {sizes} images, stratified by class, drawn by seed {data.seed}; the "
        "score of a trial is the mean over its folds, each of which validates a training on the others, from the "
        f"initial weights of seed {job.config.train.seed}; the {len(data.splits['test']):,} test images are in no fold"
    )


def _log_objectives(job: SearchJob, log: Callable[[str], None]) -> None:
    """Log what the search maximizes or minimizes, and why."""
    objective, others = job.settings.objective, job.settings.others
    reason = f" ({objective.reason})" if objective.reason else ""
    if not others:
        log(f"objective: {objective}{reason}")
        return
    log(f"objectives: {', '.join([f'{objective}{reason}', *map(str, others)])}; no trial is stopped early")


def _finish(job: SearchJob) -> SearchResult:
    """The result of a search whose trials have ended, after the final evaluation."""
    trials, objectives = Journal(job.folder).trials, job.settings.objectives
    best = find_best_trial(trials, objectives)
    final = None
    if best is not None and job.config.final_seeds:
        final = run_final_evaluation(job.space, job.settings, best, job.config.final_seeds)
    return SearchResult(job.folder, trials, best, final, objectives[0], objectives[1:])
