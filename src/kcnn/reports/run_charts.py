"""Charts of several runs: accuracy against cost, and learning curves over one another."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from kcnn.graph.formatting import format_count, shorten_names
from kcnn.reports.charts import BLUE, CHART_STYLE, INK, PALETTE, add_tooltips, to_svg
from kcnn.reports.significance import RunRow

MAX_NAMES, MAX_CURVES = 30, len(PALETTE)  # runs that are named in a plot, and whose curves are drawn: the best
LINE = 0.2  # inches of a line of text
WIDTH = 28  # characters of a name


def render_cost(runs: Sequence[tuple[str, RunRow]], cost: str, label: str) -> str:
    """Return test accuracy with 95% intervals against a cost as an SVG.

    The names stand below one another at the right, each with a line to its point.

    Args:
        runs: Names and results, at least one.
        cost: The attribute of a run, "macs" or "params".
        label: The label of its axis.
    """
    ranked = sorted(runs, key=lambda run: -run[1].accuracy)
    count = min(len(ranked), MAX_NAMES)
    with matplotlib.rc_context(CHART_STYLE):
        figure = Figure(figsize=(6, max(3.4, 0.9 + LINE * count)), layout="constrained")
        axes = figure.subplots()
        axes.set(xlabel=label, ylabel="test accuracy, %", xscale="log")
        for number, (_, run) in enumerate(ranked):
            x, y = max(getattr(run, cost), 1), 100 * run.accuracy
            axes.plot([x, x], [100 * run.low, 100 * run.high], color=BLUE, linewidth=1, alpha=0.5)
            (point,) = axes.plot(x, y, "o", color=BLUE, markersize=5)
            point.set_gid(f"tooltip-{number}")
        costs = [max(getattr(run, cost), 1) for _, run in runs]
        if max(costs) <= 1.5 * min(costs):
            axes.set_xlim(min(costs) / 2, max(costs) * 2)
        axes.xaxis.set_major_formatter(lambda value, _: format_count(value))
        is_wide = max(costs) > 10 * min(costs)
        axes.xaxis.set_minor_formatter(NullFormatter() if is_wide else axes.xaxis.get_major_formatter())
        axes.tick_params(axis="x", which="both", labelrotation=0 if is_wide else 40)
        _write_names(axes, ranked[:count], cost)
        text = ", ".join(f"{name} {run.accuracy:.2%} at {format_count(getattr(run, cost))}" for name, run in ranked)
        svg = to_svg(figure, escape(f"Test accuracy against {label}: {text}"))
        return add_tooltips(svg, {n: _describe(name, run) for n, (name, run) in enumerate(ranked)})


def _write_names(axes: Any, runs: Sequence[tuple[str, RunRow]], cost: str) -> None:
    """Write the names of runs, the best first, at the right of the axes, evenly spaced, with a line to each point."""
    names = shorten_names([name for name, _ in runs], WIDTH)
    for n, (name, (_, run)) in enumerate(zip(names, runs, strict=True)):
        axes.annotate(
            name,
            (max(getattr(run, cost), 1), 100 * run.accuracy),
            xytext=(1.03, 1 - (n + 0.5) / len(names)),
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.4, "alpha": 0.5, "shrinkB": 3},
        )


def _describe(name: str, run: RunRow) -> str:
    return (
        f"{name}: {run.accuracy:.2%} ({run.low:.2%} to {run.high:.2%})\n{run.network} on {run.data}\n"
        f"{run.params:,} parameters, {run.macs:,} MACs"
    )


def render_learning_curves(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> Mapping[str, Any] | None:
    """Return the learning curves of runs over one another: validation in full lines, training in dotted ones.

    Args:
        histories: A row for each epoch, by name of the run.

    Returns:
        "charts": SVGs of the loss and of the accuracy (or average precision); "legend": (color, name); "omitted":
        number of runs that are not drawn, those with the lowest. None without a history.
    """
    measured = {name: (rows, _find_measure(rows[0])) for name, rows in histories.items() if rows}
    if not measured:
        return None
    best = {name: max(_select(rows, measure)) for name, (rows, measure) in measured.items()}
    shown = sorted(sorted(measured, key=lambda name: -best[name])[:MAX_CURVES], key=list(measured).index)
    colors = dict(zip(shown, PALETTE, strict=False))
    measures = dict.fromkeys(("loss", *(measured[name][1] for name in shown)))
    charts = []
    for measure in measures:
        with matplotlib.rc_context(CHART_STYLE):
            figure = Figure(figsize=(6, 3.4), layout="constrained")
            axes = figure.subplots()
            for name in shown:
                rows = measured[name][0]
                if measure not in rows[0]:
                    continue
                epochs = [row["epoch"] for row in rows]
                axes.plot(epochs, _select(rows, measure), color=colors[name], linewidth=1.4, marker=".", markersize=4)
                if f"val_{measure}" in rows[0]:
                    training = [row[measure] for row in rows]
                    axes.plot(epochs, training, color=colors[name], linewidth=1, linestyle=":", alpha=0.8)
            label = measure.replace("_", " ")
            axes.set(xlabel="epoch", ylabel=label)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            charts.append(to_svg(figure, f"{label.capitalize()} by epoch of {len(shown)} runs"))
    legend = [(colors[name], name) for name in shown]
    return {"charts": charts, "legend": legend, "omitted": len(measured) - len(shown)}


def _find_measure(row: Mapping[str, float]) -> str:
    return "average_precision" if "average_precision" in row else "accuracy"


def _select(rows: Sequence[Mapping[str, float]], measure: str) -> list[float]:
    """The values in validation; in training where there was none."""
    key = f"val_{measure}" if f"val_{measure}" in rows[0] else measure
    return np.array([row[key] for row in rows]).tolist()
