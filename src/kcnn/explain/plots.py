"""Plots of a model's inside, drawn with Matplotlib into files: heatmaps, filters, activations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from kcnn.explain import layer_activations, model_access
from kcnn.explain.class_activation import grad_cam
from kcnn.explain.occlusion_maps import occlusion
from kcnn.graph.formatting import format_size
from kcnn.plots.figures import STYLE, note_evidence, overlay_heatmap, plot_grid, save_figure

MAX_FILTERS, MAX_MAPS, MAX_LAYERS = 64, 8, 6  # filters of a layer, maps of a layer, layers


def write_explanations(
    model: Any, image: np.ndarray, classes: Sequence[tuple[int, str]], out: Path, layer: str = "*"
) -> list[Path]:
    """Write grad_cam.png, occlusion.png, filters.png and activations.png for one image.

    Args:
        model: A flat Keras classifier.
        image: Pixels 0..255 (rows, columns, channels), as the model takes them.
        classes: (class index, title) of the classes to explain.
        out: The folder.
        layer: A glob of the layers whose activations are plotted.

    Returns:
        The files that were written; no filters.png without a convolution.

    Raises:
        UnknownNameError: No layer matches; nothing is written.
    """
    model_access.match_layers(model, layer)  # an unknown name, before anything is written
    indices = [index for index, _ in classes]
    heatmaps = grad_cam(model, np.repeat(image[None], len(classes), axis=0), indices)
    panels = [
        (overlay_heatmap(image, heatmap), f"{title}\n{note_evidence(heatmap)}".strip())
        for heatmap, (_, title) in zip(heatmaps, classes, strict=True)
    ]
    figures = {"grad_cam.png": plot_grid([(image, "image"), *panels], "Grad-CAM: evidence for a class")}
    figures["occlusion.png"] = plot_occlusion(image, occlusion(model, image[None], indices[0])[0], classes[0][1])
    first = layer_activations.find_first_convolution(model)
    if first is not None:
        figures["filters.png"] = plot_filters(layer_activations.filters(model, first), first)
    figures["activations.png"] = plot_activations(
        layer_activations.activations(model, image[None], _choose_layers(model, layer))
    )
    for name, figure in figures.items():
        save_figure(figure, out / name)
    return [out / name for name in figures]


def plot_filters(kernels: np.ndarray, name: str) -> Figure:
    """Plot the filters of a convolution side by side, in color where they see three channels, else their mean.

    Args:
        kernels: (rows, columns, in, out), as from kcnn.explain.filters.
        name: The layer's name, for the title.

    Returns:
        The figure, of at most 64 filters.
    """
    rows, columns, channels, count = kernels.shape
    if count == 1 < channels:  # a depthwise layer's filters, one a channel
        kernels, channels, count = kernels.transpose(0, 1, 3, 2), 1, channels
    values = kernels if channels == 3 else kernels.mean(axis=2, keepdims=True)
    largest = np.abs(values).max() or 1
    panels = [(127.5 + 127.5 * values[..., n] / largest, str(n)) for n in range(min(count, MAX_FILTERS))]
    more = f", the first {MAX_FILTERS} of {count}" if count > MAX_FILTERS else ""
    return plot_grid(panels, f"{name}: filters of {rows}x{columns}{more}; zero is gray", columns=8)


def plot_occlusion(image: np.ndarray, drop: np.ndarray, title: str) -> Figure:
    """Plot an image beside its occlusion map, red where the score drops.

    Args:
        image: Pixels 0..255 (rows, columns, channels).
        drop: (rows, columns), as from kcnn.explain.occlusion.
        title: The class.
    """
    largest = float(np.abs(drop).max()) or 1.0
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7, 3.4), layout="constrained")
        figure.suptitle(f"Occlusion: {title}")
        left, right = figure.subplots(1, 2)
        left.imshow(image.clip(0, 255).astype("uint8").squeeze(), cmap="gray", vmin=0, vmax=255)
        heatmap = right.imshow(drop, cmap="RdBu_r", vmin=-largest, vmax=largest)
        figure.colorbar(heatmap, ax=right, label="drop of the score")
        for axes in (left, right):
            axes.set_axis_off()
    return figure


def plot_activations(activations: dict[str, np.ndarray]) -> Figure:
    """Plot the strongest maps of each layer for the first image, each scaled from its lowest value to its highest.

    Args:
        activations: (n, ...) by the layer's name, as from kcnn.explain.activations.

    Returns:
        The figure, a row for each layer.
    """
    with matplotlib.rc_context({**STYLE, "font.size": 7}):
        figure = Figure(figsize=(1.2 * MAX_MAPS + 0.4, 0.4 + 1.4 * len(activations)), layout="constrained")
        figure.suptitle("Activations: the strongest maps of each layer", fontsize=9)
        grid = figure.subplots(len(activations), MAX_MAPS, squeeze=False)
        for row, (name, values) in zip(grid, activations.items(), strict=True):
            maps = values[0] if values.ndim == 4 else values[0].reshape(1, 1, -1)
            size = format_size(values.shape[1:])
            for axes in row:
                axes.set_axis_off()
            row[0].set_title(f"{name}, {size}", loc="left", fontsize=7)
            if values.ndim != 4:  # a vector: one strip
                row[0].imshow(maps[0], aspect="auto", cmap="viridis")
                continue
            strongest = np.argsort(-np.abs(maps).mean(axis=(0, 1)), kind="stable")[:MAX_MAPS]
            for axes, channel in zip(row, strongest, strict=False):
                axes.imshow(maps[..., channel], cmap="viridis")
    return figure


def _choose_layers(model: Any, layer: str) -> str:
    """A glob of at most MAX_LAYERS of the layers, spread over the depth; those with feature maps where any has."""
    tensors = model_access.match_layers(model, layer)
    maps = [name for name, one in tensors.items() if len(one.shape) == 4 and one.shape[1:3] != (1, 1)]
    names = maps or list(tensors)
    chosen = np.unique(np.linspace(0, len(names) - 1, min(MAX_LAYERS, len(names))).astype("int64"))
    return "{" + ",".join(names[n] for n in chosen) + "}"
