"""Plots of a run, with Matplotlib."""

import textwrap
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import matplotlib
import matplotlib.image
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from kcnn.atomic_io import replace_atomically
from kcnn.graph.formatting import shorten_names, to_printable
from kcnn.statistics import PairedDifference, estimate_mean

STYLE: Any = {"axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 120, "font.size": 9}
NAME_WIDTH, TITLE_WIDTH = 32, 26  # characters of a class name on an axis, and of a line above an image of a grid
MAX_BARS = 60  # classes of a plot of bars


def save_figure(figure: Figure, path: str | PathLike[str]) -> None:
    """Save a figure to a file atomically; a PNG has a description in its metadata.

    Args:
        figure: The figure.
        path: The file; its extension is the format.
    """
    show_names_as_they_are(figure)
    with replace_atomically(path) as temporary:
        figure.savefig(temporary, metadata={"Description": _describe(figure)} if temporary.suffix == ".png" else None)


def show_names_as_they_are(figure: Figure) -> None:
    """Let no text of a figure be taken for TeX, as a name with two dollar signs is, and escape control characters.

    Only the numbers of logarithmic axes are TeX, Matplotlib's own.
    """
    logarithmic = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) if axis.get_scale() == "log"]
    own = {id(text) for axis in logarithmic for text in axis.get_ticklabels(which="both")}
    for text in figure.findobj(Text):
        if id(text) not in own:
            text.set_parse_math(False)
            text.set_text(to_printable(text.get_text()))


def save_image(pixels: np.ndarray, path: str | PathLike[str], description: str) -> None:
    """Save an image to a PNG file atomically, with a description in its metadata.

    Args:
        pixels: Image 0..255 (rows, columns, 3).
        path: The file.
        description: What it shows.
    """
    with replace_atomically(path) as temporary:
        values = pixels.clip(0, 255).astype("uint8")
        matplotlib.image.imsave(temporary, values, metadata={"Description": description})


def _describe(figure: Figure) -> str:
    """Return the titles, axes and legends of a figure as one line."""
    texts = [part.get_suptitle() for part in (figure, *figure.subfigs)]
    for axes in figure.axes:
        x_label, y_label = axes.get_xlabel(), axes.get_ylabel()
        legend = axes.get_legend()
        names = [text.get_text() for text in legend.get_texts()] if legend else []
        texts += [
            axes.get_title(),
            f"{y_label} over {x_label}" if x_label and y_label else x_label or y_label,
            ", ".join(names),
        ]
    return "; ".join(" ".join(text.split()) for text in dict.fromkeys(texts) if text)


def plot_curves(history: Sequence[Mapping[str, float]], title: str) -> Figure:
    """Plot loss and accuracy (for multi-label data, average precision) of training and validation over the epochs.

    Args:
        history: A row for each epoch.
        title: Of the figure.

    Returns:
        The figure.
    """
    measure = "average_precision" if "average_precision" in history[0] else "accuracy"
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        figure.suptitle(title)
        epochs = [row["epoch"] for row in history]
        for axes, name in zip(figure.subplots(1, 2), ("loss", measure), strict=True):
            for key, label in ((name, "training"), (f"val_{name}", "validation")):
                if key not in history[0]:
                    continue
                values = [row[key] for row in history]
                axes.plot(epochs, values, marker="o", markersize=3, label=f"{label}, final {values[-1]:.3g}")
            axes.set(xlabel="epoch", ylabel=name.replace("_", " "))
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.legend(frameon=False)
    return figure


def plot_confusion_matrix(matrix: Any, classes: Sequence[str], title: str) -> Figure:
    """Plot a confusion matrix, rates of each true class as colors.

    Args:
        matrix: Counts (true, predicted).
        classes: Class names.
        title: Of the figure.

    Returns:
        The figure.
    """
    matrix = np.asarray(matrix)
    size = min(4 + 0.25 * len(classes), 14)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(size, size), layout="constrained")
        axes = figure.subplots()
        rates = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        axes.imshow(rates, cmap="Blues", vmin=0, vmax=1)
        axes.set(xlabel="predicted", ylabel="true", title=title)
        if len(classes) <= 40:
            names = shorten_names(list(map(to_printable, classes)), NAME_WIDTH)
            axes.set_xticks(range(len(names)), names, rotation=90)
            axes.set_yticks(range(len(names)), names)
        if len(classes) <= 20:
            for (row, column), count in np.ndenumerate(matrix):
                if count:
                    color = "white" if rates[row, column] > 0.5 else "black" if row == column else "crimson"
                    axes.text(column, row, str(count), ha="center", va="center", color=color)
    return figure


def overlay_heatmap(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Overlay a heatmap on an image.

    Args:
        pixels: Image 0..255 (rows, columns, channels).
        heat: Heatmap 0..1 (rows, columns).

    Returns:
        RGB image 0..255.
    """
    colors = matplotlib.colormaps["inferno"](heat)[..., :3] * 255
    return 0.5 * np.broadcast_to(pixels, (*pixels.shape[:2], 3)) + 0.5 * colors


def note_evidence(heat: np.ndarray) -> str:
    """Return "no positive evidence" for a heatmap of Grad-CAM that is 0 everywhere, else nothing.

    Args:
        heat: (rows, columns).
    """
    return "" if heat.any() else "no positive evidence"


def plot_grid(panels: Sequence[tuple[np.ndarray, str]], title: str, columns: int = 6) -> Figure:
    """Plot images in a grid.

    Args:
        panels: Images 0..255, gray or RGB, each with its title.
        title: Of the figure.
        columns: Images in a row.

    Returns:
        The figure.
    """
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    with matplotlib.rc_context({**STYLE, "font.size": 7}):
        figure = Figure(figsize=(max(4, 1.6 * columns), 0.4 + 1.9 * rows), layout="constrained")
        figure.suptitle(title, fontsize=9)
        for axes in figure.subplots(rows, columns, squeeze=False).flat:
            axes.set_axis_off()
        for axes, (pixels, text) in zip(figure.axes, panels, strict=False):
            axes.imshow(pixels.clip(0, 255).astype("uint8").squeeze(), cmap="gray", vmin=0, vmax=255)
            lines = [textwrap.wrap(line, TITLE_WIDTH) or [""] for line in text.splitlines()]
            axes.set_title("\n".join(line for part in lines for line in part), fontsize=7)
    return figure


def plot_per_class(rows: Mapping[str, Mapping[str, Any]], metric: str, title: str) -> Figure:
    """Plot a metric of each class as bars, the largest first; of many classes, the lowest ones.

    Args:
        rows: Metrics by class; a class whose metric is None, not defined, has a dash for a bar.
        metric: The metric, such as "recall".
        title: Of the figure.

    Returns:
        The figure.
    """
    values = sorted(((-1.0 if row[metric] is None else row[metric], name) for name, row in rows.items()), reverse=True)
    if len(values) > MAX_BARS:
        title = f"{title}\nthe {MAX_BARS} lowest of {len(values)} classes"
        values = values[-MAX_BARS:]
    names = shorten_names([to_printable(name) for _, name in values], NAME_WIDTH)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6, 1.2 + 0.22 * len(values)), layout="constrained")
        axes = figure.subplots()
        bars = axes.barh(range(len(values)), [max(value, 0.0) for value, _ in values], color="steelblue")
        axes.set_yticks(range(len(values)), names)
        axes.bar_label(bars, ["–" if value < 0 else f"{value:.2f}" for value, _ in values], padding=2, fontsize=8)
        axes.set(xlim=(0, 1.05), xlabel=metric.replace("_", " "), title=title)
        axes.invert_yaxis()
    return figure


def plot_differences(differences: Mapping[str, PairedDifference], label: str) -> Figure:
    """Plot differences with their 95% intervals, a row each (a forest plot); gray is not significant.

    Args:
        differences: The differences by name.
        label: What the points measure, such as "points of test accuracy".

    Returns:
        The figure.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 0.8 + 0.4 * len(differences)), layout="constrained")
        axes = figure.subplots()
        for row, one in enumerate(differences.values()):
            color = "steelblue" if one.significant else "silver"
            draw_interval(axes, row, one.points, (one.low, one.high), color)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_yticks(range(len(differences)), list(differences))
        axes.invert_yaxis()
        axes.set(xlabel=f"{label}, 95% interval (gray: not significant)")
    return figure


def plot_means(values: Mapping[str, Sequence[float]], label: str) -> Figure:
    """Plot measurements, such as accuracies over seeds: a row of dots with their mean and its 95% interval.

    Args:
        values: Fractions by name, at least two each.
        label: What they measure, such as "test accuracy".

    Returns:
        The figure.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6, 0.8 + 0.5 * len(values)), layout="constrained")
        axes = figure.subplots()
        for row, fractions in enumerate(values.values()):
            estimate = estimate_mean(fractions)
            seeds = np.multiply(fractions, 100)
            axes.plot(seeds, [row + 0.25] * len(seeds), "o", color="silver", markersize=4, clip_on=False)
            draw_interval(axes, row, 100 * estimate.mean, (100 * estimate.low, 100 * estimate.high), "steelblue")
        axes.set_yticks(range(len(values)), list(values))
        axes.invert_yaxis()
        axes.set_xbound(*np.clip(axes.get_xbound(), 0, 100))
        axes.set(xlabel=f"{label}, %: seeds, mean, 95% interval")
    return figure


def draw_interval(axes: Axes, row: float, center: float, interval: tuple[float, float], color: str) -> None:
    """Draw an estimate with its interval across a row of a plot.

    Args:
        axes: Where to draw.
        row: Its height.
        center: The estimate.
        interval: (low, high).
        color: Of the dot and the line.
    """
    axes.plot(interval, [row, row], color=color, linewidth=2)
    axes.plot(center, row, "o", color=color, clip_on=False)  # complete at the end of an axis


def draw_band(
    axes: Axes, x: Sequence[float], values: np.ndarray, label: str, *, color: str | None = None, line: str = "-"
) -> None:
    """Draw fractions, such as accuracies, as a curve of means in the band of their 95% intervals.

    Args:
        axes: Where to draw.
        x: Positions of the columns.
        values: 0 to 1 (seeds, columns).
        label: For the legend.
        color: The next of the color cycle by default.
        line: Format of the curve, such as "--" or "o-".
    """
    estimates = [estimate_mean(column) for column in np.transpose(values)]
    means = [one.mean for one in estimates]
    (curve,) = axes.plot(x, means, line, markersize=4, color=color, label=label, clip_on=False)
    low, high = ([one.low for one in estimates], [one.high for one in estimates])
    axes.fill_between(x, low, high, color=curve.get_color(), alpha=0.15, linewidth=0)
    axes.set_ybound(*np.clip(axes.get_ybound(), 0, 1))
