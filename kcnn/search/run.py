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

from kcnn import runs
from kcnn.data import Data, load
from kcnn.files import write_text
from kcnn.search import crew
from kcnn.search.final import finish
from kcnn.search.halving import Halving
from kcnn.search.journal import Journal, Trial
from kcnn.search.oracles import TUNERS, Book, Budget, oracle
from kcnn.search.result import CONFIG, Final, best
from kcnn.search.trial import Setting
from kcnn.search.tuner import Tuner, bounded
from kcnn.space import Range, Space, Survey, survey
from kcnn.training import Recipe, devices, request
from kcnn.training import precision as precisions
from kcnn.training import recipe as planned
from kcnn.training.run import OVERSIZE

FACTOR = 3  # of successive halving


@dataclass(frozen=True)
class Found:
    """What a search came to: every trial that has ended, the best one, and what it is worth on the test split."""

    folder: Path
    trials: Sequence[Trial]
    best: Trial | None  # None where every trial died
    final: Final | None  # None where nothing was retrained

    @property
    def counts(self) -> dict[str, int]:
        """Trials by status."""
        return {status: sum(t.status == status for t in self.trials) for status in {t.status for t in self.trials}}


@dataclass(frozen=True)
class Rules:
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
    setting: Setting
    rules: Rules
    seeds: int
    request: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        return self.setting.out


def settle(
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
    adjust: Mapping[str, Any] | None = None,
    multi_label: bool = False,
    halving: int = FACTOR,
    keep: int = 3,
    seeds: int = 3,
    seed: int = 0,
    precision: str = "auto",
    strategy: str = "auto",
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: Any = None,
    say: Callable[[str], None] = print,
) -> Search:
    """Everything that can be wrong with a request, found before anything is trained: ValueError, LookupError."""
    if tuner not in TUNERS:
        raise ValueError(f"a tuner is one of {', '.join(TUNERS)}, not {tuner!r}")
    budget = Budget(20 if trials is seconds is total_epochs is None else trials, seconds, total_epochs)
    for name, value, least in (
        ("trials", trials, 1),
        ("seconds", seconds, 0),
        ("total_epochs", total_epochs, 1),
        ("keep", keep, 0),
        ("seeds", seeds, 0),
    ):
        if value is not None and value < least:
            raise ValueError(f"{name} must be at least {least}, not {value}")
    if halving not in (0, *range(2, 11)):
        raise ValueError(f"halving is the factor of successive halving, 2 to 10, or 0 for none, not {halving}")
    words = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    plan = planned(recipe, {**(adjust or {}), **{name: value for name, value in words.items() if value is not None}})
    if plan.patience:
        raise ValueError("patience is for one training; a search stops trials by successive halving: set patience to 0")
    if {"epochs", "patience"} & {*space.training}:
        raise ValueError("epochs and patience are what trials are compared by; they cannot be searched")
    for choice in space.all:
        if choice.name in space.training:
            values = choice.values
            for value in (values.low, values.high) if isinstance(values, Range) else values:
                planned(plan, {choice.name: value})
    several = devices.strategy(strategy)
    policy = precisions.policy(precision)
    shape: Any = space.input_shape or space.base.image.shape
    if not isinstance(data, Data):
        data = load(
            data,
            input_shape=shape,
            batch_size=plan.batch_size,
            seed=seed,
            multi_label=multi_label,
            oversize=OVERSIZE if plan.augmentation.resized_crop else 1.0,
            progress=progress,
        )
    if space.input_shape and tuple(space.input_shape) != tuple(data.input_shape):
        raise ValueError(f"the space is of images of {space.input_shape}, the data of {data.input_shape}")
    if space.classes is not None and space.classes != len(data.classes):
        raise ValueError(f"the space is of {space.classes} classes, and the data has {len(data.classes)}")
    space = dataclasses.replace(space, classes=len(data.classes), input_shape=tuple(data.input_shape))
    request.refuse(data, multi_label, False, plan)
    devices.divided(several, data)
    asked = {
        "space": space.asdict(),
        "data": data.name,
        "images": {word: len(split) for word, split in data.splits.items()},
        "fingerprint": request.fingerprint(data),
        **({"multi_label": True} if data.multi_label else {}),
        "tuner": tuner,
        "halving": halving,
        "recipe_name": recipe if isinstance(recipe, str) else "own",
        "recipe": plan.asdict(),
        "seed": seed,
        "precision": policy,
        "strategy": strategy,
    }
    asked = json.loads(json.dumps(asked))
    setting = Setting(
        out=Path(out),
        data=data,
        recipe=plan,
        seed=seed,
        policy=policy,
        word=strategy,
        strategy=several,
        identity=runs.identity(asked),
        callbacks=callbacks,
        say=say,
    )
    fields = plan.asdict()
    fields = {**fields, **fields["augmentation"]}
    usual = {c.name: fields[c.name] for c in space.all if c.name in space.training and fields[c.name] in c}
    rules = Rules(setting.identity, tuner, budget, halving, keep, plan.epochs, seed, usual)
    return Search(space, setting, rules, seeds, asked)


def claim(search: Search) -> None:
    """Make the folder this search's own, or refuse it with the difference where it is another's: ValueError."""
    path = search.folder / CONFIG
    if path.exists():
        try:
            there = json.loads(path.read_text())["request"]
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{path} is not of a search of kcnn's; give another folder") from None
        if there != search.request:
            found = runs.differences(there, search.request)
            said = [f"{name} {a!r}, not {b!r}" for name, a, b in found if name != "fingerprint"]
            differ = "; ".join(said) or "other pictures or labels"
            raise ValueError(f"{search.folder} holds another search ({differ}); give another folder, or remove it")
        return
    told = {"request": search.request, "command": runs.command(), "versions": runs.versions()}
    write_text(path, json.dumps(told, indent=1))


def opened(rules: Rules, space: Space, out: Path, tell: Callable[[Trial], None] = lambda trial: None) -> Any:
    """The oracle of a search, at where its journal ends; it takes down what happens from now on."""
    worker = crew.is_worker()
    epochs, journal = rules.epochs, Journal(out, writes=not worker)
    bands = rules.tuner == "hyperband"
    keep = max(rules.keep, 2 * 3 ** int(log(epochs, 3))) if bands else rules.keep

    def told(trial: Trial) -> None:
        bounded(out, journal.trials, keep)
        tell(trial)

    book = Book(
        space=space,
        journal=journal,
        budget=rules.budget,
        halving=Halving(0 if bands else rules.halving, epochs),
        seed=rules.seed,
        usual=rules.usual,
        tell=told,
    )
    found = oracle(rules.tuner, book, rules.identity)
    if not worker:  # whose proposals are the chief's
        found.play(journal)
    return found


def search(
    space: Space,
    data: Any,
    *,
    workers: int = 1,
    isolate: bool = False,
    chief: str | None = None,
    port: int | None = None,
    tell: Callable[[Trial], None] = lambda trial: None,
    look: Callable[[Survey], None] = lambda survey: None,
    **asked: Any,
) -> Found:
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
    several = workers != 1 or isolate or chief or port
    address = crew.address(data, workers=workers, chief=chief, port=port) if several else ""
    found = settle(space, data, **asked)
    surveyed = survey(found.space, seed=found.rules.seed)
    claim(found)
    look(surveyed)
    if address:
        crew.work(
            found.space,
            data,
            found.folder,
            found.rules,
            asked,
            workers=workers,
            isolate=isolate,
            address=address,
            joins=chief is not None,
            waits=port is not None,
            tell=tell,
            say=found.setting.say,
        )
        if chief:
            return Found(found.folder, (), None, None)  # the chief's machine has the journal, and makes an end
        with runs.alone(found.folder):
            return finished(found)
    helps = crew.is_worker()  # for a chief elsewhere, by keras-tuner's own variables
    alone = contextlib.nullcontext() if helps else runs.alone(found.folder)
    with alone, devices.together(found.setting.strategy):
        Tuner(opened(found.rules, found.space, found.folder, tell), found.space, found.setting).search()
        return Found(found.folder, (), None, None) if helps else finished(found)


def finished(search: Search) -> Found:
    """The result of a search whose trials have all ended: the best network retrained and tested."""
    trials = Journal(search.folder).trials
    winner = best(trials)
    final = None
    if winner is not None and search.seeds:
        final = finish(search.space, search.setting, winner, search.seeds)
    return Found(search.folder, trials, winner, final)
