"""Pictures of a run, drawn with Matplotlib into files."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from kcnn.atomic_io import replace_atomically

STYLE: Any = {"axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 120, "font.size": 9}


def save_figure(figure: Figure, path: str | PathLike[str]) -> None:
    """The figure as a whole file, or an error and none; a PNG says in words what is drawn."""
    with replace_atomically(path) as temporary:
        figure.savefig(temporary, metadata={"Description": _said(figure)} if temporary.suffix == ".png" else None)


def _said(figure: Figure) -> str:
    """Titles, axes and legends."""
    found = [one.get_suptitle() for one in (figure, *figure.subfigs)]
    for axes in figure.axes:
        across, up = axes.get_xlabel(), axes.get_ylabel()
        legend = axes.get_legend()
        names = [text.get_text() for text in legend.get_texts()] if legend else []
        found += [axes.get_title(), f"{up} over {across}" if across and up else across or up, ", ".join(names)]
    return "; ".join(" ".join(one.split()) for one in dict.fromkeys(found) if one)


def plot_curves(history: Sequence[Mapping[str, float]], title: str) -> Figure:
    """Loss and accuracy over epochs, of training and validation; of several labels average precision."""
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
                axes.plot(epochs, values, marker="o", markersize=3, label=f"{label}, at last {values[-1]:.3g}")
            axes.set(xlabel="epoch", ylabel=name.replace("_", " "))
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.legend(frameon=False)
    return figure


def plot_confusion_matrix(matrix: Any, classes: Sequence[str], title: str) -> Figure:
    """Which class (rows) was taken for which (columns); mistakes stand out in colour."""
    matrix = np.asarray(matrix)
    side = min(4 + 0.25 * len(classes), 14)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(side, side), layout="constrained")
        axes = figure.subplots()
        rates = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        axes.imshow(rates, cmap="Blues", vmin=0, vmax=1)
        axes.set(xlabel="predicted", ylabel="true", title=title)
        if len(classes) <= 40:
            axes.set_xticks(range(len(classes)), classes, rotation=90)
            axes.set_yticks(range(len(classes)), classes)
        if len(classes) <= 20:
            for (row, column), count in np.ndenumerate(matrix):
                if count:
                    color = "white" if rates[row, column] > 0.5 else "black" if row == column else "crimson"
                    axes.text(column, row, str(count), ha="center", va="center", color=color)
    return figure


def overlay_heatmap(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A picture 0..255 (rows, columns, channels) under the colours of a map (rows, columns) from 0 to 1."""
    colours = matplotlib.colormaps["inferno"](heat)[..., :3] * 255
    return 0.5 * np.broadcast_to(pixels, (*pixels.shape[:2], 3)) + 0.5 * colours


def plot_grid(panels: Sequence[tuple[np.ndarray, str]], title: str, columns: int = 6) -> Figure:
    """Pictures 0..255, grey or RGB, each under its text, so many to a row."""
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    with matplotlib.rc_context({**STYLE, "font.size": 7}):
        figure = Figure(figsize=(max(4, 1.6 * columns), 0.4 + 1.9 * rows), layout="constrained")
        figure.suptitle(title, fontsize=9)
        for axes in figure.subplots(rows, columns, squeeze=False).flat:
            axes.set_axis_off()
        for axes, (pixels, text) in zip(figure.axes, panels, strict=False):
            axes.imshow(pixels.clip(0, 255).astype("uint8").squeeze(), cmap="gray", vmin=0, vmax=255)
            axes.set_title(text, fontsize=7)
    return figure


def plot_per_class(rows: Mapping[str, Mapping[str, Any]], what: str, title: str) -> Figure:
    """A bar for each class, the longest first; a class without the figure has none."""
    there = sorted(((row[what] or 0.0, name) for name, row in rows.items()), reverse=True)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6, min(1.2 + 0.22 * len(there), 14)), layout="constrained")
        axes = figure.subplots()
        bars = axes.barh([name for _, name in there], [value for value, _ in there], color="steelblue")
        if len(there) <= 60:
            axes.bar_label(bars, fmt="%.2f", padding=2, fontsize=8)
        axes.set(xlim=(0, 1.05), xlabel=what.replace("_", " "), title=title)
        axes.invert_yaxis()
    return figure
