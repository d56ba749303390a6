"""Charts of a run as SVG that takes the colors of the page, with Matplotlib."""

import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kcnn.plots.figures import STYLE, draw_interval, show_names_as_they_are
from kcnn.statistics import wilson_interval

INK = "#010203"  # replaced by the page's text color
BLUE, ORANGE = "#3b82c4", "#d9822b"  # legible on white and on black
PALETTE = (BLUE, ORANGE, "#3f9c5a", "#c2504a", "#8e6bbf", "#a0785c", "#c766a6", "#7a828c", "#9a971f", "#2ba3a8")
BINS = 15  # of confidence, as in arXiv:1706.04599, section 5
CHART_STYLE: Any = {
    **STYLE,
    "svg.fonttype": "none",
    "svg.hashsalt": "kcnn",
    "font.family": "sans-serif",
    "axes.prop_cycle": f"cycler(color={[BLUE, ORANGE]})",
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
}


def render_curves(history: Sequence[Mapping[str, float]], best: int) -> list[str]:
    """Return curves over epochs as SVG: loss, accuracy or average precision, learning rate and images per second.

    Args:
        history: A row of metrics for each epoch.
        best: The best epoch, which is marked.
    """
    measure = "average_precision" if "average_precision" in history[0] else "accuracy"
    return [_render_curve(history, name, best) for name in ("loss", measure, "learning_rate", "images_per_second")]


def _render_curve(history: Sequence[Mapping[str, float]], name: str, best: int) -> str:
    epochs, label = [row["epoch"] for row in history], name.replace("_", " ")
    lines = [
        (split, [row[key] for row in history])
        for key, split in ((name, "training"), (f"val_{name}", "validation"))
        if key in history[0]
    ]
    with matplotlib.rc_context(CHART_STYLE):
        figure = Figure(figsize=(4.2, 2.6), layout="constrained")
        axes = figure.subplots()
        for split, values in lines:
            axes.plot(epochs, values, marker="o", markersize=3, label=split)
        if len(lines) > 1:
            axes.axvline(best, color=INK, linewidth=0.8, linestyle=":")
            axes.annotate(f"best: {best}", (best, 1), xycoords=("data", "axes fraction"), fontsize=8, ha="center")
            axes.legend(frameon=False)
        else:
            axes.set_ylim(0, None)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        last = ", ".join(f"{split} {values[-1]:.3g}" for split, values in lines)
        return to_svg(figure, f"{label.capitalize()} over {len(history)} epochs; at last {last}")


def render_calibration(confidence: np.ndarray, correct: np.ndarray) -> tuple[str, float]:
    """Return a reliability diagram as SVG, and the expected calibration error (arXiv:1706.04599).

    Args:
        confidence: Probability of the predicted class, (images,).
        correct: Whether each prediction is correct, (images,).

    Returns:
        The diagram, and the error.
    """
    edges = np.linspace(0, 1, BINS + 1)
    bins = np.clip(np.digitize(confidence, edges[1:-1], right=True), 0, BINS - 1)
    rows, error = [], 0.0
    for number in range(BINS):
        selected = bins == number
        count = int(selected.sum())
        if count:
            accuracy, mean = float(correct[selected].mean()), float(confidence[selected].mean())
            error += count / len(confidence) * abs(accuracy - mean)
            rows.append((mean, accuracy, *wilson_interval(int(correct[selected].sum()), count)))
    means, accuracies, lows, highs = (np.array(column) for column in zip(*rows, strict=True))
    with matplotlib.rc_context(CHART_STYLE):
        figure = Figure(figsize=(4, 3.4), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
        bars = np.maximum([accuracies - lows, highs - accuracies], 0)
        axes.errorbar(means, accuracies, yerr=bars, fmt="o-", markersize=4, linewidth=1, capsize=2)
        axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
        return to_svg(figure, f"Calibration: expected calibration error {error:.2%}"), error


def render_protocols(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the test accuracy of compared protocols as an SVG: mean, 95% interval and seeds.

    Args:
        results: Fields of kcnn.fine_tuning.comparison.ProtocolResult.
    """
    with matplotlib.rc_context(CHART_STYLE):
        figure = Figure(figsize=(6, 0.7 + 0.45 * len(results)), layout="constrained")
        axes = figure.subplots()
        for y, result in enumerate(results):
            draw_interval(axes, y, 100 * result["accuracy"], (100 * result["low"], 100 * result["high"]), BLUE)
            accuracies = np.multiply(result["accuracies"], 100)
            if len(accuracies) > 1:
                axes.plot(accuracies, [y + 0.25] * len(accuracies), ".", color=INK, clip_on=False)
        axes.set_xbound(*np.clip(axes.get_xbound(), 0, 100))
        axes.set_yticks(range(len(results)), [result["protocol"] for result in results])
        axes.set(xlabel="test accuracy, %", ylim=(len(results) - 0.4, -0.5))
        text = ", ".join(f"{result['protocol']} {result['accuracy']:.2%}" for result in results)
        return to_svg(figure, f"Test accuracy with 95% intervals: {text}")


def add_tooltips(svg: str, texts: Mapping[int, str]) -> str:
    """Replace the ids "tooltip-NUMBER" of points by their class and a title, since several charts on a page share them.

    Args:
        svg: The chart.
        texts: The title of each number.
    """
    titles = {number: escape(text) for number, text in texts.items()}
    return re.sub(
        r'<g id="tooltip-(\d+)">', lambda match: f'<g class="trial"><title>{titles[int(match[1])]}</title>', svg
    )


def to_svg(figure: Figure, alt: str) -> str:
    """Return a figure as an SVG element in the colors of the page.

    Args:
        figure: The figure.
        alt: The text for screen readers.
    """
    show_names_as_they_are(figure)
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[A-Za-z0-9_.]+_\d+"', "", svg)  # a page has many charts, and ids must be unique
    tag, content = svg.split(">", 1)
    tag = re.sub(r' (width|height)="[^"]*"', "", tag)  # the page sets the width
    return f'{tag} role="img" aria-label="{alt}">{content}'
