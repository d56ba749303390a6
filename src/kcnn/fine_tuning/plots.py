"""Plots of a fine-tuned network on the test split: its most confident errors, and Grad-CAM."""

from pathlib import Path
from typing import Any

import numpy as np

from kcnn import classification
from kcnn.data import ImageDataset
from kcnn.explain import grad_cam
from kcnn.plots.figures import note_evidence, overlay_heatmap, plot_grid, save_figure, save_image
from kcnn.training.evidence import compute_scores

MAX_ERRORS, MAX_HEATMAPS = 12, 6
ERRORS, GRAD_CAM = "errors.png", "grad_cam.png"


def write_plots(model: Any, data: ImageDataset, out: Path) -> list[Path]:
    """Write errors.png, the most confident errors, and grad_cam.png of the test split; a report shows grad_cam/*.png.

    Args:
        model: A network of kcnn.
        data: The dataset.
        out: The folder.

    Returns:
        The plots that were written; no errors.png without an error.
    """
    logits, labels = compute_scores(model, data.test)
    probabilities, names = classification.to_probabilities(logits, model.metadata), _list_names(data)
    predictions = classification.predict_labels(probabilities, model.metadata)
    errors = np.flatnonzero(~classification.is_correct(predictions, labels))
    confidence = _compute_confidence(probabilities, predictions, labels)
    errors = errors[np.argsort(-confidence[errors], kind="stable")][:MAX_ERRORS]

    def describe(i: int) -> str:
        return _describe(data, probabilities[i], predictions[i], labels[i], names[i])

    written = []
    if len(errors):
        panels = [(pixels, describe(i)) for i, pixels in _read_images(data, errors)]
        save_figure(plot_grid(panels, f"Most confident errors of {len(labels)} test images"), out / ERRORS)
        written.append(out / ERRORS)
    chosen = np.unique(np.linspace(0, len(labels) - 1, min(MAX_HEATMAPS, len(labels))).astype("int64"))
    images = _read_images(data, chosen)
    heatmaps = grad_cam(model, np.stack([pixels for _, pixels in images]))
    panels = [
        (overlay_heatmap(pixels, heatmap), f"{describe(i)}\n{note_evidence(heatmap)}".strip())
        for (i, pixels), heatmap in zip(images, heatmaps, strict=True)
    ]
    save_figure(plot_grid(panels, "Grad-CAM: evidence for the prediction"), out / GRAD_CAM)
    for n, (pixels, text) in enumerate(panels):
        save_image(pixels, out / Path(GRAD_CAM).stem / f"{n}.png", text)
    return [*written, out / GRAD_CAM]


def _list_names(data: ImageDataset) -> list[str]:
    """The name of every test image that can be decoded, in order."""
    split = data.splits["test"]
    return [split.names[i] for i in split.decodable]


def _read_images(data: ImageDataset, indices: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Test images by their indices among those that can be decoded."""
    selected, images, first = set(indices.tolist()), {}, 0
    for pixels, labels in data.test:
        for i in range(len(labels)):
            if first + i in selected:
                images[first + i] = np.asarray(pixels[i])
        first += len(labels)
    return [(int(i), images[int(i)]) for i in indices]


def _compute_confidence(probabilities: np.ndarray, predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The probability of each predicted class; of several labels an image, of the label that is most wrong."""
    if predictions.ndim == 1:
        return probabilities.max(axis=-1)
    wrong = np.where(predictions == 1, probabilities, 1 - probabilities)
    return np.where(predictions != labels, wrong, 0.0).max(axis=-1)


def _describe(data: ImageDataset, probabilities: np.ndarray, prediction: Any, label: Any, name: str) -> str:
    predicted, true = ([int(one)] if np.ndim(one) == 0 else np.flatnonzero(one).tolist() for one in (prediction, label))
    text = ", ".join(f"{data.classes[i]} {probabilities[i]:.0%}" for i in predicted) or "no label"
    truth = "" if predicted == true else f" (true: {', '.join(data.classes[i] for i in true) or 'no label'})"
    return f"{text}{truth}\n{Path(name).name[:28]}"
