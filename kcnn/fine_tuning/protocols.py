"""What transfer buys: a network from scratch, with a new head alone, and fine-tuned, on several seeds."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kcnn import statistics
from kcnn.architectures.spec import summary, trace
from kcnn.atomic_io import write_text
from kcnn.data import ImageDataset
from kcnn.graph.ops import BatchNorm
from kcnn.keras_bridge.saved_models import load_model
from kcnn.statistics import t_interval, wilson_interval
from kcnn.training import Recipe, TrainingPhase, get_recipe, train
from kcnn.training.evaluation import compute_scores
from kcnn.training.run_directory import to_csv

MOMENTUM = 0.9
SCRATCH, HEAD, TUNED = "from scratch", "head only", "fine-tuned"


@dataclass(frozen=True)
class Protocol:
    """One way to a trained network: phases after each other from the given weights, or a recipe from none.

    It goes on from where the way `after` ended; then it brings its own phases alone.
    """

    name: str
    phase: TrainingPhase | None
    recipe: Recipe
    after: str | None = None


@dataclass(frozen=True)
class ProtocolResult:
    """What a way came to: accuracies of the test split by seed, their mean and its confidence interval.

    Where a picture may have several labels, an accuracy is the share of pictures with every label right.
    """

    protocol: str
    accuracies: tuple[float, ...]
    accuracy: float
    low: float
    high: float
    images: int  # of the test split
    seconds: float  # of training, the mean over seeds, with the way that it goes on from
    parameters: int  # that train
    average_precision: float | None = None  # where a picture may have several labels: mean of classes and seeds


@dataclass(frozen=True)
class ProtocolDifference:
    """By how much one way is better than another on the same test images, in points, and its confidence interval."""

    better: str
    worse: str
    points: float
    low: float
    high: float
    significant: bool  # whether the interval leaves out 0


@dataclass(frozen=True)
class Comparison:
    """Rows and differences, the best way that starts from weights, and the folder of the runs, seed-N/way in it."""

    folder: Path
    results: tuple[ProtocolResult, ...]
    differences: tuple[ProtocolDifference, ...]
    best: str

    def run(self, seed: int, way: str) -> Path:
        """The folder of a run."""
        return _place(self.folder, seed, way)


def default_protocols(
    head: TrainingPhase,
    fine: TrainingPhase,
    *,
    base: Recipe | None = None,
    fine_base: Recipe | None = None,
) -> tuple[Protocol, ...]:
    """The three that are usually compared: from scratch, the head alone, and after that fine-tuned.

    `base` has what a phase does not say, such as optimizer and augmentation, and `fine_base` for the
    second phase; from scratch everything trains for as many epochs as both together.
    """
    base = base or Recipe()
    fine_base = fine_base or base
    scratch = get_recipe(fine_base, {"epochs": head.epochs + fine.epochs})
    return (Protocol(SCRATCH, None, scratch), Protocol(HEAD, head, base), Protocol(TUNED, fine, fine_base, after=HEAD))


def compare_protocols(
    network: str,
    data: Callable[[int], ImageDataset],
    *,
    out: str | Path,
    weights: str | Path,
    protocols: Sequence[Protocol],
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    options: Mapping[str, Any] | None = None,
    callbacks: Sequence[Any] = (),
    log: Callable[[str], None] = print,
) -> Comparison:
    """Train every way on every seed, `data(seed)` each, and compare them on the test splits.

    From scratch, batch norms take moving averages over 10 steps where the network has longer ones, or
    they would lag behind in so short a training.

    Runs lie in `out`/seed-N, so that a comparison that was stopped goes on where it was. With several
    seeds the confidence intervals are Student's over seeds, with one they are of the test images:
    Wilson's for an accuracy, and of the paired answers for a difference. Also written:
    transfer.json and transfer.csv. Errors are those of kcnn.training.train.
    """
    root, found = Path(out), {way.name: _Found() for way in protocols}
    quick = _quick_norms(network, options or {})
    for seed in seeds:
        served = data(seed)
        for way in protocols:
            folder = _place(root, seed, way.name)
            start: Any = _place(root, seed, way.after) / "model.keras" if way.after else weights
            run = train(
                network,
                served,
                out=folder,
                recipe=way.recipe,
                weights=None if way.phase is None else start,
                head=way.after is not None,
                phase=way.phase,
                overrides=None if way.phase else quick,
                seed=seed,
                options=options,
                callbacks=callbacks,
                log=_prefixed(log, f"{way.name}, seed {seed}"),
            )
            spent = run.metrics["training_seconds"] + (found[way.after].seconds[-1] if way.after else 0.0)
            found[way.name].add(run.metrics, spent, _trained(folder, run.metrics))
            log(f"{way.name}, seed {seed}: {run.metrics['accuracy']:.2%} of {run.metrics['test_images']} test images")
        if len(seeds) == 1:
            for way in protocols:
                model = load_model(_place(root, seed, way.name) / "model.keras")
                logits, truth = compute_scores(model, served.test)
                said = statistics.predict_labels(statistics.to_probabilities(logits, model.metadata), model.metadata)
                found[way.name].right = statistics.is_correct(said, truth)
    rows = tuple(found[way.name].row(way.name) for way in protocols)
    pairs = [(later.name, earlier.name) for i, later in enumerate(protocols) for earlier in protocols[:i]]
    differences = tuple(_difference(better, found[better], worse, found[worse]) for better, worse in pairs)
    write_text(
        root / "transfer.csv",
        to_csv([{**asdict(row), "accuracies": " ".join(map(str, row.accuracies))} for row in rows]),
    )
    best = _best(protocols, rows)
    told = {
        "seeds": list(seeds),
        "rows": [asdict(row) for row in rows],
        "differences": [asdict(one) for one in differences],
        "best": _place(root, seeds[0], best).relative_to(root).as_posix(),  # the run that a page shows
    }
    write_text(root / "transfer.json", json.dumps(told, indent=1))
    return Comparison(root, rows, differences, best)


def _best(ways: Sequence[Protocol], rows: Sequence[ProtocolResult]) -> str:
    """By test accuracy, or where a picture may have several labels by average precision."""
    moved = [row for way, row in zip(ways, rows, strict=True) if way.phase is not None] or rows
    return max(moved, key=lambda row: row.accuracy if row.average_precision is None else row.average_precision).protocol


def _quick_norms(network: str, options: Mapping[str, Any]) -> dict[str, float]:
    """Changes by which batch norms trained from scratch average over tens of steps: few photos make no thousands."""
    drawn = trace(network, **options)
    if drawn.architecture is None or drawn.architecture.keras is not None:
        return {}  # no address reaches its layers
    return {
        f"{row.name}.momentum": MOMENTUM
        for row in summary(drawn)
        if isinstance(row.op, BatchNorm) and row.op.momentum > MOMENTUM
    }


def _prefixed(say: Callable[[str], None], words: str) -> Callable[[str], None]:
    return lambda text: say(f"{words}: {text}")


def _place(root: Path, seed: int, way: str) -> Path:
    return root / f"seed-{seed}" / way.replace(" ", "-")


class _Found:
    """What the seeds of one way came to, while they come in."""

    def __init__(self) -> None:
        self.accuracies: list[float] = []
        self.seconds: list[float] = []
        self.precisions: list[float] = []
        self.images = self.correct = self.parameters = 0
        self.right: np.ndarray | None = None  # by test image, where there is one seed

    def add(self, metrics: Mapping[str, Any], seconds: float, parameters: int) -> None:
        self.accuracies.append(metrics["accuracy"])
        self.seconds.append(seconds)
        if "mean_average_precision" in metrics:
            self.precisions.append(metrics["mean_average_precision"])
        self.images, self.correct, self.parameters = metrics["test_images"], metrics["correct"], parameters

    def row(self, way: str) -> ProtocolResult:
        mean = float(np.mean(self.accuracies))
        if self.right is not None:
            low, high = wilson_interval(self.correct, self.images)
        else:
            low, high = t_interval(self.accuracies)
        seconds = float(np.mean(self.seconds))
        precision = float(np.mean(self.precisions)) if self.precisions else None
        accuracies = tuple(self.accuracies)
        return ProtocolResult(
            way, accuracies, mean, low, high, self.images, round(seconds, 1), self.parameters, precision
        )


def _difference(better: str, ours: _Found, worse: str, theirs: _Found) -> ProtocolDifference:
    """Paired: by seed, or by test image where there is one seed."""
    if ours.right is not None and theirs.right is not None:
        each = ours.right.astype("float64") - theirs.right
    else:
        each = np.subtract(ours.accuracies, theirs.accuracies)
    low, high = (100 * bound for bound in t_interval(each.tolist()))
    return ProtocolDifference(better, worse, float(100 * each.mean()), low, high, low > 0 or high < 0)


def _trained(folder: Path, metrics: Mapping[str, Any]) -> int:
    """How many parameters were allowed to move."""
    path = folder / "ledger.csv"
    if not path.exists():
        return metrics["params"]
    with path.open() as file:
        return sum(int(row["parameters"]) for row in csv.DictReader(file) if row["allowed"] == "True")
