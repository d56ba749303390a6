"""Choose the pretrained network to fine-tune: rank networks for a dataset by a linear probe on frozen features."""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.architectures.spec import ModelSpec
from kcnn.atomic_io import write_text
from kcnn.data import ImageDataset, load
from kcnn.data.source_splits import TRAIN, VALIDATION
from kcnn.data.splits import Split, join_splits
from kcnn.fine_tuning.candidates import Candidate, collect_candidates, fetch_candidates
from kcnn.fine_tuning.feature_store import FeatureStore
from kcnn.fine_tuning.linear_probe import OUTER_FOLDS, ProbePredictions, probe_folds, probe_split
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_keywords, check_type
from kcnn.graph.formatting import format_count, format_size, format_table
from kcnn.statistics import (
    PairedDifference,
    adjust_differences,
    compare_predictions,
    describe_adjustment,
    wilson_interval,
)
from kcnn.training.run_directory import to_csv, write_values
from kcnn.weights.hub_files import is_hub_address, split_address

SIDE = 32  # pixels of the images that are decoded to find broken files; each network decodes its own
MOST_IMAGES = 5000  # of a split, stratified: a ranking needs no more, and memory stays flat
FEW_IMAGES = 300  # in the validation split: below, all images are predicted by folds
CHOICE, TABLE, FEATURES = "choice.json", "choice.csv", "features"


@check_keywords
@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """The accuracy of a linear probe on the features of a network, and the network's cost.

    Attributes:
        spec: The network for the classes of the data, with its weights.
        accuracy: Of the probe.
        low: Lower end of its 95% interval (Wilson).
        high: Upper end of the interval.
        loss: Mean cross-entropy.
        images: Images that the accuracy is of.
        params: Trainable parameters of the network.
        macs: Its multiply-accumulates for one image.
        license: Of the weights.
        difference: To the most accurate network, paired by image, with a p-value adjusted for the number of networks;
            None for that network.
    """

    spec: ModelSpec
    accuracy: float
    low: float
    high: float
    loss: float
    images: int
    params: int
    macs: int
    license: str
    difference: PairedDifference | None

    @property
    def title(self) -> str:
        """The network with its options."""
        return " ".join([str(self.spec.network), *(f"{name}={value}" for name, value in self.spec.options.items())])

    @property
    def is_worse(self) -> bool:
        """Return whether it is significantly less accurate than the most accurate network."""
        return self.difference is not None and self.difference.significant


@check_keywords
@dataclass(frozen=True, kw_only=True)
class Choice:
    """The result of `choose`. Print it for a table.

    Attributes:
        data: Name of the data.
        results: The networks, the most accurate first; of equally accurate ones that of the lowest cross-entropy.
        folds: Number of folds by which each image was predicted; 0 where the validation split was.
        notes: What a person should know, a sentence each.
        failures: For each network that is left out, why its weights could not be downloaded.
    """

    data: str
    results: tuple[ProbeResult, ...]
    folds: int
    notes: tuple[str, ...]
    failures: tuple[str, ...] = ()

    @property
    def best(self) -> ProbeResult:
        """The most accurate network."""
        return self.results[0]

    @property
    def contenders(self) -> tuple[ProbeResult, ...]:
        """The best, and the networks that are not significantly less accurate."""
        return tuple(result for result in self.results if not result.is_worse)

    @property
    def command(self) -> str:
        """The command line that fine-tunes the best network."""
        return make_command(self.best.spec, self.data)

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        results = [
            {**asdict(replace(result, spec=None)), "spec": result.spec.to_json()}  # type: ignore[arg-type]
            for result in self.results
        ]
        return {
            "data": self.data,
            "results": results,
            "folds": self.folds,
            "notes": list(self.notes),
            "failures": list(self.failures),
            "command": self.command,
        }

    def __str__(self) -> str:
        """Return the table of networks, the notes, and the command for the best."""
        left = ("network", "weights", "to the best", "license")
        return "\n".join([format_table(self._columns, list(self._rows()), left), *self._notes(), "", self.command])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(column)}</th>" for column in self._columns)
        rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in self._rows())
        notes = "<br>".join(escape(note) for note in self._notes())
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table><p>{notes}</p>"

    @property
    def _columns(self) -> tuple[str, ...]:
        return ("network", "weights", "probe accuracy", "95% interval", "to the best", "params", "MACs", "license")

    def _rows(self) -> Iterator[tuple[str, ...]]:
        for result in self.results:
            yield (
                result.title,
                _name_weights(result.spec),
                f"{result.accuracy:.2%}",
                f"{result.low:.2%} to {result.high:.2%}",
                _describe_difference(result),
                f"{result.params:,}",
                format_count(result.macs),
                result.license,
            )

    def _notes(self) -> list[str]:
        images = self.best.images
        source = (
            f"{images} images, each predicted in one of {self.folds} folds, whose probes share training images"
            if self.folds
            else f"{images} validation images"
        )
        notes = [f"intervals over {source} (Wilson); differences are paired by image; no test image was used"]
        adjustment = describe_adjustment(len(self.results) - 1)
        notes += [adjustment] if adjustment else []
        if len(self.results) > 1:
            notes.append("the first network was selected on these images, so its accuracy is optimistic")
        cheapest = min(self.contenders, key=lambda one: one.macs)
        if cheapest is not self.best:
            notes.append(f"of the networks not shown to be less accurate, {cheapest.title} has the fewest MACs")
        failures = [f"not ranked, since their weights could not be downloaded: {'; '.join(self.failures)}"]
        return [*self.notes, *notes, *(failures if self.failures else ())]


def _describe_difference(result: ProbeResult) -> str:
    difference = result.difference
    if difference is None:
        return "best"
    return f"{difference.points:+.2f} points, {'' if result.is_worse else 'not '}significant (p = {difference.p:.2g})"


def _name_weights(spec: ModelSpec) -> str:
    """The file, the name, or the repository on the Hub."""
    text = str(spec.weights)
    return split_address(text)[0] if is_hub_address(text) else Path(text).name


def make_command(spec: ModelSpec, data: str) -> str:
    """Return the command line that fine-tunes a network.

    Args:
        spec: The network, with its weights.
        data: Name of the data.
    """
    if is_hub_address(spec.weights):  # a network of its own, with the options and the scaling of its config.json
        words = ["kcnn", "transfer", "--data", data, "--network", str(spec.weights)]
        return shlex.join([*words, "--input-size", format_size(spec.nominal_shape)])
    words = ["kcnn", "transfer", "--data", data, "--network", str(spec.network)]
    for name, value in spec.options.items():
        words += ["--model-option", f"{name}={list(value) if isinstance(value, tuple) else value}"]
    if spec.nominal_shape != spec.architecture.input_shape:
        words += ["--input-size", format_size(spec.nominal_shape)]
    return shlex.join([*words, "--weights", str(spec.weights)])


@check_arguments
def choose(
    data: Any,
    candidates: Sequence[ModelSpec | str] | None = None,
    *,
    max_params: float | None = None,
    max_macs: float | None = None,
    download: bool = False,
    out: str | Path = "runs/choose",
    log: Callable[[str], None] = print,
) -> Choice:
    """Rank pretrained networks for a dataset by a linear probe: logistic regression on frozen features.

    Each image passes once through the backbone of each network, behind global average pooling (small maps that the
    network's own head flattens are flattened). Features are kept in `out`, and a killed run resumes from them. The
    probe's regularization is chosen inside its training images. Only the training and validation splits are used, at
    most 5,000 images of each: the test split is for the network that is chosen.

    Args:
        data: What kcnn.data.load takes, or an ImageDataset; with one label per image. Networks get the color channels
            of its input shape; of digits and of gray arrays one, else three.
        candidates: Networks with weights, files or names, and addresses on the Hub; added to those whose published
            weights are in kcnn's cache or that of the Hub.
        max_params: Maximum number of trainable parameters with a head for the classes of the data.
        max_macs: Maximum number of multiply-accumulates for one image.
        download: Whether weights that are not in the cache are downloaded: those of `candidates`, or without
            candidates all published ones. A network whose download fails is left out.
        out: Folder of the features, choice.json and choice.csv.
        log: Takes progress as lines of text.

    Returns:
        The networks in order, with intervals, differences to the best, costs and licenses.

    Raises:
        TypeError: The data or a candidate has another type.
        ValueError: There is no candidate, or the weights of one are not cached, damaged or of another network; or the
            data has several labels per image, or too few images.
        FileNotFoundError: A file of weights, or the folder of the data, does not exist.
        UnknownNameError: There is no such network or option.
        DownloadError: A candidate is not on the Hub, or no network's weights can be downloaded.
    """
    data = data if isinstance(data, ImageDataset) else load(data, input_shape=(SIDE, SIDE, _find_channels(data)))
    if data.multi_label:
        raise ValueError(f"{data.name} has several labels per image; choose expects one")
    specs = list(candidates or ())
    for spec in specs:
        if not is_hub_address(spec):
            check_type("candidates", spec, ModelSpec)
    classes, channels = len(data.classes), data.input_shape[2]
    listed = collect_candidates(specs, classes, channels, max_params, max_macs, download)
    train, validation, notes = _select_images(data)
    folds = 0 if validation is not None and len(validation) >= FEW_IMAGES else OUTER_FOLDS
    if folds and validation is not None:
        train = join_splits(train, validation)
    parts = (train,) if folds or validation is None else (train, validation)
    listed, failures = fetch_candidates(listed, log)
    stores, good = _extract(listed, parts, Path(out) / FEATURES, log)
    labels = [part.labels[mask] for part, mask in zip(parts, good, strict=True)]
    _check_labels(data, labels[0])
    predictions = []
    for store in stores:
        x = [store.read(part)[0][mask] for part, mask in zip(parts, good, strict=True)]
        predictions.append(
            probe_folds(x[0], labels[0], data.seed)
            if folds
            else probe_split(x[0], labels[0], x[1], labels[1], data.seed)
        )
    choice = Choice(data=data.name, results=_rank(listed, predictions), folds=folds, notes=notes, failures=failures)
    write_values(Path(out) / CHOICE, choice.to_json())
    rows = [{"network": one.title, "weights": one.spec.weights, **_flatten(one)} for one in choice.results]
    write_text(Path(out) / TABLE, to_csv(rows))
    return choice


def _find_channels(source: Any) -> int:
    """The color channels of data that is not loaded: one for digits and gray arrays, else three."""
    if isinstance(source, str):
        return 1 if source.partition(":")[0] == "digits" else 3
    arrays = source.get(TRAIN) if isinstance(source, Mapping) else source
    shape = np.shape(arrays[0]) if isinstance(arrays, Sequence) and len(arrays) == 2 else ()
    return 1 if len(shape) == 3 or shape[3:] == (1,) else 3


def _select_images(data: ImageDataset) -> tuple[Split, Split | None, tuple[str, ...]]:
    """The training and validation images, and notes where not all are used."""
    has_validation = VALIDATION in data.splits
    some = data.subset(train=MOST_IMAGES, validation=MOST_IMAGES if has_validation else None)
    notes = tuple(
        f"{len(some.splits[name]):,} of {len(data.splits[name]):,} {name} images were used, stratified by class"
        for name in (TRAIN, VALIDATION)
        if name in some.splits and len(some.splits[name]) < len(data.splits[name])
    )
    return some.splits[TRAIN], some.splits[VALIDATION] if has_validation else None, notes


def _extract(
    candidates: Sequence[Candidate], parts: Sequence[Split], folder: Path, log: Callable[[str], None]
) -> tuple[list[FeatureStore], list[np.ndarray]]:
    """Compute the features of all networks; which images could be decoded for all of them."""
    stores, good = [], [np.ones(len(part), "bool") for part in parts]
    for number, one in enumerate(candidates, 1):
        store = FeatureStore(folder, one.spec, one.fetch())
        computed = sum(images for part in parts for images, is_new in store.compute(part) if is_new)
        stores.append(store)
        for part, mask in zip(parts, good, strict=True):
            mask &= store.read(part)[1]
        kept = sum(map(len, parts)) - computed
        log(f"{number} of {len(candidates)}: {one.title}, features of {computed} images computed, {kept} kept")
    return stores, good


def _check_labels(data: ImageDataset, labels: np.ndarray) -> None:
    counts = np.bincount(labels, minlength=len(data.classes))
    if counts.min() < 2:
        scarce = data.classes[int(counts.argmin())]
        raise ValueError(
            f"{data.name}: class {scarce!r} has {counts.min()} decodable training images; a probe needs at least 2"
        )


def _rank(candidates: Sequence[Candidate], predictions: Sequence[ProbePredictions]) -> tuple[ProbeResult, ...]:
    pairs = sorted(
        zip(candidates, predictions, strict=True), key=lambda pair: (-pair[1].is_correct.mean(), pair[1].loss)
    )
    best = pairs[0][1].is_correct
    differences = (
        adjust_differences([compare_predictions(one.is_correct, best) for _, one in pairs[1:]]) if pairs[1:] else []
    )
    results = []
    for (candidate, one), difference in zip(pairs, [None, *differences], strict=True):
        low, high = wilson_interval(int(one.is_correct.sum()), len(one.is_correct))
        results.append(
            ProbeResult(
                spec=candidate.spec,
                accuracy=float(one.is_correct.mean()),
                low=low,
                high=high,
                loss=one.loss,
                images=len(one.is_correct),
                params=candidate.params,
                macs=candidate.macs,
                license=candidate.license,
                difference=difference,
            )
        )
    return tuple(results)


def _flatten(result: ProbeResult) -> dict[str, Any]:
    names = ("accuracy", "low", "high", "loss", "images", "params", "macs", "license")
    difference = result.difference
    return {name: getattr(result, name) for name in names} | {
        "points_to_best": difference.points if difference else 0.0,
        "p": difference.p if difference else "",
        "significant": result.is_worse,
    }
