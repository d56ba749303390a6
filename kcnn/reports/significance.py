"""Several runs side by side: which of their differences are more than noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from kcnn import statistics
from kcnn.statistics import CONFIDENCE, wilson_interval
from kcnn.training import evidence
from kcnn.training import run_directory as runs


@dataclass(frozen=True)
class RunRow:
    """A finished run: the share of its test pictures that are right, with its 95 % interval, and what it takes."""

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
    """Two runs: percentage points between them, and the probability of that much or more by chance, None where their
    classes are not the same.

    On the same pictures it is that of McNemar's exact test, of those that one has right and the other wrong; unpaired,
    on others or where the answers are not at hand, that of Fisher's, which needs larger differences.
    """

    first: str
    second: str
    points: float
    p: float | None
    paired: bool

    @property
    def significant(self) -> bool:
        return self.p is not None and self.p < 1 - CONFIDENCE

    def __str__(self) -> str:
        if self.p is None:
            return f"{self.first} against {self.second}, not compared: their classes are not the same"
        how = " on the same pictures" if self.paired else ", unpaired"
        verdict = "a difference" if self.significant else "noise: no difference is shown"
        return f"{self.first} against {self.second}: {self.points:+.2f} points{how}, p = {self.p:.2g}: {verdict}"


@dataclass(frozen=True)
class RunComparison:
    runs: tuple[RunRow, ...]
    differences: tuple[RunDifference, ...]


def compare_runs(folders: Sequence[str | Path]) -> RunComparison:
    """Finished runs by their folders, each with each. FileNotFoundError where one holds none; ValueError for one."""
    if len(folders) < 2:
        raise ValueError("a comparison needs two runs or more")
    found = [_run(Path(one)) for one in folders]
    differences = [_difference(a, b) for a, b in combinations(found, 2)]
    return RunComparison(tuple(one["side"] for one in found), tuple(differences))


def read_run(folder: Path) -> RunRow:
    """What a finished run came to. FileNotFoundError where there is none."""
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


def _run(folder: Path) -> dict[str, Any]:
    mine, metrics, held = read_run(folder), runs.read_metrics(folder), evidence.read_evidence(folder)
    request, right = metrics["request"], None
    if held is not None and not request.get("multi_label"):
        right = statistics.is_correct(
            statistics.predict_labels(statistics.to_probabilities(held.logits, {}), {}), held.truth
        )
    pictures = (request["fingerprint"], request.get("data_seed", request["config"]["seed"]))
    return {"side": mine, "metrics": metrics, "right": right, "pictures": pictures}


def _difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> RunDifference:
    points = 100 * (a["side"].accuracy - b["side"].accuracy)
    if list(a["metrics"]["per_class"]) != list(b["metrics"]["per_class"]):
        return RunDifference(a["side"].folder, b["side"].folder, points, None, False)
    same = a["pictures"] == b["pictures"] and a["right"] is not None and b["right"] is not None
    if same and len(a["right"]) == len(b["right"]):
        only, other = int(np.sum(a["right"] & ~b["right"])), int(np.sum(b["right"] & ~a["right"]))
        p = float(stats.binomtest(only, only + other).pvalue) if only + other else 1.0
        return RunDifference(a["side"].folder, b["side"].folder, points, p, True)
    counts = [[one["metrics"]["correct"], one["metrics"]["test_images"] - one["metrics"]["correct"]] for one in (a, b)]
    return RunDifference(a["side"].folder, b["side"].folder, points, float(stats.fisher_exact(counts).pvalue), False)
