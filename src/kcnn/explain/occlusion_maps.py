"""Occlusion (arXiv:1311.2901, section 4.2): how much a score drops when a part of the image is hidden."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kcnn.explain import model_access
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_integer


@check_arguments
def occlusion(
    model: Any,
    images: Any,
    classes: int | Sequence[int] | None = None,
    patch: int | None = None,
    stride: int | None = None,
    *,
    fill_value: float | None = None,
    batch_size: int = 32,
) -> np.ndarray:
    """Compute occlusion maps (arXiv:1311.2901, 4.2): how much a class's score drops where a patch hides the image.

    Args:
        model: A flat Keras classifier.
        images: (n, rows, columns, channels), scaled as the model takes them.
        classes: One class index for all images or one for each; by default the predicted class.
        patch: Pixels a side of the square patch; by default a sixth of the image's shorter side.
        stride: Pixels from patch to patch; by default half a patch.
        fill_value: The patch's value; by default the image's mean.
        batch_size: Occluded images computed at a time.

    Returns:
        float32 (n, rows, columns): the mean drop over the patches that covered a pixel, in the unit of the model's
        output; negative where the score rose.

    Raises:
        TypeError: The model has no graph.
        ValueError: A patch that exceeds the image, or a stride that leaves gaps.
    """
    model_access.find_output(model)
    x = model_access.to_batch(model, images)
    rows, columns = x.shape[1:3]
    patch = max(1, min(rows, columns) // 6) if patch is None else patch
    stride = max(1, patch // 2) if stride is None else stride
    if not 1 <= patch <= min(rows, columns):
        raise ValueError(f"patch must be 1 to {min(rows, columns)} pixels for images of {rows}x{columns}, got {patch}")
    if not 1 <= stride <= patch:
        raise ValueError(f"stride must be 1 to {patch} pixels, or patches of {patch} pixels leave gaps; got {stride}")
    check_integer("batch_size", batch_size, 1, "a positive integer")
    corners = [(r, c) for r in _list_starts(rows, patch, stride) for c in _list_starts(columns, patch, stride)]
    jobs = [(i, r, c) for i in range(len(x)) for r, c in corners]
    batch_size = min(batch_size, len(jobs))
    before = _compute_scores(model, x, batch_size)
    indices = model_access.choose_classes(before, classes)
    fill = x.mean(axis=(1, 2, 3)) if fill_value is None else np.full(len(x), fill_value, "float32")
    total, covered = np.zeros(x.shape[:3], "float32"), np.zeros(x.shape[:3], "float32")
    for first in range(0, len(jobs), batch_size):
        batch = jobs[first : first + batch_size]
        hidden = x[[i for i, _, _ in batch]]  # a copy
        for image, (i, r, c) in zip(hidden, batch, strict=True):
            image[r : r + patch, c : c + patch] = fill[i]
        for scores, (i, r, c) in zip(_compute_scores(model, hidden, batch_size), batch, strict=True):
            pixels = (i, slice(r, r + patch), slice(c, c + patch))
            total[pixels] += before[i, indices[i]] - scores[indices[i]]
            covered[pixels] += 1
    return total / covered


def _list_starts(size: int, patch: int, stride: int) -> list[int]:
    """First pixels of patches along one axis; the last patch ends with the image."""
    return sorted({*range(0, size - patch, stride), size - patch})


def _compute_scores(model: Any, x: np.ndarray, batch_size: int) -> np.ndarray:
    """The model's first output, float32 (n, classes), always computed by batches of one size: one compilation."""
    parts = []
    for first in range(0, len(x), batch_size):
        batch = x[first : first + batch_size]
        filled = np.concatenate([batch, np.repeat(batch[:1], batch_size - len(batch), axis=0)])
        scores = model.predict_on_batch(filled)
        parts.append(np.asarray(scores[0] if isinstance(scores, list | tuple) else scores)[: len(batch)])
    return np.concatenate(parts).astype("float32")
