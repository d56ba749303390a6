"""How a search is run: the record that a search, its workers and the command line hold and pass. No Keras here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from kcnn.distribute.cluster import START_ONCE, require_one_process
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import MAX_SEED, check_integer, check_type
from kcnn.graph.names import unknown
from kcnn.graph.overrides import to_builtin
from kcnn.search.environment import is_worker
from kcnn.search.objectives import LATENCY, OBJECTIVES, check_objectives, name_objective
from kcnn.training.config import TrainConfig

if TYPE_CHECKING:
    import numpy as np

    Measure = Callable[[np.ndarray, np.ndarray], float]

OPTUNA_TUNERS = ("optuna:tpe", "optuna:nsga2", "optuna:random")
TUNERS = ("random", "bayesian", "hyperband", "grid", *OPTUNA_TUNERS)
PARETO_TUNERS = ("random", "grid", *OPTUNA_TUNERS)  # for several objectives
HALVING = 3  # the reduction factor where there is one objective
MAX_WORKERS = 1_000
TRIALS = 20  # where there is no budget
IN_PARALLEL = (
    "run trials in parallel with workers (--workers), on several machines with port and chief (--port, --chief)"
)
SHORTER = 3  # epochs of a recipe by those from weights
UNUSED = ("auto_batch_size", "tensorboard", "load_head", "phase", "cache_features")  # fields of `train`


@check_arguments(within={"train=TrainConfig({}=...)": [f.name for f in fields(TrainConfig)]})
@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Define how a search is run: tuner, budget, pruning, final evaluation, training, workers.

    Args:
        tuner: "random", "bayesian", "hyperband" or "grid"; or a sampler of Optuna: "optuna:tpe", "optuna:nsga2" or
            "optuna:random".
        objective: What the score of a trial measures on the validation split: "accuracy", "balanced_accuracy",
            "macro_f1", "average_precision" (several labels per image), "loss" (the cross-entropy), or a function of
            (labels, probabilities) whose value is the higher the better. "auto" is the average precision for several
            labels, the balanced accuracy where one class has more than twice as many training images as another, and
            else the accuracy. A sequence makes it a Pareto search: the first is such a measure, and others may also be
            costs of the network, "-macs", "-params", or "-latency", the milliseconds of one image in LiteRT on this
            machine. No trial is then stopped early, and the tuner is random, grid or one of Optuna's.
        trials: Budget of trials; 20 where there is no budget at all.
        time_budget: Budget of wall-clock time, in seconds in which the search runs: added up over restarts, and counted
            once where trials run in parallel.
        total_epochs: Budget of epochs over all trials; with folds those of each count.
        reduction_factor: Successive halving: after epochs 1, f, f * f, ... a trial continues only if it is among the
            best 1/f so far; 0 for none, and with several objectives. Hyperband has its own.
        keep_checkpoints: Number of best trials whose checkpoints are kept; with several objectives those of the whole
            Pareto front are, too, unless it is 0.
        final_seeds: Seeds of the final training of the best and the default network; 0 skips it.
        train: How each trial is trained, by the recipe "quick" where it says "auto"; its seed is also that of the
            proposals. With folds, the score of a trial is the mean over a training for each.
        weights: Pretrained weights of the network, by name or in a file, from which every trial starts: morphed as by
            `kcnn.weights.morph_weights`. A recipe given by name then has no warm-up, and a third of its epochs unless
            `train` sets them.
        workers: Processes that run trials in parallel, each with a GPU or a share of the CPU cores.
        process_per_trial: Whether each trial runs in a new process.
        chief: "HOST:PORT" of a search on another machine that this one joins.
        port: Port on which workers of other machines join this search.

    Raises:
        TypeError: `train` is no TrainConfig.
        UnknownNameError: The tuner or the objective is unknown.
        ValueError: A value is out of range, or has no meaning in a search.
    """

    tuner: str = "random"
    objective: "str | Measure | Sequence[str | Measure]" = "auto"
    trials: int | None = None
    time_budget: float | None = None
    total_epochs: int | None = None
    reduction_factor: int = HALVING
    keep_checkpoints: int = 3
    final_seeds: int = 3
    train: TrainConfig = field(default_factory=TrainConfig)
    weights: str | None = None
    workers: int = 1
    process_per_trial: bool = False
    chief: str | None = None
    port: int | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            object.__setattr__(self, item.name, to_builtin(getattr(self, item.name)))
        check_type("train", self.train, TrainConfig)
        if self.train.recipe == "auto":  # trials are many, and short
            object.__setattr__(self, "train", replace(self.train, recipe="quick"))
        if self.weights is not None:
            object.__setattr__(self, "weights", str(self.weights))
            object.__setattr__(self, "train", _shorten(self.train))
        if self.tuner not in TUNERS:
            raise unknown("tuner", self.tuner, TUNERS)
        object.__setattr__(self, "objective", check_objectives(self.objective))
        if len(self.objectives) > 1:
            self._check_several()
        for name, least in (
            ("trials", 1),
            ("time_budget", 0),
            ("total_epochs", 1),
            ("keep_checkpoints", 0),
            ("final_seeds", 0),
            ("workers", 1),
        ):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if self.reduction_factor not in (0, *range(2, 11)):
            raise ValueError(f"reduction_factor must be 2 to 10, or 0 for none, got {self.reduction_factor}")
        if self.port is not None:
            check_integer("port", self.port, 1, "an integer from 1 to 65535", maximum=65535)
        check_integer("workers", self.workers, 1, f"an integer from 1 to {MAX_WORKERS}", maximum=MAX_WORKERS)
        if self.train.seed + self.final_seeds > MAX_SEED:
            raise ValueError(f"seed must leave room for {self.final_seeds} final seeds, got {self.train.seed}")
        if self.chief and self.port:
            raise ValueError("chief joins a search of another machine, and port waits for workers; set one of them")
        host, _, number = (self.chief or "HOST:0").rpartition(":")
        if not host or not number.isdigit():
            raise ValueError(f"chief must be HOST:PORT, got {self.chief!r}")
        if (own := next((one for one in self.objectives if not isinstance(one, str)), None)) and self.uses_processes:
            raise ValueError(
                f"the objective {name_objective(own)} is a function of this process, and trials run in "
                f"others; choose from {', '.join(OBJECTIVES)}, or run trials in this process, without workers, "
                "process_per_trial, chief and port"
            )
        for name in UNUSED:
            if getattr(self.train, name) != getattr(TrainConfig(), name):
                raise ValueError(f"{name} has no meaning in a search; remove it from the TrainConfig")
        if self.train.strategy == "multiworker":
            raise ValueError(f'strategy "multiworker" has no meaning in a search; {IN_PARALLEL}')
        if self.train.resolved_recipe.patience:
            raise ValueError("a search stops trials by successive halving, not by early stopping; set patience to 0")

    def _check_several(self) -> None:
        """Refuse what compares trials by one number, and turn successive halving off."""
        if self.tuner not in PARETO_TUNERS:
            raise ValueError(
                f"the tuner {self.tuner} takes one objective, got {', '.join(map(name_objective, self.objectives))}; "
                f"for several choose from {', '.join(PARETO_TUNERS)}"
            )
        if self.reduction_factor not in (0, HALVING):
            raise ValueError(
                f"successive halving compares one objective, and a cheap network that it stops may be on the Pareto "
                f"front: remove reduction_factor {self.reduction_factor}, or name one objective"
            )
        object.__setattr__(self, "reduction_factor", 0)
        if LATENCY in self.objectives and (self.workers > 1 or self.chief or self.port is not None):
            raise ValueError(
                f"{LATENCY} is measured on this machine while no other trial runs; remove workers, chief and port, or "
                f"choose -macs"
            )

    @property
    def objectives(self) -> "tuple[str | Measure, ...]":
        """The objectives, the first of which ranks trials; one alone is a tuple of one."""
        return self.objective if isinstance(self.objective, tuple) else (self.objective,)

    def check_process(self) -> None:
        """Refuse to start where this process is a worker of a training: each would start the search.

        A worker that joins a chief may be one of several tasks of Slurm where its strategy does not join them.

        Raises:
            ValueError: TF_CONFIG or Slurm makes this process one of several workers.
        """
        joins_chief = bool(self.chief) or is_worker()
        if self.train.strategy == "auto" or not joins_chief:
            require_one_process("a search", f"{START_ONCE}; {IN_PARALLEL}")

    @property
    def max_trials(self) -> int | None:
        """The budget of trials; None for no limit."""
        return TRIALS if self.trials is self.time_budget is self.total_epochs is None else self.trials

    @property
    def uses_processes(self) -> bool:
        """Whether trials run in other processes than this one."""
        return self.workers > 1 or self.process_per_trial or bool(self.chief) or self.port is not None

    def describe(self) -> dict[str, Any]:
        """Return what tells one search from another, as JSON values; budgets and workers may differ."""
        names = list(map(name_objective, self.objectives))
        return {
            "tuner": self.tuner,
            "objective": names[0] if len(names) == 1 else names,
            "reduction_factor": self.reduction_factor,
            "train": self.train.describe(),
        }

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values; fields with their default values are left out."""
        default = SearchConfig()
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "train"}
        changed = {name: value for name, value in values.items() if value != getattr(default, name)}
        train = self.train.to_json()
        return {**changed, "train": train} if train else changed

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "SearchConfig":
        """Return the record that `to_json` or `describe` wrote.

        Args:
            values: Fields by name; those that are missing have their default values.

        Raises:
            UnknownNameError: A field is unknown.
        """
        known = [f.name for f in fields(cls)]
        for name in values:
            if name not in known:
                raise unknown("search config key", name, known)
        return cls(**{**values, "train": TrainConfig.from_json(values.get("train", {}))})

    def diff(self, other: "SearchConfig") -> list[tuple[str, Any, Any]]:
        """Return (field, value here, value of the other) for each field that differs, such as "train.seed"."""
        pairs = ((f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self) if f.name != "train")
        own = [(name, here, there) for name, here, there in pairs if here != there]
        return own + [(f"train.{name}", here, there) for name, here, there in self.train.diff(other.train)]


def _shorten(train: TrainConfig) -> TrainConfig:
    """A training that starts from weights: without warm-up and with a third of the epochs, unless these are set."""
    if not isinstance(train.recipe, str):
        return train
    overrides = {"warmup": 0.0, **train.recipe_overrides}
    if train.epochs is None and "epochs" not in overrides:
        overrides["epochs"] = max(1, train.resolved_recipe.epochs // SHORTER)
    return replace(train, recipe_overrides=overrides)
