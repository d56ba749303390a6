"""The report of a search: one self-contained HTML file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kcnn.architectures.graph_diff import diff
from kcnn.architectures.spec import summary
from kcnn.atomic_io import write_text
from kcnn.graph.formatting import format_size, format_value
from kcnn.graph.graph import Graph
from kcnn.reports import search_charts
from kcnn.reports.templates import render
from kcnn.reports.train_command import format_train_command
from kcnn.search.importance import MIN_TRIALS, compute_importances
from kcnn.search.journal import STATUSES, Journal, Trial
from kcnn.search.objectives import MACS, PARAMS, Objective, read_objectives
from kcnn.search.pareto import find_complete, find_front, find_value
from kcnn.search.result import MAX_ROWS, find_best_trial, rank_trials, read_final, read_record
from kcnn.search.space import Choice, Space, analyze_feasibility

ATTRIBUTES = (
    "filters",
    "units",
    "kernel",
    "stride",
    "padding",
    "mode",
    "function",
    "rate",
)  # of ops, in the comparison of layers


def write_search_report(folder: str | Path, to: str | Path | None = None) -> Path:
    """Write the report of a search.

    Args:
        folder: Folder of the search.
        to: The file; report.html in the folder where it is None.

    Returns:
        The file.

    Raises:
        FileNotFoundError: The folder holds no search.
        ValueError: No trial has ended, or a file of the search is damaged.
    """
    root = Path(folder)
    record = read_record(root)
    request = record["request"]
    trials = Journal(root, read_only=True).trials
    if not trials:
        raise ValueError(f"no trial of the search in {root} has ended yet")
    space = Space.from_json(request["space"])
    choices = space.all_choices
    objective, *others = objectives = read_objectives(request)
    best = find_best_trial(trials, objectives)
    front = find_front(find_complete(trials), objectives) if others else []
    importances = compute_importances(space, trials)
    title, final = str(objective), read_final(root)
    heading = title[:1].upper() + title[1:]
    axes, omitted = search_charts.select_axes(trials, _rank_choices(space, importances))
    page = render(
        "search.html",
        title=f"Search of {space.name} on {request['data']}",
        request=request,
        command=record["command"],
        versions=record["versions"],
        objective=title,
        counts={status: sum(t.status == status for t in trials) for status in STATUSES},
        trials=trials,
        names=[choice.name for choice in choices],
        leaderboard=[
            (trial, objective.format_score(trial.score or 0.0), _format_values(trial, choices))
            for trial in rank_trials(trials, objectives)[:MAX_ROWS]
        ],
        objectives=objectives,
        front=[
            (trial, [one.format_value(find_value(trial, one)) for one in objectives], _format_values(trial, choices))
            for trial in front
        ],
        front_charts=[search_charts.render_pareto_front(trials, objective, one, front) for one in others],
        best=best,
        final=final,
        measured=Objective(final.objective) if final else objective,
        feasibility=str(analyze_feasibility(space, seed=request["config"]["train"]["seed"])),
        importances=importances,
        min_trials=MIN_TRIALS,
        importance_chart=search_charts.render_importances(importances) if importances else None,
        parallel=search_charts.render_parallel_coordinates(trials, axes, objective),
        omitted=omitted,
        charts={
            f"{heading} of each trial": search_charts.render_scores(trials, objective),
            f"{heading} by epoch": search_charts.render_learning_curves(trials, objective),
            **{
                f"Pareto front: {title} and {cost.title}": search_charts.render_pareto_front(trials, objective, cost)
                for cost in map(Objective, (MACS, PARAMS))
                if cost.name not in [one.name for one in others]
            },
        },
        comparison=_compare(space, best) if best else None,
        best_command=format_train_command(request, space.candidate(best.values)) if best else None,
    )
    target = Path(to) if to else root / "report.html"
    write_text(target, page)
    return target


def _rank_choices(space: Space, importances: Sequence[Any]) -> list[Choice]:
    """Return the choices, the most important first."""
    rank = {importance.name: number for number, importance in enumerate(importances)}
    return sorted(space.all_choices, key=lambda choice: rank.get(choice.name, len(rank)))


def _format_values(trial: Trial, choices: Sequence[Choice]) -> list[str]:
    return [format_value(trial.values[c.name]) if c.name in trial.values else "" for c in choices]


def _compare(space: Space, best: Trial) -> Mapping[str, Any] | None:
    """Compare the default and the best network layer by layer; None where the default one does not fit.

    Without rows the networks are identical.
    """
    try:
        default = space.base
    except ValueError:
        return None
    graph = space.candidate(best.values).graph
    before, after = ({row.name: row for row in summary(network) if row.op is not None} for network in (default, graph))
    names = [*before, *(name for name in after if name not in before)]
    rows = [(name, _format_layer(before.get(name)), _format_layer(after.get(name))) for name in names]
    return {
        "diff": str(differences := diff(default, graph)),
        "rows": [(*row, row[1] != row[2]) for row in rows] if differences else [],
        "totals": [_format_totals(network) for network in (default, graph)],
    }


def _format_layer(row: Any) -> str:
    if row is None:
        return ""
    op = row.op
    attributes = [f"{name} {format_value(getattr(op, name))}" for name in ATTRIBUTES if hasattr(op, name)]
    return f"{format_size(row.shape)}: {', '.join([type(op).__name__, *attributes])}"


def _format_totals(graph: Graph) -> str:
    totals = summary(graph)
    field = format_size(totals.receptive_field)
    return f"{totals.params:,} parameters, {totals.macs:,} MACs, receptive field {field}"
