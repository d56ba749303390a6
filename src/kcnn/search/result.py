"""Results of a search in its folder: the request, the best trial, the final evaluation. No Keras here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kcnn.atomic_io import parse_json
from kcnn.graph.arguments import check_keywords
from kcnn.graph.formatting import format_number, format_table, format_value, format_values
from kcnn.run_folders import FINAL, SEARCH
from kcnn.search.journal import Trial
from kcnn.search.objectives import ACCURACY, MACS, PARAMS, Objective
from kcnn.search.pareto import find_complete, find_front, find_value, list_scores
from kcnn.training import run_directory, run_schema

if TYPE_CHECKING:
    from kcnn.statistics import PairedDifference

WEIGHTS = "weights_path"  # field of the record: where the weights are from which the trials start
DEFAULT, UNTUNED = "default network", "default network and training"  # contenders, beside BEST
NETWORK, TRAINING = "network", "training"  # what two contenders differ in
MAX_ROWS = 20  # of a leaderboard


@dataclass(frozen=True)
class Contender:
    """Test results of one network of the final evaluation.

    Attributes:
        name: BEST, DEFAULT or UNTUNED.
        scores: Value of the objective on the test split, of each seed; a loss is not negated.
        score: Their mean.
        params: Trainable parameters.
        macs: Multiply-accumulates of one image.
        folders: Folders of the runs, relative to that of the search.
    """

    name: str
    scores: tuple[float, ...]
    score: float
    params: int
    macs: int
    folders: tuple[str, ...]


@check_keywords
@dataclass(frozen=True)
class FinalComparison:
    """The test results of two contenders that differ in one thing.

    Attributes:
        subject: What differs: NETWORK, with the same training values, or TRAINING, on the default network.
        first: Name of the contender with what the search chose.
        second: Name of the contender with the default.
        points: Mean difference in percentage points; in its own unit where the objective is no fraction.
        paired: The difference over seeds with its interval, and p adjusted for the number of comparisons; None with
            one seed.
        objective: Name of the objective.
    """

    subject: str
    first: str
    second: str
    points: float
    paired: "PairedDifference | None" = None
    objective: str = ACCURACY

    def __str__(self) -> str:
        objective = Objective(self.objective)
        show = objective.format_difference
        difference = f"{show(self.points)} {'points' if objective.is_fraction else objective.title}"
        if self.paired is not None:
            verdict = "significant" if self.paired.significant else "not significant"
            interval = f"({show(self.paired.low)} to {show(self.paired.high)})"
            difference = f"{difference} {interval}, {verdict} (p = {self.paired.p:.2g})"
        if self.subject == NETWORK:
            return f"best against default network, trained alike: {difference}"
        return f"tuned against default training values, on the default network: {difference}"


@check_keywords
@dataclass(frozen=True)
class FinalEvaluation:
    """Test results of the best network and the default one, trained alike with the same seeds.

    Attributes:
        trial: Number of the best trial.
        contenders: The best network; the default one with the same training values, unless it is the best one or cannot
            be built; and the default network with the default training values where the search tuned those.
        comparisons: Of pairs of contenders that differ in one thing.
        unchanged: Whether the best network is the default one.
        problems: Contenders whose training failed, and why, by name.
        objective: Name of the objective of the search, which the test measures too.
    """

    trial: int
    contenders: tuple[Contender, ...]
    comparisons: tuple[FinalComparison, ...] = ()
    unchanged: bool = False
    problems: Mapping[str, str] = field(default_factory=dict)
    objective: str = ACCURACY

    def __str__(self) -> str:
        objective = Objective(self.objective)
        lines = [
            f"{one.name}: test {objective.title} {objective.format_value(one.score)}{_list_seeds(one, objective)}, "
            f"{one.params:,} parameters, {one.macs:,} MACs"
            for one in self.contenders
        ]
        lines += [f"{name}: its training failed: {problem}" for name, problem in self.problems.items()]
        if self.unchanged:
            lines.append("the best network in validation is the default one")
        return "\n".join([*lines, *map(str, self.comparisons)])


def _list_seeds(contender: Contender, objective: Objective) -> str:
    """The value of each seed in brackets; nothing for one seed."""
    values = contender.scores
    return f" ({', '.join(map(objective.format_value, values))})" if len(values) > 1 else ""


@check_keywords
@dataclass(frozen=True, repr=False)
class SearchResult:
    """Result of a search.

    Attributes:
        folder: Folder of the search.
        trials: The trials that have ended, by number.
        best: The best trial; None where all failed. Of several objectives the first decides, and the next between
            equal ones.
        final: The final evaluation of the best trial; None where it was skipped.
        objective: What the score of a trial measures.
        others: The other objectives of a Pareto search.
    """

    folder: Path
    trials: Sequence[Trial]
    best: Trial | None
    final: FinalEvaluation | None
    objective: Objective = field(default_factory=Objective)
    others: Sequence[Objective] = ()

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """All objectives, the first of which ranks trials."""
        return (self.objective, *self.others)

    @property
    def pareto(self) -> list[Trial]:
        """The Pareto front on the validation split: the complete trials that no other beats in all objectives.

        None is as good in every objective and better in one. They are sorted by the first objective, the best first.
        """
        return find_front(find_complete(self.trials), self.objectives)

    @property
    def counts(self) -> dict[str, int]:
        """Number of trials by status."""
        return {status: sum(t.status == status for t in self.trials) for status in {t.status for t in self.trials}}

    @property
    def leaderboard(self) -> list[Trial]:
        """The trials with a score, the best first: more epochs come before a higher score."""
        return rank_trials(self.trials, self.objectives)

    def _format_score(self, trial: Trial) -> str:
        return self.objective.format_score(trial.score or 0.0)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {status}" for status, count in sorted(self.counts.items())) or "no trials"
        best = f"; best trial {self.best.number}: {self.objective} {self._format_score(self.best)}" if self.best else ""
        return f"<SearchResult {self.folder}: {counts}{best}>"

    def __str__(self) -> str:
        lines = [repr(self)]
        lines += [
            f"{t.number:>4} {t.status:<7} {self._format_score(t):>8} {format_number(t.epochs, 'epoch'):>9}  "
            f"{format_values(t.values)}"
            for t in self.leaderboard[:MAX_ROWS]
        ]
        front = [format_front(self.pareto, self.objectives)] if self.others and self.pareto else []
        return "\n".join([*lines, *front, *([str(self.final)] if self.final else [])])

    def _repr_html_(self) -> str:
        names = list(dict.fromkeys(name for trial in self.trials for name in trial.values))
        shown = [one for one in self.others if one.name not in (MACS, PARAMS)]
        front = {trial.number for trial in self.pareto} if self.others else set()
        heads = ("trial", "status", str(self.objective), *map(str, shown), "epochs", "params", "MACs", *names)
        rows = []
        for t in self.leaderboard[:MAX_ROWS]:
            values = [format_value(t.values[name]) if name in t.values else "" for name in names]
            status = f"{t.status}, on the Pareto front" if t.number in front else t.status
            others = [one.format_value(find_value(t, one)) for one in shown]
            costs = [f"{t.params:,}", f"{t.macs:,}"]
            rows.append([t.number, status, self._format_score(t), *others, t.epochs, *costs, *values])
        head = "".join(f"<th>{escape(name)}</th>" for name in heads)
        body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
        final = "".join(f"<br>{escape(line)}" for line in str(self.final).splitlines()) if self.final else ""
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return f"<p>{escape(repr(self))}{final}</p>{table}"


def format_front(front: Sequence[Trial], objectives: Sequence[Objective]) -> str:
    """Return a Pareto front as lines of text.

    Args:
        front: Its trials, from `find_front`.
        objectives: The objectives.
    """
    rows = [
        [str(t.number), *(one.format_value(find_value(t, one)) for one in objectives), format_values(t.values)]
        for t in front[:MAX_ROWS]
    ]
    table = format_table(["trial", *map(str, objectives), "values"], rows, left=["values"])
    more = [f"and {len(front) - MAX_ROWS} more"] if len(front) > MAX_ROWS else []
    return "\n".join([f"Pareto front, on the validation split: {format_number(len(front), 'trial')}", table, *more])


def rank_trials(trials: Sequence[Trial], objectives: Sequence[Objective] = (Objective(),)) -> list[Trial]:
    """Return the trials with a score, the best first: more epochs come before a higher score.

    The final training takes all epochs, and a trial that was stopped early was worse, at that epoch, than those that
    continued: a score after fewer epochs that is higher says that the others became worse since, as it might have.

    Args:
        trials: The trials.
        objectives: The first decides, and the next between equal trials, so that the best one is on the Pareto front.
    """
    scored = [trial for trial in trials if trial.score is not None]
    return sorted(scored, key=lambda t: (-t.epochs, [-score for score in list_scores(t, objectives)], t.number))


def find_best_trial(trials: Sequence[Trial], objectives: Sequence[Objective] = (Objective(),)) -> Trial | None:
    """Return the trial with the highest score among those with the most epochs; None where all failed.

    Args:
        trials: The trials.
        objectives: The first decides, and the next between equal trials.
    """
    return next(iter(rank_trials(trials, objectives)), None)


def read_final(folder: Path) -> FinalEvaluation | None:
    """Return the final evaluation of a search; None before it.

    Args:
        folder: Folder of the search.

    Raises:
        ValueError: The file is damaged.
    """
    path = folder / FINAL
    if not path.exists():
        return None
    from kcnn.statistics import PairedDifference  # with NumPy, which listing commands do without

    try:
        record = parse_json(path.read_text())
        if problem := next(run_schema.find_mismatches(record, run_schema.FINAL), None):
            raise KeyError(problem)
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{path} is damaged ({error.args[0]}); run the search again, which trains nothing twice"
        ) from None
    record = run_directory.check_values(path, record, "remove it and run the search again, which trains nothing twice")
    try:
        contenders = tuple(
            Contender(**{**one, "scores": tuple(one["scores"]), "folders": tuple(one["folders"])})
            for one in record["contenders"]
        )
        comparisons = tuple(
            FinalComparison(**{**one, "paired": PairedDifference(**one["paired"]) if one["paired"] else None})
            for one in record["comparisons"]
        )
        return FinalEvaluation(**{**record, "contenders": contenders, "comparisons": comparisons})
    except (KeyError, TypeError):
        raise ValueError(f"{path} is damaged, or of another version of kcnn; run the search again") from None


def read_request(folder: Path) -> Mapping[str, Any]:
    """Return the request of a search: space, config, and facts of the data.

    Args:
        folder: Folder of the search.

    Raises:
        FileNotFoundError: The folder holds no search.
        ValueError: The file is damaged, or an older version of kcnn wrote it.
    """
    return read_record(folder)["request"]


def read_record(folder: Path) -> Mapping[str, Any]:
    """Return the record of a search: its request, command, and versions of libraries.

    Args:
        folder: Folder of the search.

    Raises:
        FileNotFoundError: The folder holds no search.
        ValueError: The file is damaged, or an older version of kcnn wrote it.
    """
    path = folder / SEARCH
    if not path.exists():
        raise FileNotFoundError(f"{folder} holds no search: {SEARCH} is missing")
    try:
        record = parse_json(path.read_text())
        request = record["request"]
        is_complete = {"space", "config", "data"} <= set(request) and "spec" in request["space"]
        is_complete = is_complete and {"command", "versions"} <= set(record)
    except (ValueError, KeyError, TypeError):
        is_complete = False
    if not is_complete:
        raise ValueError(f"{path} was not written by this version of kcnn; choose another folder, or remove {folder}")
    record = run_directory.check_values(path, record, "search with the settings that you want into another folder")
    if problem := next(run_schema.find_mismatches(record, run_schema.SEARCH), None):
        raise ValueError(f"{path} is damaged: {problem}; restore it, or search again into another folder")
    return record


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record of a search, with a checksum.

    Args:
        folder: Folder of the search.
        record: Its request, command, and versions of libraries; and where its data is.
    """
    run_directory.write_values(folder / SEARCH, record)
