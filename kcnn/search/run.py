"""A search from its request to its result: claimed, surveyed, tried within a budget, and tested once at the end."""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any

import keras

from kcnn.atomic_io import write_text
from kcnn.data import ImageDataset, load
from kcnn.search import workers as crew
from kcnn.search.final_evaluation import run_final_evaluation
from kcnn.search.journal import Journal, Trial
from kcnn.search.oracles import TUNERS, Budget, SearchState, make_oracle
from kcnn.search.result import CONFIG, FinalEvaluation, find_best_trial
from kcnn.search.space import FeasibilityReport, Range, Space, analyze_feasibility
from kcnn.search.successive_halving import SuccessiveHalving
from kcnn.search.trial import TrialSettings
from kcnn.search.tuner import Tuner, prune_checkpoints
from kcnn.training import Recipe, devices, request, run_directory
from kcnn.training import get_recipe as planned
from kcnn.training import precision as precisions
from kcnn.training.trainer import CROP_RESIZE_FACTOR

FACTOR = 3  # of successive halving


@dataclass(frozen=True)
class SearchResult:
    """What a search came to: every trial that has ended, the best one, and what it is worth on the test split."""

    folder: Path
    trials: Sequence[Trial]
    best: Trial | None  # None where every trial died
    final: FinalEvaluation | None  # None where nothing was retrained

    @property
    def counts(self) -> dict[str, int]:
        """Trials by status."""
        return {status: sum(t.status == status for t in self.trials) for status in {t.status for t in self.trials}}


@dataclass(frozen=True)
class SearchRules:
    """By what an oracle proposes and stops trials; all that a chief needs beside the space."""

    identity: str  # of the request
    tuner: str
    budget: Budget
    halving: int
    keep: int
    epochs: int  # of a whole trial
    seed: int
    usual: Mapping[str, Any]  # what the recipe has where the space has choices


@dataclass(frozen=True)
class Search:
    """A search that is settled: what it looks in, on which data, how, and for how long."""

    space: Space
    setting: TrialSettings
    rules: SearchRules
    seeds: int
    request: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        return self.setting.out


def prepare_search(
    space: Space,
    data: Any,
    *,
    out: str | Path,
    tuner: str = "random",
    trials: int | None = None,
    seconds: float | None = None,
    total_epochs: int | None = None,
    recipe: str | Recipe = "quick",
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    recipe_overrides: Mapping[str, Any] | None = None,
    multi_label: bool = False,
    reduction_factor: int = FACTOR,
    keep_checkpoints: int = 3,
    final_seeds: int = 3,
    seed: int = 0,
    precision: str = "auto",
    strategy: str = "auto",
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: Any = None,
    log: Callable[[str], None] = print,
) -> Search:
    """Everything that can be wrong with a request, found before anything is trained: ValueError, LookupError."""
    if tuner not in TUNERS:
        raise ValueError(f"a tuner is one of {', '.join(TUNERS)}, not {tuner!r}")
    budget = Budget(20 if trials is seconds is total_epochs is None else trials, seconds, total_epochs)
    for name, value, least in (
        ("trials", trials, 1),
        ("seconds", seconds, 0),
        ("total_epochs", total_epochs, 1),
        ("keep", keep_checkpoints, 0),
        ("seeds", final_seeds, 0),
    ):
        if value is not None and value < least:
            raise ValueError(f"{name} must be at least {least}, not {value}")
    if reduction_factor not in (0, *range(2, 11)):
        raise ValueError(
            f"reduction_factor is the factor of successive halving, 2 to 10, or 0 for none, not {reduction_factor}"
        )
    words = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    plan = planned(
        recipe, {**(recipe_overrides or {}), **{name: value for name, value in words.items() if value is not None}}
    )
    if plan.patience:
        raise ValueError("patience is for one training; a search stops trials by successive halving: set patience to 0")
    if {"epochs", "patience"} & {*space.training}:
        raise ValueError("epochs and patience are what trials are compared by; they cannot be searched")
    for choice in space.all_choices:
        if choice.name in space.training:
            values = choice.values
            for value in (values.low, values.high) if isinstance(values, Range) else values:
                planned(plan, {choice.name: value})
    several = devices.make_strategy(strategy)
    policy = precisions.resolve_policy(precision)
    shape: Any = space.input_shape or space.base.input.shape
    if not isinstance(data, ImageDataset):
        data = load(
            data,
            input_shape=shape,
            batch_size=plan.batch_size,
            seed=seed,
            multi_label=multi_label,
            resize_factor=CROP_RESIZE_FACTOR if plan.augmentation.resized_crop else 1.0,
            progress=progress,
        )
    if space.input_shape and tuple(space.input_shape) != tuple(data.input_shape):
        raise ValueError(f"the space is of images of {space.input_shape}, the data of {data.input_shape}")
    if space.classes is not None and space.classes != len(data.classes):
        raise ValueError(f"the space is of {space.classes} classes, and the data has {len(data.classes)}")
    space = dataclasses.replace(space, classes=len(data.classes), input_shape=tuple(data.input_shape))
    request.check_request(data, multi_label, False, plan)
    devices.check_divisible(several, data)
    asked = {
        "space": space.to_json(),
        "data": data.name,
        "images": {word: len(split) for word, split in data.splits.items()},
        "fingerprint": request.fingerprint_data(data),
        **({"multi_label": True} if data.multi_label else {}),
        "tuner": tuner,
        "halving": reduction_factor,
        "recipe_name": recipe if isinstance(recipe, str) else "own",
        "recipe": plan.asdict(),
        "seed": seed,
        "precision": policy,
        "strategy": strategy,
    }
    asked = json.loads(json.dumps(asked))
    setting = TrialSettings(
        out=Path(out),
        data=data,
        recipe=plan,
        seed=seed,
        policy=policy,
        word=strategy,
        strategy=several,
        identity=run_directory.hash_request(asked),
        callbacks=callbacks,
        log=log,
    )
    fields = plan.asdict()
    fields = {**fields, **fields["augmentation"]}
    usual = {c.name: fields[c.name] for c in space.all_choices if c.name in space.training and fields[c.name] in c}
    rules = SearchRules(setting.identity, tuner, budget, reduction_factor, keep_checkpoints, plan.epochs, seed, usual)
    return Search(space, setting, rules, final_seeds, asked)


def claim_folder(search: Search) -> None:
    """Make the folder this search's own, or refuse it with the difference where it is another's: ValueError."""
    path = search.folder / CONFIG
    if path.exists():
        try:
            there = json.loads(path.read_text())["request"]
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{path} is not of a search of kcnn's; give another folder") from None
        if there != search.request:
            found = run_directory.diff_requests(there, search.request)
            said = [f"{name} {a!r}, not {b!r}" for name, a, b in found if name != "fingerprint"]
            differ = "; ".join(said) or "other pictures or labels"
            raise ValueError(f"{search.folder} holds another search ({differ}); give another folder, or remove it")
        return
    told = {
        "request": search.request,
        "command": run_directory.command_line(),
        "versions": run_directory.library_versions(),
    }
    write_text(path, json.dumps(told, indent=1))


def open_oracle(rules: SearchRules, space: Space, out: Path, tell: Callable[[Trial], None] = lambda trial: None) -> Any:
    """The oracle of a search, at where its journal ends; it takes down what happens from now on."""
    worker = crew.is_worker()
    epochs, journal = rules.epochs, Journal(out, writes=not worker)
    bands = rules.tuner == "hyperband"
    keep = max(rules.keep, 2 * 3 ** int(log(epochs, 3))) if bands else rules.keep

    def told(trial: Trial) -> None:
        prune_checkpoints(out, journal.trials, keep)
        tell(trial)

    book = SearchState(
        space=space,
        journal=journal,
        budget=rules.budget,
        halving=SuccessiveHalving(0 if bands else rules.halving, epochs),
        seed=rules.seed,
        usual=rules.usual,
        tell=told,
    )
    found = make_oracle(rules.tuner, book, rules.identity)
    if not worker:  # whose proposals are the chief's
        found.play(journal)
    return found


def search(
    space: Space,
    data: Any,
    *,
    workers: int = 1,
    process_per_trial: bool = False,
    chief: str | None = None,
    port: int | None = None,
    on_trial_end: Callable[[Trial], None] = lambda trial: None,
    on_survey: Callable[[FeasibilityReport], None] = lambda survey: None,
    **asked: Any,
) -> SearchResult:
    """Look for the best network of a space on data, within a budget.

    `asked` are the words of `settle`; `look` is called with the survey of the space, before
    anything is tried, and `tell` with each trial that has ended. `workers` processes try side
    by side, with a GPU each or sharing the cores, led by keras-tuner's chief in another, which listens on `port`
    where workers of other machines are to join; these are given its address, `chief="HOST:PORT"`. With `isolate`
    every trial has a process of its own, and so leaves no memory behind. A folder with an unfinished
    search of the same request is gone on with: no trial that has ended is repeated, and the one in flight goes on
    after its last whole epoch. At the end the best network, and the network as it is, are trained from scratch on
    train and validation pictures with several seeds, and tested once on the test split, which no trial has seen.

    ValueError where the folder holds another search, NothingFeasible, and what kcnn.training.train raises.
    """
    several = workers != 1 or process_per_trial or chief or port
    address = crew.resolve_address(data, workers=workers, chief=chief, port=port) if several else ""
    found = prepare_search(space, data, **asked)
    surveyed = analyze_feasibility(found.space, seed=found.rules.seed)
    claim_folder(found)
    on_survey(surveyed)
    if address:
        crew.run_workers(
            found.space,
            data,
            found.folder,
            found.rules,
            asked,
            workers=workers,
            isolate=process_per_trial,
            address=address,
            joins=chief is not None,
            waits=port is not None,
            tell=on_trial_end,
            say=found.setting.log,
        )
        if chief:
            return SearchResult(found.folder, (), None, None)  # the chief's machine has the journal, and makes an end
        with run_directory.lock_folder(found.folder):
            return finish_search(found)
    helps = crew.is_worker()  # for a chief elsewhere, by keras-tuner's own variables
    alone = contextlib.nullcontext() if helps else run_directory.lock_folder(found.folder)
    with alone, devices.join_workers(found.setting.strategy):
        Tuner(open_oracle(found.rules, found.space, found.folder, on_trial_end), found.space, found.setting).search()
        return SearchResult(found.folder, (), None, None) if helps else finish_search(found)


def finish_search(search: Search) -> SearchResult:
    """The result of a search whose trials have all ended: the best network retrained and tested."""
    trials = Journal(search.folder).trials
    winner = find_best_trial(trials)
    final = None
    if winner is not None and search.seeds:
        final = run_final_evaluation(search.space, search.setting, winner, search.seeds)
    return SearchResult(search.folder, trials, winner, final)
