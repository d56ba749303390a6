"""Networks whose pretrained weights are on this machine, or are given as files."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kcnn.architectures.architecture import Weights
from kcnn.architectures.catalogue import expand_names, load_architecture
from kcnn.architectures.licenses import NOT_STATED
from kcnn.architectures.registry import get_architecture
from kcnn.architectures.spec import ModelSpec, summary
from kcnn.graph.formatting import format_count
from kcnn.run_folders import resolve_model
from kcnn.weights.downloads import DownloadError, find_cached
from kcnn.weights.formats import read_weights
from kcnn.weights.hub_files import list_cached_addresses
from kcnn.weights.packaged import DEMO, FOLDER, find_packaged, packaged_metadata
from kcnn.weights.published import (
    download_published,
    find_cached_published,
    find_published,
    list_other_variants,
    resolve_spec,
)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A network with pretrained weights.

    Attributes:
        spec: The network for the classes and color channels of the data. Its weights are what `kcnn transfer` takes.
        file: The file of the weights; None where they are published and not in the cache.
        published: The published weights; None for others.
        license: Of the weights.
        params: Trainable parameters.
        macs: Multiply-accumulates for one image.
    """

    spec: ModelSpec
    file: Path | None
    published: Weights | None
    license: str
    params: int
    macs: int

    @property
    def title(self) -> str:
        """The network with its options."""
        return " ".join([str(self.spec.network), *(f"{name}={value}" for name, value in self.spec.options.items())])

    def fetch(self) -> Path:
        """Return the file, downloaded where it is not in the cache. Raises DownloadError as `download` does."""
        if self.file is not None:
            return self.file
        assert self.published is not None
        return download_published(self.published)


def find_candidates(classes: int, channels: int, *, uncached: bool = False) -> Iterator[Candidate]:
    """Yield the published networks with pretrained weights in the cache, and those of the demo for grayscale images.

    Of several files for one network and options the one for the nearest image size is taken.

    Args:
        classes: Number of classes of the data.
        channels: Color channels of the data.
        uncached: Whether weights that must be downloaded first are included.
    """
    if channels == 1:
        for path in sorted(FOLDER.glob("*.safetensors")):
            metadata = packaged_metadata(path)
            spec = ModelSpec.from_json(metadata["spec"])
            yield _make(replace(spec, network=path.stem, weights=DEMO), classes, channels, path, None)
    taken: set[str] = set()  # a file may have two names, and suit two variants: the first is taken
    for name in expand_names():
        try:
            architecture = load_architecture(name)
        except Exception:  # a broken plugin hurts only its own name, and raises where that is requested
            continue
        files = [(one, find_cached(one)) for one in architecture.weights]
        chosen: dict[tuple[str, str], tuple[Weights, Path | None]] = {}
        for one, file in sorted(files, key=lambda pair: (pair[1] is None, not pair[0].top, _distance(name, pair[0]))):
            if file or uncached:
                chosen.setdefault((one.name, repr(sorted(one.options.items()))), (one, file))
        for one, file in chosen.values():
            if one.url in taken:
                continue
            taken.add(one.url)
            spec = ModelSpec(network=name, options=one.options, weights=one.name)
            try:
                is_meant = find_published(spec.trace(), one.name) == one
            except ValueError:
                is_meant = False
            weights = one.name if is_meant or file is None else str(file)
            yield _make(replace(spec, weights=weights), classes, channels, file, one)
    for address in list_cached_addresses():
        try:
            yield make_candidate(address, classes, channels)
        except (ValueError, LookupError, OSError):  # of another kind of model, or of a network that kcnn has not
            continue


def make_candidate(spec: ModelSpec | str, classes: int, channels: int) -> Candidate:
    """Make a candidate of a network and its weights, a name or a file.

    What the file tells is taken from it where the spec leaves it open: of a published file, known by its name, the
    options; of one that kcnn wrote for this network, the options and the image size.

    Args:
        spec: The network, with weights; or the address of a checkpoint on the Hub.
        classes: Number of classes of the data.
        channels: Color channels of the data.

    Returns:
        The candidate.

    Raises:
        ValueError: The spec has no weights, or there are none of this name; or the file is damaged.
        FileNotFoundError: The file does not exist.
        UnknownNameError: There is no such network or option.
    """
    spec = resolve_spec(spec)
    if spec.weights is None:
        raise ValueError(f"{spec.title}: a candidate needs weights, a file or a name such as 'imagenet'")
    weights = spec.weights
    published = find_published(spec.trace(), weights)
    if published is not None:
        return _make(spec, classes, channels, find_cached_published(published), published)
    file = find_packaged(spec.trace()) if weights == DEMO else resolve_model(weights)[0]
    listed = _find_listed(spec, file)
    if listed is not None:
        return _make(replace(spec, options={**listed.options, **spec.options}), classes, channels, file, listed)
    written = read_weights(file).metadata.get("spec")
    if written:
        old = ModelSpec.from_json(written)
        if old.title.rpartition(":")[2] == spec.title.rpartition(":")[2]:
            shape = spec.input_shape or old.input_shape
            spec = replace(spec, options={**old.options, **spec.options}, input_shape=shape)
    return _make(spec, classes, channels, file, None)


def collect_candidates(
    specs: Sequence[ModelSpec | str],
    classes: int,
    channels: int,
    max_params: float | None,
    max_macs: float | None,
    download: bool,
) -> list[Candidate]:
    """Return the given candidates, then those in the cache, within the limits.

    Args:
        specs: The given candidates.
        classes: Number of classes of the data.
        channels: Color channels of the data.
        max_params: Maximum number of trainable parameters.
        max_macs: Maximum number of multiply-accumulates for one image.
        download: Whether weights may be downloaded: where no candidates are given, all published ones are included.

    Returns:
        The candidates; some are to be downloaded.

    Raises:
        ValueError: There is none, or the weights of a given one are not in the cache and must not be downloaded.
    """
    listed = [make_candidate(spec, classes, channels) for spec in specs]
    for one in listed:
        if one.file is None and not download:
            raise ValueError(
                f"the weights {one.spec.weights!r} of {one.title} are not in the cache; add --download "
                "(download=True), or give a file"
            )
    seen = set(map(_identify, listed))
    found = find_candidates(classes, channels, uncached=download and not specs)
    listed += [one for one in found if _identify(one) not in seen]
    if not listed:
        raise ValueError(
            "no pretrained weights are in the cache; give a file with --weights NETWORK=FILE (candidates=), or add "
            "--download (download=True)"
        )
    limits = (max_params or float("inf"), max_macs or float("inf"))
    within = [one for one in listed if one.params <= limits[0] and one.macs <= limits[1]]
    if not within:
        least = min(listed, key=lambda one: (one.params, one.macs))
        raise ValueError(
            f"none of the {len(listed)} networks with weights is within these limits; the smallest, {least.title}, has "
            f"{least.params:,} parameters and {format_count(least.macs)} MACs"
        )
    return within


def fetch_candidates(
    candidates: Sequence[Candidate], log: Callable[[str], None]
) -> tuple[list[Candidate], tuple[str, ...]]:
    """Download the weights that are not in the cache.

    Args:
        candidates: The candidates.
        log: Takes a line for each that cannot be downloaded.

    Returns:
        The candidates that have their file, and for each of the others why not.

    Raises:
        DownloadError: None has.
    """
    fetched, failures = [], []
    for one in candidates:
        try:
            fetched.append(replace(one, file=one.fetch()))
        except DownloadError as error:
            failures.append(" ".join(str(error).split()))
            log(f"{one.title} is left out: {failures[-1]}")
    if not fetched:
        raise DownloadError(f"the weights of none of the {len(candidates)} networks could be downloaded: {failures[0]}")
    return fetched, tuple(failures)


def _identify(candidate: Candidate) -> tuple[str, str | None]:
    return candidate.title, candidate.published.url if candidate.published else candidate.spec.weights


def _make(spec: ModelSpec, classes: int, channels: int, file: Path | None, published: Weights | None) -> Candidate:
    rows, columns, _ = spec.nominal_shape
    spec = replace(spec, classes=classes, input_shape=(rows, columns, channels))
    table = summary(replace(spec, weights=None))
    license = published.license if published else NOT_STATED
    if file is not None and file.is_relative_to(FOLDER):
        license = packaged_metadata(file)["license"]
    return Candidate(spec=spec, file=file, published=published, license=license, params=table.params, macs=table.macs)


def _find_listed(spec: ModelSpec, file: Path) -> Weights | None:
    """The published weights of a network, or of a variant of it, whose file has the name of a file."""
    if not isinstance(spec.network, str) or spec.definition:
        return None
    names = [spec.network, *list_other_variants(spec.network)]
    listed = [one for name in names for one in get_architecture(name).weights]
    return next((one for one in listed if one.url.rpartition("/")[2] == file.name), None)


def _distance(name: str, weights: Weights) -> int:
    return abs(weights.crop - get_architecture(name).input_shape[0])
