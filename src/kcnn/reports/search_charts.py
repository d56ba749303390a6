"""Charts of a search as SVG in the colors of the page, with the values of a trial as tooltips."""

from collections.abc import Sequence
from html import escape
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from kcnn.graph.formatting import format_count, format_value
from kcnn.plots.figures import draw_interval
from kcnn.reports.charts import BLUE, CHART_STYLE, INK, ORANGE, add_tooltips, to_svg
from kcnn.search.importance import Importance
from kcnn.search.journal import STATUSES, Trial
from kcnn.search.objectives import LATENCY, MACS, PARAMS, Objective
from kcnn.search.pareto import find_front, find_value
from kcnn.search.space import Choice, Range

COLORS = dict(zip(STATUSES, (BLUE, "#8a929c", "#d0493f", ORANGE, "#a0685c"), strict=True))  # legible on white and black
SCALE = LinearSegmentedColormap.from_list("scores", (BLUE, "#8a929c", ORANGE))  # from the lowest to the highest score
COST_LABELS = {MACS: "MACs of one image", PARAMS: "parameters"}  # of axes, where it is not the name
MAX_AXES = 8  # of parallel coordinates
TOP, BOTTOM, GAP = 96, 330, 106  # of parallel coordinates, in pixels


def render_scores(trials: Sequence[Trial], objective: Objective) -> str:
    """Return the score of each trial, and the best so far, as an SVG.

    Args:
        trials: Trials by number; those without a score are left out.
        objective: What a score measures.
    """
    scored = [trial for trial in trials if trial.score is not None]
    with matplotlib.rc_context(CHART_STYLE):
        figure = Figure(figsize=(6, 3.4), layout="constrained")
        axes = figure.subplots()
        _plot_trials(axes, scored, objective)
        best = np.maximum.accumulate([trial.score or 0.0 for trial in scored] or [0.0])[: len(scored)]
        heights = [_to_height(score, objective) for score in best]
        axes.step([trial.number for trial in scored], heights, where="post", color=INK, linewidth=1)
        axes.set(xlabel="trial", ylabel=_label(f"{objective} of the last epoch", objective))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        _add_legend(axes, scored)
        return _add_tooltips(
            to_svg(figure, f"{_capitalize(objective)} of {len(scored)} trials; the line is the best so far"),
            scored,
            objective,
        )


def render_learning_curves(trials: Sequence[Trial], objective: Objective) -> str:
    """Return the score of each trial over the epochs as an SVG.

    Args:
        trials: Trials by number.
        objective: What a score measures.
    """
    trained = [trial for trial in trials if trial.scores]
    with matplotlib.rc_context(CHART_STYLE):
        figure = Figure(figsize=(6, 3.4), layout="constrained")
        axes = figure.subplots()
        for trial in trained:
            first = trial.epochs - len(trial.scores) + 1
            (line,) = axes.plot(
                range(first, trial.epochs + 1),
                [_to_height(score, objective) for score in trial.scores],
                color=COLORS[trial.status],
                marker="o",
                markersize=3,
                linewidth=1,
                alpha=0.7,
            )
            line.set_gid(f"tooltip-{trial.number}")
        axes.set(xlabel="epoch", ylabel=_label(str(objective), objective))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        _add_legend(axes, trained)
        text = f"{_capitalize(objective)} by epoch of {len(trained)} trials"
        return _add_tooltips(to_svg(figure, text), trained, objective)


def render_importances(importances: Sequence[Importance]) -> str:
    """Return the importance of each choice with its 95% interval as an SVG; significant ones are in color.

    Args:
        importances: The highest first.
    """
    with matplotlib.rc_context(CHART_STYLE):
        figure = Figure(figsize=(6, 0.8 + 0.32 * len(importances)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, color=INK, linewidth=0.8, linestyle=":")
        for y, row in enumerate(importances):
            color = ORANGE if row.significant else COLORS["pruned"]
            draw_interval(axes, y, row.importance, (row.low, row.high), color)
        axes.set_yticks(range(len(importances)), [row.name for row in importances])
        axes.set(xlabel="out-of-sample R² that the choice adds", ylim=(len(importances) - 0.4, -0.6))
        text = ", ".join(f"{row.name} {row.importance:.3f} (p = {row.p_value:.2g})" for row in importances)
        return to_svg(figure, escape(f"Importance of choices with 95% intervals: {text}"))


def render_pareto_front(
    trials: Sequence[Trial], objective: Objective, cost: Objective, front: Sequence[Trial] | None = None
) -> str:
    """Return the score against a cost and the Pareto front of both, of the trials with the most epochs, as an SVG.

    Args:
        trials: The trials.
        objective: What a score measures.
        cost: The cost, or another measure.
        front: The front of a search with these and further objectives, whose trials are in color; None for that of
            these two.
    """
    scored = [trial for trial in trials if trial.score is not None]  # others may have failed after more epochs
    epochs = max((trial.epochs for trial in scored), default=0)
    complete = [trial for trial in scored if trial.epochs == epochs]
    line = sorted(find_front(complete, (objective, cost)), key=lambda trial: find_value(trial, cost))
    on_front = {trial.number for trial in (line if front is None else front)}
    text = f"{_capitalize(objective)} against {cost.title} of {len(complete)} trials; {len(on_front)} are on the "
    with matplotlib.rc_context(CHART_STYLE):
        figure = Figure(figsize=(6, 3.4), layout="constrained")
        axes = figure.subplots()
        costs = [_to_axis(find_value(trial, cost), cost) for trial in line]
        heights = [_to_height(trial.score or 0.0, objective) for trial in line]
        of_these = "" if {trial.number for trial in line} == on_front else " of these two"
        axes.plot(costs, heights, color=ORANGE, linewidth=1, label=f"Pareto front{of_these}")
        if of_these:
            axes.plot([], [], "o", color=ORANGE, markersize=5, label="Pareto front of all objectives")
        for trial in complete:
            color = ORANGE if trial.number in on_front else BLUE
            x, y = _to_axis(find_value(trial, cost), cost), _to_height(trial.score or 0.0, objective)
            (point,) = axes.plot(x, y, "o", color=color, markersize=5)
            point.set_gid(f"tooltip-{trial.number}")
        axes.set(
            xlabel=_label(COST_LABELS.get(cost.name, str(cost)), cost),
            ylabel=_label(f"{objective} after {epochs} epochs", objective),
        )
        if cost.is_cost:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: _format_tick(value))
            axes.xaxis.set_minor_formatter(
                NullFormatter() if costs and max(costs) > 4 * min(costs) else axes.xaxis.get_major_formatter()
            )
        axes.legend(frameon=False)
        return _add_tooltips(to_svg(figure, f"{text}Pareto front"), complete, objective)


def _format_tick(value: float) -> str:
    """A number of parameters or MACs, or of milliseconds."""
    return format_count(value) if value >= 100 else f"{value:.2g}"


def select_axes(trials: Sequence[Trial], choices: Sequence[Choice]) -> tuple[list[Choice], list[str]]:
    """Return the choices that have an axis in parallel coordinates, and the names of all others.

    Args:
        trials: The trials.
        choices: The choices, the most important first; one that no trial with a score has needs no axis.
    """
    scored = [trial for trial in trials if trial.score is not None]
    occurring = [choice for choice in choices if any(choice.name in trial.values for trial in scored)]
    selected = occurring[:MAX_AXES]
    return selected, [choice.name for choice in choices if choice not in selected]


def render_parallel_coordinates(trials: Sequence[Trial], selected: Sequence[Choice], objective: Objective) -> str:
    """Return parallel coordinates as an SVG: each trial is a line through its values to its score.

    Args:
        trials: The trials; those without a score are left out.
        selected: The choices that have an axis, from `select_axes`.
        objective: What a score measures.
    """
    scored = sorted((t for t in trials if t.score is not None), key=lambda t: t.score or 0)
    scores = [trial.score or 0.0 for trial in scored]
    low, high = min(scores, default=0.0), max(scores, default=1.0)
    rank = {trial.number: (trial.score or 0.0) - low for trial in scored}
    axes = [_scale_choice(choice) for choice in selected]
    ticks = {0.0: objective.format_score(low), 1.0: objective.format_score(high)}
    axes.append((lambda trial: rank[trial.number] / (high - low or 1), ticks))
    names = [*(choice.name for choice in selected), str(objective)]
    lines = []
    for trial in scored:
        heights = [position(trial) for position, _ in axes]
        points = " ".join(f"{_to_x(n)},{_to_y(height):.1f}" for n, height in enumerate(heights))
        color = matplotlib.colors.to_hex(SCALE(rank[trial.number] / (high - low or 1)))
        data = " ".join(f"{height:.4f}" for height in heights)
        title = escape(_describe(trial, objective))
        lines.append(
            f'<polyline points="{points}" stroke="{color}" data-heights="{data}"><title>{title}</title></polyline>'
        )
    marks = []
    for n, (name, (_, ticks)) in enumerate(zip(names, axes, strict=True)):
        texts = "".join(
            f'<text x="{_to_x(n) + 6}" y="{_to_y(height) + 4:.1f}">{escape(text)}</text>'
            for height, text in ticks.items()
        )
        marks.append(
            f'<line x1="{_to_x(n)}" x2="{_to_x(n)}" y1="{TOP}" y2="{BOTTOM}"/>'
            f'<text class="name" transform="translate({_to_x(n)} {TOP - 12}) rotate(-24)">{escape(name)}</text>{texts}'
            f'<rect class="brush" x="{_to_x(n) - 8}" width="16" y="0" height="0"/>'
            f'<rect class="axis" data-axis="{n}" x="{_to_x(n) - 14}" width="28" y="{TOP - 8}" '
            f'height="{BOTTOM - TOP + 16}"/>'
        )
    width = _to_x(len(axes) - 1) + 150
    alt = f"Parallel coordinates of {len(scored)} trials over {', '.join(names)}"
    return (
        f'<svg class="parallel" viewBox="0 0 {width} {BOTTOM + 20}" width="{width}" data-top="{TOP}" '
        f'data-bottom="{BOTTOM}" role="img" aria-label="{escape(alt)}">{"".join(lines)}{"".join(marks)}</svg>'
    )


def _to_x(axis: int) -> int:
    return 30 + GAP * axis


def _to_y(height: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * height


def _scale_choice(choice: Choice) -> tuple[Any, dict[float, str]]:
    """Return a function of the height of a trial on the axis of a choice, from 0 to 1, and its ticks."""
    values = choice.values
    if isinstance(values, Range):
        scale = np.log if values.log else float
        low, high = scale(values.low), scale(values.high)
        ticks = {0.0: format_value(values.low), 1.0: format_value(values.high)}

        def position(trial: Trial) -> float:
            value = trial.values.get(choice.name)
            return -0.08 if value is None else float((scale(value) - low) / (high - low))  # below the axis: inactive

        return position, ticks
    if all(isinstance(value, int | float) for value in values):  # as numbers, in whatever order they were given
        values = tuple(sorted(values))
    heights = {format_value(value): n / max(1, len(values) - 1) for n, value in enumerate(values)}

    def position_of_value(trial: Trial) -> float:
        return heights[format_value(trial.values[choice.name])] if choice.name in trial.values else -0.08

    return position_of_value, {height: text for text, height in heights.items()}


def _plot_trials(axes: Any, trials: Sequence[Trial], objective: Objective) -> None:
    """Plot a point for each trial, with an id by which it gets its tooltip."""
    for trial in trials:
        height = _to_height(trial.score or 0.0, objective)
        (point,) = axes.plot(trial.number, height, "o", color=COLORS[trial.status], markersize=5)
        point.set_gid(f"tooltip-{trial.number}")


def _add_legend(axes: Any, trials: Sequence[Trial]) -> None:
    present = {trial.status for trial in trials}
    for status, color in COLORS.items():
        if status in present:
            axes.plot([], [], "o", color=color, label=status.replace("_", " "))
    if len(present) > 1:
        axes.legend(frameon=False)


def _add_tooltips(svg: str, trials: Sequence[Trial], objective: Objective) -> str:
    return add_tooltips(svg, {trial.number: _describe(trial, objective) for trial in trials})


def _describe(trial: Trial, objective: Objective) -> str:
    values = [f"{name} {format_value(value)}" for name, value in trial.values.items()]
    return "\n".join([f"trial {trial.number}: {objective.format_score(trial.score or 0.0)}, {trial.status}", *values])


def _to_height(score: float, objective: Objective) -> float:
    """A score as it is on an axis: in percent, or in the objective's own unit."""
    return _to_axis(objective.to_value(score), objective)


def _to_axis(value: float, objective: Objective) -> float:
    return value * (100 if objective.is_fraction else 1)


def _label(text: str, objective: Objective) -> str:
    unit = "ms" if objective.name == LATENCY else "%" if objective.is_fraction else ""
    return f"{text}, {unit}" if unit else text


def _capitalize(objective: Objective) -> str:
    text = str(objective)
    return text[:1].upper() + text[1:]
