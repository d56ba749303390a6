"""Pictures of a transferred network's answers: the most confidently wrong photos, and where it looked."""

from pathlib import Path
from typing import Any

import numpy as np

from kcnn import statistics
from kcnn.data import ImageDataset
from kcnn.explain import grad_cam
from kcnn.plots.figures import overlay_heatmap, plot_grid, save_figure
from kcnn.training.evaluation import compute_scores

WRONG, LOOKED_AT = 12, 6  # pictures


def write_images(model: Any, data: ImageDataset, out: Path) -> list[Path]:
    """wrong.png and grad_cam.png of the test split; the files that were written: none is wrong where no photo was."""
    logits, truth = compute_scores(model, data.test)
    sure, names = statistics.to_probabilities(logits, model.metadata), _names(data)
    taken = statistics.predict_labels(sure, model.metadata)
    wrong = np.flatnonzero(~statistics.is_correct(taken, truth))
    wrong = wrong[np.argsort(-_confidence(sure, taken, truth)[wrong], kind="stable")][:WRONG]
    written = []
    if len(wrong):
        panels = [(pixels, _said(data, sure[i], taken[i], truth[i], names[i])) for i, pixels in _pixels(data, wrong)]
        save_figure(plot_grid(panels, f"most confidently wrong of {len(truth)} test images"), out / "wrong.png")
        written.append(out / "wrong.png")
    some = np.unique(np.linspace(0, len(truth) - 1, min(LOOKED_AT, len(truth))).astype("int64"))
    pictures = _pixels(data, some)
    maps = grad_cam(model, np.stack([pixels for _, pixels in pictures]))
    panels = [
        (overlay_heatmap(pixels, heat), _said(data, sure[i], taken[i], truth[i], names[i]))
        for (i, pixels), heat in zip(pictures, maps, strict=True)
    ]
    save_figure(plot_grid(panels, "Grad-CAM: what speaks for the answer"), out / "grad_cam.png")
    return [*written, out / "grad_cam.png"]


def _names(data: ImageDataset) -> list[str]:
    """The name of every test picture that is served, in order."""
    split = data.splits["test"]
    return [name for name, row in zip(split.names, split.rows, strict=True) if int(row) not in split.store.broken]


def _pixels(data: ImageDataset, places: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Test pictures by their places among those that are served."""
    wanted, found, first = set(places.tolist()), {}, 0
    for pixels, labels in data.test:
        for i in range(len(labels)):
            if first + i in wanted:
                found[first + i] = np.asarray(pixels[i])
        first += len(labels)
    return [(int(i), found[int(i)]) for i in places]


def _confidence(sure: np.ndarray, taken: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """How sure each answer is: of its class, or of the label that it is most wrong about."""
    if taken.ndim == 1:
        return sure.max(axis=-1)
    return np.where(taken != truth, np.where(taken == 1, sure, 1 - sure), 0.0).max(axis=-1)


def _said(data: ImageDataset, sure: np.ndarray, taken: Any, truth: Any, name: str) -> str:
    said, true = ([int(one)] if np.ndim(one) == 0 else np.flatnonzero(one).tolist() for one in (taken, truth))
    answer = ", ".join(f"{data.classes[i]} {sure[i]:.0%}" for i in said) or "no label"
    right = "" if said == true else f", is {' and '.join(data.classes[i] for i in true) or 'nothing of it'}"
    return f"{answer}{right}\n{Path(name).name[:28]}"
