"""Runs compared: metrics side by side, and differences with their intervals and p-values."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from kcnn import classification, statistics
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.formatting import format_count, format_table
from kcnn.run_folders import METRICS, resolve_run
from kcnn.statistics import CONFIDENCE, compare_predictions, difference_interval, wilson_interval
from kcnn.training import evidence
from kcnn.training import run_directory as runs
from kcnn.training.split_record import format_labels, read_record

COLUMNS = ("run", "network", "data", "test", "95% interval", "parameters", "MACs", "epochs", "seconds")
LEFT = ("run", "network", "data")  # columns of text
MAX_RUNS = 6  # that are compared each with each on a page


@dataclass(frozen=True)
class RunRow:
    """A finished run: its test accuracy with the 95% interval, and its cost.

    Attributes:
        folder: The run's folder.
        network: The network's name.
        data: The data's name.
        accuracy: Fraction of test images that are predicted correctly.
        low: Lower end of its 95% Wilson interval.
        high: Upper end of its 95% Wilson interval.
        test_images: Number of test images.
        params: Trainable parameters.
        macs: Multiply-accumulates per image.
        epochs: Epochs that were trained.
        seconds: Seconds of training.
    """

    folder: str
    network: str
    data: str
    accuracy: float
    low: float
    high: float
    test_images: int
    params: int
    macs: int
    epochs: int
    seconds: float


@dataclass(frozen=True)
class RunDifference:
    """The difference of two runs in test accuracy.

    On the same images the test is McNemar's exact one, over the images that only one of the runs predicts correctly,
    with the interval of Agresti and Min (2005). Unpaired, on other images or without the predictions, it is Fisher's
    exact test, which needs larger differences, with the interval of Agresti and Caffo (2000).

    Attributes:
        first: Folder of the first run.
        second: Folder of the second run.
        points: Percentage points by which the first is better.
        low: Lower end of the 95% interval in points; None if the classes differ.
        high: Upper end of the 95% interval in points; None if the classes differ.
        p: Two-sided p-value, adjusted by Holm's method for the number of differences of the comparison; None if the
            classes differ.
        paired: Whether both were tested on the same images.
        reason: Why they are not paired; empty if they are, or if the classes differ.
    """

    first: str
    second: str
    points: float
    low: float | None
    high: float | None
    p: float | None
    paired: bool
    reason: str = ""

    @property
    def significant(self) -> bool:
        """Return whether p is below 0.05."""
        return self.p is not None and self.p < 1 - CONFIDENCE

    def __str__(self) -> str:
        if self.p is None:
            return f"{self.first} vs. {self.second}: not compared, their classes differ"
        on = "on the same images" if self.paired else f"unpaired: {self.reason}"
        verdict = "significant" if self.significant else "not significant"
        return (
            f"{self.first} vs. {self.second}: {self.points:+.2f} points "
            f"(95% interval {self.low:+.2f} to {self.high:+.2f}, {on}), {verdict} (p = {self.p:.2g})"
        )


@dataclass(frozen=True)
class RunComparison:
    """Runs side by side, and the difference of each pair. It prints as a table.

    Attributes:
        runs: The runs.
        differences: The difference of each pair.
    """

    runs: tuple[RunRow, ...]
    differences: tuple[RunDifference, ...]

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of the table, by COLUMNS, a row for each run."""
        return [
            (
                run.folder,
                run.network,
                run.data,
                f"{run.accuracy:.2%}",
                f"{run.low:.2%} to {run.high:.2%}",
                f"{run.params:,}",
                format_count(run.macs),
                str(run.epochs),
                f"{run.seconds:.0f}",
            )
            for run in self.runs
        ]

    @property
    def notes(self) -> list[str]:
        """Return what a person should know about the p-values and intervals of several differences, a sentence each."""
        note = statistics.describe_adjustment(sum(difference.p is not None for difference in self.differences))
        return [note] if note else []

    def __str__(self) -> str:
        return "\n".join([format_table(COLUMNS, self.rows(), LEFT), *map(str, self.differences), *self.notes])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in COLUMNS)
        rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in self.rows())
        lines = [*map(str, self.differences), *self.notes]
        differences = "".join(f"<li>{escape(line)}</li>" for line in lines)
        return f"<table><tr>{head}</tr>{rows}</table><ul>{differences}</ul>"


@check_arguments
def compare_runs(folders: Sequence[str | Path]) -> RunComparison:
    """Compare finished runs, each with each.

    Args:
        folders: Folders of the runs, at least two; that of a transfer or a search stands for its best run.

    Returns:
        The runs and their differences.

    Raises:
        FileNotFoundError: A folder has no finished run.
        ValueError: Fewer than two folders, or results that are damaged.
    """
    if len(folders) < 2:
        raise ValueError(f"a comparison needs at least 2 runs, got {len(folders)}")
    tested = [_read_tested(resolve_run(folder).require(METRICS).path) for folder in folders]
    pairs = list(combinations(tested, 2))
    return RunComparison(tuple(one.row for one in tested), _compare_pairs(pairs))


def compare_with_best(folders: Sequence[Path]) -> RunComparison:
    """Compare finished runs: each with each, or of more than MAX_RUNS each with the one that is best in validation.

    Args:
        folders: Folders of the runs, at least two.

    Returns:
        The runs and their differences.
    """
    if len(folders) <= MAX_RUNS:
        return compare_runs(folders)
    # The test accuracy of the run with the highest one is too high by chance; it chooses no baseline.
    validation = [runs.read_metrics(folder).get("validation_accuracy") or 0.0 for folder in folders]
    best = _read_tested(folders[int(np.argmax(validation))])
    rows = [read_run(folder) for folder in folders]
    others = (_read_tested(folder) for folder in folders if str(folder) != best.row.folder)  # one in memory at a time
    return RunComparison(tuple(rows), _compare_pairs((best, other) for other in others))


def _compare_pairs(pairs: Iterable[tuple["_Tested", "_Tested"]]) -> tuple[RunDifference, ...]:
    """The difference of each pair, with p-values adjusted for their number."""
    differences = [_compare(a, b) for a, b in pairs]
    adjusted = iter(statistics.adjust_p_values([one.p for one in differences if one.p is not None]))
    return tuple(one if one.p is None else replace(one, p=next(adjusted)) for one in differences)


def read_run(folder: Path) -> RunRow:
    """Return the results of a finished run.

    Raises:
        FileNotFoundError: The folder has no finished run.
    """
    metrics = runs.read_metrics(folder)
    low, high = wilson_interval(metrics["correct"], metrics["test_images"])
    return RunRow(
        str(folder),
        metrics["request"]["spec"]["network"],
        metrics["request"]["data"],
        metrics["accuracy"],
        low,
        high,
        metrics["test_images"],
        metrics["params"],
        metrics["macs"],
        metrics["epochs"],
        metrics["training_seconds"],
    )


@dataclass(frozen=True)
class _Tested:
    """A run, its classes, and by content and label the test images that it predicts correctly, where that was kept."""

    row: RunRow
    classes: list[str]
    correct: int
    images: list[tuple[bytes, str]]  # content and label of each, sorted; empty where that is not known
    is_correct: np.ndarray | None
    multi_label: bool
    seed: int  # of the splits


def _read_tested(folder: Path) -> _Tested:
    metrics, held = runs.read_metrics(folder), evidence.read_evidence(folder)
    request, is_correct, images = metrics["request"], None, list[tuple[bytes, str]]()
    if held is not None and not request.get("multi_label"):
        predictions = classification.predict_labels(classification.to_probabilities(held.logits, {}), {})
        is_correct = classification.is_correct(predictions, held.truth)
        images = _read_images(folder, request)
        if [label for _, label in images] != format_labels(held.truth):
            images = []
        order = sorted(range(len(images)), key=images.__getitem__)
        images, is_correct = [images[i] for i in order], is_correct[order]
    multi_label, seed = bool(request.get("multi_label")), request.get("data_seed", request["config"]["seed"])
    classes, correct = list(metrics["per_class"]), metrics["correct"]
    return _Tested(read_run(folder), classes, correct, images, is_correct, multi_label, seed)


def _read_images(folder: Path, request: Mapping[str, Any]) -> list[tuple[bytes, str]]:
    """Content and label of each test image; none where the run has no record of them."""
    try:
        return read_record(folder, request["fingerprint"]).list_test_images()
    except FileNotFoundError:  # of an older version
        return []


def _compare(a: _Tested, b: _Tested) -> RunDifference:
    names, points = (a.row.folder, b.row.folder), 100 * (a.row.accuracy - b.row.accuracy)
    if a.classes != b.classes:
        return RunDifference(*names, points, None, None, None, False)
    reason = _explain_unpaired(a, b)
    if not reason and a.is_correct is not None and b.is_correct is not None:
        paired = compare_predictions(a.is_correct, b.is_correct)
        return RunDifference(*names, points, paired.low, paired.high, paired.p, True)
    counts = [[one.correct, one.row.test_images - one.correct] for one in (a, b)]
    low, high = difference_interval((a.correct, a.row.test_images), (b.correct, b.row.test_images))
    from scipy import stats  # which takes a second to import

    p = float(stats.fisher_exact(counts).pvalue)
    return RunDifference(*names, points, 100 * low, 100 * high, p, False, reason)


def _explain_unpaired(a: _Tested, b: _Tested) -> str:
    """Why two runs are not compared image by image; empty where they are."""
    if a.multi_label or b.multi_label:
        return "images have several labels"
    for one in (a, b):
        if one.is_correct is None or not one.images:
            missing = f"predictions in {evidence.FILE}" if one.is_correct is None else "record of its test images"
            return f"{one.row.folder} has no {missing}"
    if a.images == b.images:
        return ""
    seeds = f", split with seeds {a.seed} and {b.seed}" if a.seed != b.seed else ""
    return f"their test images or labels differ{seeds}"
