"""Occlusion (arXiv:1311.2901, section 4.2): what a picture loses with each part of it that is hidden."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kcnn.explain import model_access


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
    """By how much the score of a class drops where a grey patch stands: float32 (n, rows, columns), as large as images.

    `images` are pictures (n, rows, columns, channels) as the model takes them; `classes` one number for all or for
    each, by default what the model takes it for. The patch is a square of `patch` pixels, by default a sixth of the
    shorter side, moved by `stride` pixels, by default half of it; what a pixel has is the mean over the patches that
    covered it, in the unit of the model's output, below 0 where the score rose. `grey` is the patch's value, by default
    the picture's mean. Hidden pictures are computed `batch_size` together.

    TypeError where the model has no graph; ValueError for a patch that does not fit and a stride that leaves gaps.
    """
    model_access.find_output(model)
    x = model_access.to_batch(model, images)
    rows, columns = x.shape[1:3]
    patch = max(1, min(rows, columns) // 6) if patch is None else patch
    stride = max(1, patch // 2) if stride is None else stride
    if not 1 <= patch <= min(rows, columns):
        raise ValueError(f"a patch of {patch} pixels does not fit into pictures of {rows}x{columns}")
    if not 1 <= stride <= patch:
        raise ValueError(
            f"with a stride of {stride} a patch of {patch} pixels leaves some uncovered; give 1 to {patch}"
        )
    before = _scores(model, x, batch_size)
    wanted = model_access.choose_classes(model, before, classes)
    corners = [(r, c) for r in _starts(rows, patch, stride) for c in _starts(columns, patch, stride)]
    jobs = [(i, r, c) for i in range(len(x)) for r, c in corners]
    greys = x.mean(axis=(1, 2, 3)) if fill_value is None else np.full(len(x), fill_value, "float32")
    total, covered = np.zeros(x.shape[:3], "float32"), np.zeros(x.shape[:3], "float32")
    for first in range(0, len(jobs), batch_size):
        some = jobs[first : first + batch_size]
        hidden = x[[i for i, _, _ in some]]  # a copy
        for picture, (i, r, c) in zip(hidden, some, strict=True):
            picture[r : r + patch, c : c + patch] = greys[i]
        for scores, (i, r, c) in zip(_scores(model, hidden, batch_size), some, strict=True):
            place = (i, slice(r, r + patch), slice(c, c + patch))
            total[place] += before[i, wanted[i]] - scores[wanted[i]]
            covered[place] += 1
    return total / covered


def _starts(size: int, patch: int, stride: int) -> list[int]:
    """Where patches begin; the last one ends with the picture."""
    return sorted({*range(0, size - patch, stride), size - patch})


def _scores(model: Any, x: np.ndarray, batch_size: int) -> np.ndarray:
    """The model's first output, float32 (n, classes), always computed by batches of one size: one compilation."""
    parts = []
    for first in range(0, len(x), batch_size):
        some = x[first : first + batch_size]
        filled = np.concatenate([some, np.repeat(some[:1], batch_size - len(some), axis=0)])
        found = model.predict_on_batch(filled)
        parts.append(np.asarray(found[0] if isinstance(found, list | tuple) else found)[: len(some)])
    return np.concatenate(parts).astype("float32")
