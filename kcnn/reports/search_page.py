"""One page of a search: every figure in it is from the folder's own files, and it needs no network to be read."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

import kcnn
from kcnn.architectures.graph_diff import diff
from kcnn.architectures.spec import summary
from kcnn.atomic_io import write_text
from kcnn.graph.graph import Graph
from kcnn.search.importance import Importance, importances
from kcnn.search.journal import STATUSES, Journal, Trial
from kcnn.search.result import find_best_trial, read_request, read_result
from kcnn.search.space import Space, analyze_feasibility
from kcnn.search.space.choices import format_value

COLOURS = dict(zip(STATUSES, ("#1f77b4", "#9aa0a6", "#d62728", "#ff7f0e", "#8c564b"), strict=True))
LEADERS = 20
LINES = 8  # axes that a screen has room for
FIELDS = ("filters", "units", "kernel", "stride", "padding", "mode", "function", "rate")  # of ops, those that are shown
PAGE = Path(__file__).with_name("search.html")


def write_search_report(folder: str | Path, to: str | Path | None = None) -> Path:
    """The page of a search, in `to` or as report.html in its folder.

    FileNotFoundError or ValueError where the folder holds no search, or no trial has ended; ImportError without
    Jinja2 and Plotly, with the words to install them.
    """
    where = Path(folder)
    told = read_request(where)
    trials = Journal(where, writes=False).trials
    if not trials:
        raise ValueError(f"no trial of the search in {where} has ended yet")
    try:
        import jinja2
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError as error:
        raise ImportError(f'the page takes {error.name}, which is not installed: pip install "kcnn[search]"') from None

    space = Space.from_json(told["space"])
    winner = find_best_trial(trials)
    names = [choice.name for choice in space.all_choices]
    weighed = importances(space, trials)
    scored = sorted((t for t in trials if t.score is not None), key=lambda t: (-t.epochs, -(t.score or 0), t.number))
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["spoken"] = format_value
    page = environment.from_string(PAGE.read_text(encoding="utf-8")).render(
        title=f"{told['space']['network']} on {told['data']}",
        told=told,
        counts={status: sum(t.status == status for t in trials) for status in STATUSES},
        trials=trials,
        leaders=scored[:LEADERS],
        names=names,
        winner=winner,
        final=read_result(where),
        survey=str(analyze_feasibility(space, seed=told["seed"])),
        importances=weighed,
        figures=[_html(figure) for figure in _figures(trials, names, weighed)],
        sides=_sides(space, winner) if winner else None,
        plotly=get_plotlyjs(),
        version=kcnn.__version__,
    )
    target = Path(to) if to else where / "report.html"
    write_text(target, page)
    return target


def _figures(trials: Sequence[Trial], names: Sequence[str], weighed: Sequence[Importance]) -> list[Any]:
    first = [one.name for one in weighed] or list(names)
    found = [_over_time(trials), _curves(trials), _parallel(trials, first[:LINES])]
    if weighed:
        found.append(_bars(weighed))
    return [*found, _front(trials, "macs", "multiply-accumulates an image"), _front(trials, "params", "parameters")]


def _figure(title: str, x: str, y: str) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.update_layout(title=title, xaxis_title=x, yaxis_title=y, template="plotly_white", height=420)
    return figure


def _over_time(trials: Sequence[Trial]) -> Any:
    import plotly.graph_objects as go

    figure = _figure("Score of each trial, and the best so far", "trial", "score of its last epoch")
    for status in STATUSES:
        mine = [t for t in trials if t.status == status and t.score is not None]
        if mine:
            figure.add_trace(
                go.Scatter(
                    x=[t.number for t in mine],
                    y=[t.score for t in mine],
                    mode="markers",
                    name=status,
                    marker_color=COLOURS[status],
                    text=[_words(t) for t in mine],
                )
            )
    whole = [t for t in trials if t.score is not None]
    if whole:
        so_far = np.maximum.accumulate([t.score or 0.0 for t in whole])
        figure.add_trace(
            go.Scatter(x=[t.number for t in whole], y=so_far, mode="lines", name="best so far", line_shape="hv")
        )
    return figure


def _curves(trials: Sequence[Trial]) -> Any:
    import plotly.graph_objects as go

    figure = _figure("Score by epoch", "epoch", "score")
    for t in trials:
        if t.scores:
            first = t.epochs - len(t.scores) + 1
            figure.add_trace(
                go.Scatter(
                    x=list(range(first, t.epochs + 1)),
                    y=list(t.scores),
                    mode="lines+markers",
                    name=f"{t.number} {t.status}",
                    line_color=COLOURS[t.status],
                    opacity=0.7,
                )
            )
    return figure


def _parallel(trials: Sequence[Trial], names: Sequence[str]) -> Any:
    import plotly.graph_objects as go

    scored = [t for t in trials if t.score is not None]
    dimensions = []
    for name in names:
        values = [t.values.get(name) for t in scored]
        if all(isinstance(value, float) for value in values):
            dimensions.append({"label": name, "values": values})
            continue
        known = sorted({format_value(value) if value is not None else "-" for value in values})
        places = [known.index(format_value(value) if value is not None else "-") for value in values]
        dimensions.append({"label": name, "values": places, "tickvals": list(range(len(known))), "ticktext": known})
    dimensions.append({"label": "score", "values": [t.score for t in scored]})
    more = " of the choices that matter most" if len(names) == LINES else ""
    figure = _figure(f"Every trial as a line through its values{more}", "", "")
    figure.update_layout(margin_t=120)
    figure.add_trace(
        go.Parcoords(
            line={"color": [t.score for t in scored], "colorscale": "Viridis", "showscale": True},
            dimensions=dimensions,
            labelangle=-15,
        )
    )
    return figure


def _bars(weighed: Sequence[Importance]) -> Any:
    import plotly.graph_objects as go

    figure = _figure("Importance of each choice, with its 95 % interval", "R2 that is lost when it is shuffled", "")
    figure.update_layout(height=140 + 26 * len(weighed), yaxis={"dtick": 1, "automargin": True})
    ordered = sorted(weighed, key=lambda one: one.share)
    figure.add_trace(
        go.Bar(
            x=[one.share for one in ordered],
            y=[one.name for one in ordered],
            orientation="h",
            error_x={
                "type": "data",
                "array": [one.high - one.share for one in ordered],
                "arrayminus": [one.share - one.low for one in ordered],
            },
        )
    )
    return figure


def _front(trials: Sequence[Trial], field: str, label: str) -> Any:
    """Scores against a cost, and the line of those trials that no other beats in both."""
    import plotly.graph_objects as go

    most = max((t.epochs for t in trials), default=0)
    whole = sorted((t for t in trials if t.score is not None and t.epochs == most), key=lambda t: getattr(t, field))
    front: list[Trial] = []
    for t in whole:
        if not front or (t.score or 0) > (front[-1].score or 0):
            if front and getattr(front[-1], field) == getattr(t, field):
                front.pop()
            front.append(t)
    figure = _figure(f"Score against {label}: trials of {most} epochs", label, "score")
    figure.update_xaxes(type="log")
    for some, name, mode in ((whole, "trials", "markers"), (front, "Pareto front", "lines+markers")):
        figure.add_trace(
            go.Scatter(
                x=[getattr(t, field) for t in some],
                y=[t.score for t in some],
                mode=mode,
                name=name,
                text=[_words(t) for t in some],
            )
        )
    return figure


def _words(t: Trial) -> str:
    return "<br>".join(
        [f"trial {t.number}", *(f"{escape(name)} {format_value(value)}" for name, value in t.values.items())]
    )


def _html(figure: Any) -> str:
    return figure.to_html(full_html=False, include_plotlyjs=False, config={"responsive": True})


def _sides(space: Space, winner: Trial) -> Mapping[str, Any] | None:
    """The network as it is and the best one, layer by layer, and what sets them apart; None where it does not fit."""
    try:
        usual = space.base
    except ValueError:
        return None
    found = space.candidate(winner.values).graph
    before, after = ({row.name: row for row in summary(one) if row.op is not None} for one in (usual, found))
    names = [*before, *(name for name in after if name not in before)]
    rows = [(name, _cell(before.get(name)), _cell(after.get(name))) for name in names]
    return {
        "diff": str(diff(usual, found)),
        "rows": [(*row, row[1] != row[2]) for row in rows],
        "totals": [_totals(one) for one in (usual, found)],
    }


def _cell(row: Any) -> str:
    if row is None:
        return ""
    op = row.op
    shown = [name for name in FIELDS if hasattr(op, name)]
    said = [type(op).__name__, *(f"{name} {format_value(getattr(op, name))}" for name in shown)]
    return f"{'x'.join(map(str, row.shape))}: {', '.join(said)}"


def _totals(drawing: Graph) -> str:
    found = summary(drawing)
    rows, columns = found.receptive_field
    return f"{found.params:,} parameters, {found.macs:,} MACs, receptive field {rows}x{columns}"
