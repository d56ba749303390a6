"""Pictures of what is inside a model, drawn with Matplotlib into files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from kcnn.explain import layer_activations, model_access
from kcnn.explain.class_activation import grad_cam
from kcnn.explain.occlusion_maps import occlusion
from kcnn.plots.figures import STYLE, overlay_heatmap, plot_grid, save_figure

FILTERS, MAPS, LAYERS = 64, 8, 6  # at the most: filters, maps of a layer, layers


def write_explanations(
    model: Any, image: np.ndarray, classes: Sequence[tuple[int, str]], out: Path, layer: str = "*"
) -> list[Path]:
    """grad_cam.png, occlusion.png, filters.png and activations.png of one picture 0..255; the files written.

    `image` is (rows, columns, channels); `classes` are numbers to explain and what stands above them. Without a
    convolution there is no filters.png. LookupError where no layer answers to the glob `layer`.
    """
    model_access.match_layers(model, layer)  # a mistake, before anything is written
    repeated = np.repeat(image[None], len(classes), axis=0)
    numbers = [number for number, _ in classes]
    heat = grad_cam(model, repeated, numbers)
    seen = [(image, "the picture")]
    panels = [(overlay_heatmap(image, one), text) for one, (_, text) in zip(heat, classes, strict=True)]
    pictures = {"grad_cam.png": plot_grid([*seen, *panels], "Grad-CAM: what speaks for a class")}
    pictures["occlusion.png"] = plot_occlusion(image, occlusion(model, image[None], numbers[0])[0], classes[0][1])
    first = layer_activations.find_first_convolution(model)
    if first is not None:
        pictures["filters.png"] = plot_kernels(layer_activations.filters(model, first), first)
    pictures["activations.png"] = plot_activations(
        layer_activations.activations(model, image[None], _some(model, layer))
    )
    for name, figure in pictures.items():
        save_figure(figure, out / name)
    return [out / name for name in pictures]


def plot_kernels(found: np.ndarray, name: str) -> Figure:
    """Filters (rows, columns, in, out) side by side: in colour where they see three channels, else their mean."""
    rows, columns, channels, count = found.shape
    if count == 1 < channels:  # a depthwise layer's filters, one a channel
        found, channels, count = found.transpose(0, 1, 3, 2), 1, channels
    grey = found if channels == 3 else found.mean(axis=2, keepdims=True)
    most = np.abs(grey).max() or 1
    panels = [(127.5 + 127.5 * grey[..., n] / most, str(n)) for n in range(min(count, FILTERS))]
    more = f", the first {FILTERS} of {count}" if count > FILTERS else ""
    return plot_grid(panels, f"{name}: filters of {rows}x{columns}{more}; zero is grey", columns=8)


def plot_occlusion(image: np.ndarray, drop: np.ndarray, text: str) -> Figure:
    """A picture and the drop of a class's score where a part of it is hidden (rows, columns); red where it drops."""
    most = float(np.abs(drop).max()) or 1.0
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7, 3.4), layout="constrained")
        figure.suptitle(f"what hiding costs: {text}")
        left, right = figure.subplots(1, 2)
        left.imshow(image.clip(0, 255).astype("uint8").squeeze(), cmap="gray", vmin=0, vmax=255)
        figure.colorbar(right.imshow(drop, cmap="RdBu_r", vmin=-most, vmax=most), ax=right, label="drop of the score")
        for axes in (left, right):
            axes.set_axis_off()
    return figure


def plot_activations(found: dict[str, np.ndarray]) -> Figure:
    """A row for each layer: its strongest maps for the first picture, each from its lowest value to its highest."""
    with matplotlib.rc_context({**STYLE, "font.size": 7}):
        figure = Figure(figsize=(1.2 * MAPS + 0.4, 0.4 + 1.4 * len(found)), layout="constrained")
        figure.suptitle("activations: the strongest maps of each layer", fontsize=9)
        every = figure.subplots(len(found), MAPS, squeeze=False)
        for row, (name, values) in zip(every, found.items(), strict=True):
            one = values[0] if values.ndim == 4 else values[0].reshape(1, 1, -1)
            size = "x".join(map(str, values.shape[1:]))
            for axes in row:
                axes.set_axis_off()
            row[0].set_title(f"{name}, {size}", loc="left", fontsize=7)
            if values.ndim != 4:  # numbers without a place: one strip
                row[0].imshow(one[0], aspect="auto", cmap="viridis")
                continue
            strongest = np.argsort(-np.abs(one).mean(axis=(0, 1)), kind="stable")[:MAPS]
            for axes, channel in zip(row, strongest, strict=False):
                axes.imshow(one[..., channel], cmap="viridis")
    return figure


def _some(model: Any, layer: str) -> str:
    """A glob of at most LAYERS of those layers, spread over the depth; of all layers those that have maps."""
    found = model_access.match_layers(model, layer)
    placed = [name for name, one in found.items() if len(one.shape) == 4 and one.shape[1:3] != (1, 1)]
    names = placed or list(found)
    chosen = np.unique(np.linspace(0, len(names) - 1, min(LAYERS, len(names))).astype("int64"))
    return "{" + ",".join(names[n] for n in chosen) + "}"
