"""Compare training protocols on several seeds: from scratch, a new head alone, and fine-tuned."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from kcnn import classification
from kcnn.architectures.spec import ModelSpec
from kcnn.data import ImageDataset
from kcnn.distribute.cluster import START_ONCE, require_one_process
from kcnn.fine_tuning.comparison import Comparison, ProtocolDifference, ProtocolResult, check_folder, write_comparison
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_type
from kcnn.graph.names import unknown
from kcnn.keras_bridge.saved_models import load_model
from kcnn.statistics import adjust_differences, compare_paired, compare_predictions, estimate_mean, wilson_interval
from kcnn.training import TrainConfig, TrainingPhase, TrainResult, name_run_folder, train
from kcnn.training.evidence import compute_scores
from kcnn.training.layer_selection import check_phase
from kcnn.training.run_directory import AUDIT
from kcnn.weights.published import resolve_spec

SCRATCH_MOMENTUM = 0.9  # of batch norms trained from scratch on few images
SCRATCH, HEAD, TUNED = "from scratch", "head only", "fine-tuned"


@check_arguments
@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One way of training a network, to be compared with others.

    Attributes:
        name: Its name, also of its folder.
        config: How it trains; its phase says which layers, and without one everything trains.
        weights: Pretrained weights to start from, by name or a file; their classifier is left out. None starts from
            random weights.
        after: The protocol whose result it starts from, classifier included, instead of `weights`.
    """

    name: str
    config: TrainConfig
    weights: str | None = None
    after: str | None = None

    def __post_init__(self) -> None:
        check_type("config", self.config, TrainConfig)
        object.__setattr__(self, "weights", None if self.weights is None else str(self.weights))

    @property
    def is_pretrained(self) -> bool:
        """Return whether it starts from weights."""
        return self.weights is not None or self.after is not None

    def to_json(self) -> dict[str, Any]:
        """Return the protocol as JSON values."""
        return {"name": self.name, "config": self.config.to_json(), "weights": self.weights, "after": self.after}


@check_arguments
def default_protocols(
    weights: str | None = "imagenet",
    head: TrainConfig | None = None,
    fine: TrainConfig | None = None,
    *,
    scratch: bool = False,
) -> tuple[Protocol, ...]:
    """Return the protocols that are usually compared: head only, after that fine-tuned, and before both from scratch.

    Args:
        weights: Pretrained weights by name, or a file.
        head: Trains the head; by default for 20 epochs at a learning rate of 1e-2.
        fine: Fine-tunes after that; by default the last stage and the head for 10 epochs at 1e-4.
        scratch: Whether to train everything from scratch, too, with the configuration of `fine` without its phase, for
            as many epochs as both together. Batch norms then average over 10 steps, or longer averages would lag behind
            on few images.

    Returns:
        The protocols "head only" and "fine-tuned", and before them "from scratch" where it is asked for.

    Raises:
        ValueError: A configuration has no phase.
    """
    head = head or TrainConfig(recipe="quick", phase=TrainingPhase(20, "head", 1e-2))
    fine = fine or TrainConfig(recipe="quick", phase=TrainingPhase(10, 1, 1e-4))
    if head.phase is None or fine.phase is None:
        raise ValueError("default_protocols expects configurations with a phase, which says what trains")
    momentum = {"norm_momentum": SCRATCH_MOMENTUM, **fine.recipe_overrides}
    epochs = head.phase.epochs + fine.phase.epochs
    everything = replace(fine, phase=None, epochs=epochs, recipe_overrides=momentum)
    return (
        *((Protocol(name=SCRATCH, config=everything),) if scratch else ()),
        Protocol(name=HEAD, config=head, weights=weights),
        Protocol(name=TUNED, config=fine, after=HEAD),
    )


@check_arguments
def compare_protocols(
    network: str | ModelSpec,
    data: Callable[[int], ImageDataset],
    protocols: Sequence[Protocol] | None = None,
    *,
    out: str | Path,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    callbacks: Sequence[Any] = (),
    log: Callable[[str], None] = print,
) -> Comparison:
    """Train a network by several protocols on several seeds, choose by validation, and compare on the test split.

    An interrupted comparison is resumed by the same call. With several seeds the intervals are Student's t
    over seeds, clipped to 0..100%; with one they are those of the test images, Wilson's for an accuracy.

    Args:
        network: A name, or a ModelSpec.
        data: Returns the dataset of a seed.
        protocols: The protocols, each after the one it starts from; by default those of `default_protocols` with the
            weights of the ModelSpec, or "imagenet".
        out: Folder of the runs (seed-N/PROTOCOL), transfer.json and transfer.csv.
        seeds: Each replaces that of the configurations.
        callbacks: Keras callbacks of every run.
        log: Takes progress as lines of text.

    Returns:
        The results and their differences.

    Raises:
        FileExistsError: `out` is the folder of a run or a search.
        ValueError: `out` holds another comparison, or one that an older version of kcnn wrote; a protocol has folds; or
            this process is one of several workers, which a strategy would join.
        UnknownNameError: A protocol starts from one that is not before it, or trains layers that the network lacks.
    """
    spec, root = resolve_spec(network), Path(out)
    if protocols is None:
        protocols = default_protocols(spec.weights or "imagenet")
    for protocol in protocols:
        spec = resolve_spec(spec, protocol.weights)
    if any(protocol.config.strategy in ("auto", "multiworker") for protocol in protocols):
        require_one_process("a comparison of protocols", START_ONCE)
    for protocol in protocols:
        if protocol.config.folds:
            raise ValueError(f"folds have no meaning in a comparison of protocols; remove them from {protocol.name!r}")
    _check_order(protocols)
    check_folder(root)
    spec = replace(spec, weights=None)
    graph = spec.trace()
    for protocol in protocols:
        if protocol.config.phase:
            check_phase(graph, protocol.config.phase)  # the last protocol begins when the others are trained
    collected = {protocol.name: _Collected() for protocol in protocols}
    for seed in seeds:
        dataset = data(seed)
        for protocol in protocols:
            folder = name_run_folder(root, seed, protocol.name)
            start = (
                str(name_run_folder(root, seed, protocol.after) / "model.keras") if protocol.after else protocol.weights
            )
            result = train(
                replace(spec, weights=start) if protocol.is_pretrained else spec,
                dataset,
                replace(protocol.config, seed=seed, load_head=protocol.after is not None),
                out=folder,
                callbacks=callbacks,
                verbose=0,
                log=_prefix(log, f"{protocol.name}, seed {seed}"),
            )
            metrics = result.metrics
            before = collected[protocol.after].seconds[-1] if protocol.after else 0.0
            parameters = _count_trainable(folder, metrics)
            collected[protocol.name].add(result, metrics["training_seconds"] + before, parameters)
            log(f"{protocol.name}, seed {seed}: {metrics['accuracy']:.2%} of {metrics['test_images']} test images")
        if len(seeds) == 1:
            for protocol in protocols:
                model = load_model(name_run_folder(root, seed, protocol.name) / "model.keras")
                logits, labels = compute_scores(model, dataset.test)
                probabilities = classification.to_probabilities(logits, model.metadata)
                predictions = classification.predict_labels(probabilities, model.metadata)
                collected[protocol.name].is_correct = classification.is_correct(predictions, labels)
    comparison = Comparison(
        folder=root,
        results=(results := tuple(collected[protocol.name].to_result(protocol.name) for protocol in protocols)),
        differences=tuple(
            adjust_differences(
                [
                    _compare(later.name, collected[later.name], earlier.name, collected[earlier.name])
                    for i, later in enumerate(protocols)
                    for earlier in protocols[:i]
                ]
            )
        ),
        best=find_best(protocols, results),
        seeds=tuple(seeds),
    )
    write_comparison(comparison, spec, [protocol.to_json() for protocol in protocols])
    return comparison


def _check_order(protocols: Sequence[Protocol]) -> None:
    for i, protocol in enumerate(protocols):
        earlier = [one.name for one in protocols[:i]]
        if protocol.after is not None and protocol.after not in earlier:
            raise unknown("protocol", protocol.after, earlier, f"{protocol.name!r} starts after it")


def find_best(protocols: Sequence[Protocol], results: Sequence[ProtocolResult]) -> str:
    """Return the name of the pretrained protocol that is best in validation; of equal ones, of the lowest loss.

    Args:
        protocols: The protocols; where none is pretrained, any may be the best.
        results: Their results, in the same order.
    """
    pairs = zip(protocols, results, strict=True)
    pretrained = [result for protocol, result in pairs if protocol.is_pretrained] or results
    return max(pretrained, key=lambda result: (result.validation, -result.validation_loss)).protocol


def _prefix(log: Callable[[str], None], prefix: str) -> Callable[[str], None]:
    return lambda text: log(f"{prefix}: {text}")


@dataclass
class _Collected:
    """The results of one protocol, seed by seed."""

    accuracies: list[float] = field(default_factory=list)
    validations: list[tuple[float, float]] = field(default_factory=list)  # accuracy or average precision, and loss
    seconds: list[float] = field(default_factory=list)
    precisions: list[float] = field(default_factory=list)
    images: int = 0
    correct: int = 0
    parameters: int = 0
    is_correct: np.ndarray | None = None  # by test image, with one seed

    def add(self, result: TrainResult, seconds: float, parameters: int) -> None:
        metrics, best = result.metrics, result.history[result.metrics["best_epoch"] - 1]
        self.validations.append((best.get("val_average_precision", best["val_accuracy"]), best["val_loss"]))
        self.accuracies.append(metrics["accuracy"])
        self.seconds.append(seconds)
        if "mean_average_precision" in metrics:
            self.precisions.append(metrics["mean_average_precision"])
        self.images, self.correct, self.parameters = metrics["test_images"], metrics["correct"], parameters

    def to_result(self, protocol: str) -> ProtocolResult:
        if self.is_correct is not None:  # one seed
            low, high = wilson_interval(self.correct, self.images)
        else:
            estimate = estimate_mean(self.accuracies)
            low, high = estimate.low, estimate.high
        return ProtocolResult(
            protocol=protocol,
            validation=float(np.mean([score for score, _ in self.validations])),
            validation_loss=float(np.mean([loss for _, loss in self.validations])),
            accuracies=tuple(self.accuracies),
            accuracy=float(np.mean(self.accuracies)),
            low=low,
            high=high,
            images=self.images,
            seconds=round(float(np.mean(self.seconds)), 1),
            parameters=self.parameters,
            average_precision=float(np.mean(self.precisions)) if self.precisions else None,
        )


def _compare(name: str, collected: _Collected, baseline: str, other: _Collected) -> ProtocolDifference:
    if collected.is_correct is not None and other.is_correct is not None:
        difference = compare_predictions(collected.is_correct, other.is_correct)
    else:
        difference = compare_paired(collected.accuracies, other.accuracies)
    return ProtocolDifference(protocol=name, baseline=baseline, **asdict(difference))


def _count_trainable(folder: Path, metrics: Mapping[str, Any]) -> int:
    """Trainable parameters: those of the weight audit, or all where everything trained."""
    path = folder / AUDIT
    if not path.exists():
        return metrics["params"]
    with path.open() as file:
        return sum(int(row["parameters"]) for row in csv.DictReader(file) if row["allowed"] == "True")
