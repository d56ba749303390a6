"""Images divided so that each part has every class. No TensorFlow here."""

import warnings
from collections.abc import Sequence

import numpy as np

NAMED = 6  # classes that a message names
REPAIRS = 20  # moves for each class, at most


def count_classes(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the number of images of each class.

    Args:
        labels: Class numbers (images,), or 0 and 1 (images, classes).
        classes: Number of classes.

    Returns:
        int (classes,).
    """
    return labels.sum(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=classes)


def split_indices(
    labels: np.ndarray, size: int, seed: int, classes: Sequence[str], keep: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Divide images into two parts, stratified by class, with at least one image of each class in the second.

    With several labels per image the size is approximate, and each class as near to its share as the others allow.

    Args:
        labels: Class numbers (images,), or 0 and 1 (images, classes).
        size: Number of images in the second part.
        seed: Draws the images.
        classes: Class names, for messages.
        keep: Images of each class that the first part has at least: one for each split that it becomes.

    Returns:
        Indices of the two parts, each in order.

    Raises:
        ValueError: A class has too few images, or with several labels per image no such division is found.
    """
    counts = count_classes(labels, len(classes))
    _check_counts(counts, keep, classes)
    if labels.ndim == 2:
        in_second = _draw_second(labels, size / len(labels), seed)
        _repair_indicators(in_second, labels, seed, classes, keep)
        return np.flatnonzero(~in_second), np.flatnonzero(in_second)
    from sklearn.model_selection import train_test_split  # takes seconds, and predictions need no splits

    size = min(max(size, len(classes)), len(labels) - keep * len(classes))
    _, second = train_test_split(np.arange(len(labels)), test_size=size, stratify=labels, random_state=seed)
    in_second = np.zeros(len(labels), bool)
    in_second[second] = True
    _repair(in_second, labels, counts, seed, keep)
    return np.flatnonzero(~in_second), np.flatnonzero(in_second)


def fold_indices(labels: np.ndarray, folds: int, seed: int) -> list[np.ndarray]:
    """Divide images into folds of nearly equal size, stratified by class: each image is in exactly one.

    Args:
        labels: Class numbers (images,), or 0 and 1 (images, classes).
        folds: Number of folds, at least 2. A class with fewer images is in some folds only.
        seed: Draws the images.

    Returns:
        Indices of each fold, in order.
    """
    if labels.ndim == 2:
        part = _stratify(labels, np.full((folds, 1), 1 / folds), seed)
        return [np.flatnonzero(part == fold) for fold in range(folds)]
    from sklearn.model_selection import StratifiedKFold  # takes seconds, and predictions need no folds

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a class that some folds lack
        return [
            fold
            for _, fold in StratifiedKFold(folds, shuffle=True, random_state=seed % (1 << 32)).split(labels, labels)
        ]


def check_folds(labels: np.ndarray, folds: int, classes: Sequence[str]) -> None:
    """Refuse more folds than the rarest class has images.

    Args:
        labels: Class numbers (images,), or 0 and 1 (images, classes), of all images but those of the test split.
        folds: Number of folds.
        classes: Class names, for the message.

    Raises:
        ValueError: A class has fewer images than there are folds.
    """
    counts = count_classes(labels, len(classes))
    rarest = int(counts.argmin())
    if (count := int(counts[rarest])) < folds:
        fewer = f"use at most {count} folds, " if count > 1 else ""
        raise ValueError(
            f"{folds} folds need at least {folds} images of every class outside the test split, and class "
            f"{classes[rarest]!r} has {count}; {fewer}add images of it, or leave the class out"
        )


def sample_indices(labels: np.ndarray, size: int, seed: int, classes: Sequence[str]) -> np.ndarray:
    """Return some images, stratified by class, with at least one of each class that has any.

    Args:
        labels: Class numbers (images,), or 0 and 1 (images, classes).
        size: Number of images; with several labels per image, about.
        seed: Draws the images.
        classes: Class names, for messages.

    Returns:
        Their indices in order.
    """
    counts = count_classes(labels, len(classes))
    if counts.min() > 1:
        return split_indices(labels, size, seed, classes)[1]
    if labels.ndim == 2:
        return np.flatnonzero(_draw_second(labels, size / len(labels), seed))
    single = counts[labels] == 1
    others = np.flatnonzero(~single)
    if not len(others):
        return np.flatnonzero(single)
    present, numbers = np.unique(labels[others], return_inverse=True)
    _, chosen = split_indices(numbers, size - int(single.sum()), seed, [classes[i] for i in present])
    return np.sort(np.concatenate([np.flatnonzero(single), others[chosen]]))


def _check_counts(counts: np.ndarray, keep: int, classes: Sequence[str]) -> None:
    """Refuse classes with fewer images than splits, the rarest first."""
    rare = [i for i in np.argsort(counts, kind="stable") if counts[i] <= keep]
    if not rare:
        return
    others = ", ".join(f"{classes[i]} {counts[i]}" for i in rare[1:NAMED])
    more = f" and {len(rare) - NAMED} more" if len(rare) > NAMED else ""
    raise ValueError(
        f"class {classes[rare[0]]!r} has too few images ({counts[rare[0]]} left); train, validation and test each need "
        f"at least one of every class{f'; so have {others}{more}' if others else ''}; add images, leave the class out, "
        "or give the data validation and test splits of its own"
    )


def _repair(in_second: np.ndarray, labels: np.ndarray, counts: np.ndarray, seed: int, keep: int) -> None:
    """Move as few images as give each class one in the second part and `keep` in the first; the sizes stay."""
    before = np.bincount(labels[in_second], minlength=len(counts))
    after = before.clip(1, counts - keep)
    share = before.sum() / len(labels)
    while excess := after.sum() - before.sum():
        step = -1 if excess > 0 else 1
        room = (after > 1) if excess > 0 else (after < counts - keep)
        surplus = step * (share * counts - after)  # what a class lacks, or has beyond its share
        after[np.where(room, surplus, -np.inf).argmax()] += step
    if (after == before).all():
        return
    order = _draw_order(len(labels), seed)
    for number in np.flatnonzero(after != before):
        goes = bool(after[number] > before[number])
        candidates = order[(labels[order] == number) & (in_second[order] != goes)]
        in_second[candidates[: abs(after[number] - before[number])]] = goes


def _repair_indicators(in_second: np.ndarray, labels: np.ndarray, seed: int, classes: Sequence[str], keep: int) -> None:
    """Move images with several labels until each class has one in the second part and `keep` in the first."""
    counts, order = labels.sum(axis=0), _draw_order(len(labels), seed)
    inside = labels[in_second].sum(axis=0)
    tabu = np.zeros(len(labels), "int64")  # how often an image was moved: others go first

    def lacks(images: np.ndarray) -> np.ndarray:
        """How many images the parts lack, (..., classes)."""
        return (1 - images).clip(0) + (keep - counts + images).clip(0)

    for _ in range(REPAIRS * len(classes)):
        lacking = lacks(inside)
        if not lacking.any():
            return
        number = int(lacking.argmax())
        goes = bool(inside[number] < 1)
        candidates = order[(labels[order, number] == 1) & (in_second[order] != goes)]
        moves = labels[candidates] if goes else -labels[candidates]
        cost = lacks(inside + moves).sum(axis=-1) + tabu[candidates]
        best = int(cost.argmin())
        in_second[candidates[best]] = goes
        inside += moves[best]
        tabu[candidates[best]] += 1
    names = ", ".join(classes[i] for i in np.flatnonzero(lacks(inside)).tolist()[:NAMED])
    raise ValueError(
        f"no division was found that has an image of every class in each split: {names}, whose images also have the "
        "labels of other rare classes; add images, leave classes out, or give the data splits of its own"
    )


def _draw_order(count: int, seed: int) -> np.ndarray:
    return np.argsort(np.random.PCG64(seed % (1 << 64)).random_raw(count), kind="stable")


def _draw_second(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Which images with several labels go to the second of two parts, to which each class gives at least one."""
    counts = labels.sum(axis=0)
    target = np.clip(share * counts, 1, counts - 1)
    wanted = np.stack([counts - target, target])
    return _stratify(labels, np.array([[1 - share], [share]]), seed, wanted) == 1


def _stratify(labels: np.ndarray, shares: np.ndarray, seed: int, wanted: np.ndarray | None = None) -> np.ndarray:
    """The part to which each image with several labels goes, by iterative stratification.

    The class with the fewest images left is served first: each goes to the part that lacks more of them (Sechidis,
    Tsoumakas and Vlahavas 2011, doi:10.1007/978-3-642-23808-6_10).

    Args:
        labels: 0 and 1 (images, classes).
        shares: Share of the images that each part gets (parts, 1).
        seed: Draws the images.
        wanted: Images of each class in each part (parts, classes); the shares of them where it is None.
    """
    counts = labels.sum(axis=0)
    lacking = shares * counts if wanted is None else wanted
    size = shares[:, 0] * len(labels)
    order = _draw_order(len(labels), seed)
    part = np.full(len(labels), -1)
    left = counts.copy()
    while left.any():
        rarest = int(np.where(left > 0, left, len(labels) + 1).argmin())
        for i in order[(part[order] < 0) & (labels[order, rarest] == 1)]:
            lack = lacking[:, rarest]
            part[i] = int(np.where(lack == lack.max(), size, -np.inf).argmax())
            lacking[part[i]] -= labels[i]
            size[part[i]] -= 1
            left -= labels[i]
    for i in order[part[order] < 0]:  # without a label
        part[i] = int(size.argmax())
        size[part[i]] -= 1
    return part
