"""Networks and weights of the Hugging Face Hub, by address: hf://USER/NAME, or hf://USER/NAME@REVISION.

Read are timm's checkpoints of the networks that kcnn has: config.json says which one, and how its pixels are scaled.
huggingface_hub downloads and caches the files, with HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE.
"""

import hashlib
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from kcnn.architectures.architecture import Weights
from kcnn.architectures.registry import get_architecture, is_builtin, list_models
from kcnn.architectures.spec import ModelSpec
from kcnn.atomic_io import parse_json
from kcnn.graph.arguments import check_kind
from kcnn.graph.graph import Graph
from kcnn.graph.names import unknown
from kcnn.graph.ops import Rescale
from kcnn.weights.downloads import DownloadError

SCHEME = "hf://"
ADDRESS = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
CONFIG = "config.json"
FILES = ("model.safetensors", "pytorch_model.bin")  # in the order in which they are tried
PUBLISHER = "timm"  # whose config.json is read
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubModel:
    """A checkpoint on the Hub.

    Attributes:
        repo: "USER/NAME".
        commit: The revision, as the Hub resolved it.
        architecture: The publisher's name of the network.
        classes: Number of classes.
        input_shape: (rows, columns, channels) of its images.
        rescale: How it scales pixels 0..255.
        resize: Pixels of the shorter side of an image after resizing.
        crop: Pixels a side of the center crop.
        interpolation: Of the resizing.
        license: Of the weights, as the repository states it.
    """

    repo: str
    commit: str
    architecture: str
    classes: int
    input_shape: tuple[int, int, int]
    rescale: Rescale
    resize: int
    crop: int
    interpolation: str
    license: str

    @property
    def address(self) -> str:
        """The address with the commit."""
        return f"{SCHEME}{self.repo}@{self.commit}"


def is_hub_address(text: object) -> bool:
    """Return whether a network or weights are an address of the Hub."""
    return isinstance(text, str) and text.startswith(SCHEME)


def read_hub_model(address: str) -> HubModel:
    """Read what a repository of the Hub says of its checkpoint; its weights are not downloaded.

    Args:
        address: "hf://USER/NAME" or "hf://USER/NAME@REVISION"; a revision is a branch, tag or commit.

    Returns:
        The checkpoint, with the commit that the revision is.

    Raises:
        ValueError: It is no such address, or its config.json is not one of timm's.
        DownloadError: The repository cannot be reached, does not exist, or asks for a token.
        ImportError: huggingface_hub is not installed.
    """
    path, commit = fetch_hub_file(address, CONFIG)
    try:
        return _parse_config(_split_address(address)[0], commit, parse_json(path.read_bytes()))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{address}: {CONFIG} is not that of a timm checkpoint: {reason}") from None


def find_hub_spec(address: str) -> ModelSpec:
    """Find the network of a checkpoint: architecture, classes, input shape and scaling of pixels.

    Args:
        address: Its address.

    Returns:
        The spec, whose weights are the address with its commit.

    Raises:
        ValueError, DownloadError, ImportError: As from `read_hub_model`.
        UnknownNameError: kcnn has no network with this architecture; the message suggests the closest.
    """
    model = read_hub_model(address)
    known = list_published_models(PUBLISHER)
    if model.architecture not in known:
        raise unknown("timm architecture", model.architecture, sorted(known), address)
    network, options = known[model.architecture]
    own = get_architecture(network)
    scaling = {"rescale.scale": model.rescale.scale, "rescale.offset": model.rescale.offset}
    return ModelSpec(
        network=network,
        classes=None if model.classes == own.classes else model.classes,
        input_shape=None if model.input_shape == own.input_shape else model.input_shape,
        options=options,
        overrides={} if _is_same(own.rescale, model.rescale) else scaling,
        weights=model.address,
    )


def find_hub_weights(graph: Graph | None, address: str) -> Weights:
    """Return the weights of a checkpoint, to load into a network.

    Args:
        graph: The network; None for a model that kcnn did not build.
        address: The address of the checkpoint.

    Returns:
        The weights; their URL is the address with its commit.

    Raises:
        ValueError: The network has no names of timm's layers, or scales pixels otherwise; or as `read_hub_model`.
        DownloadError, ImportError: As from `read_hub_model`.
    """
    model = read_hub_model(address)
    if graph is None or graph.architecture is None:
        raise ValueError(f"{address}: only networks of kcnn and of plugins have weights on the Hub")
    known = list_published_models(PUBLISHER)
    if PUBLISHER not in graph.architecture.weight_mappings:
        hint = f"; build {known[model.architecture][0]}" if model.architecture in known else ""
        raise ValueError(f"{address} is timm's {model.architecture}, whose layers {graph.name} cannot name{hint}")
    changed = {name: value for name in ("scale", "offset") if (value := _find_override(graph, name)) is not None}
    rescale = replace(graph.architecture.rescale, **changed)
    if not _is_same(rescale, model.rescale):
        raise ValueError(
            f"{address} scales pixels by {model.rescale}, {graph.name} by {rescale}; "
            f"kcnn.build({address!r}) builds the network with the scaling of the checkpoint"
        )
    return Weights(
        name=model.repo,
        url=model.address,
        checksum=None,
        source=f"huggingface.co, {model.repo}",
        mapping=PUBLISHER,
        classes="imagenet" if model.classes == 1000 else tuple(str(number) for number in range(model.classes)),
        resize=model.resize,
        crop=model.crop,
        interpolation=model.interpolation,
        accuracy=None,
        citation="",
        license=model.license,
    )


def download_hub_weights(weights: Weights) -> Path:
    """Return the weights file of a checkpoint, from the cache of the Hub or downloaded, with its checksum verified.

    Raises:
        DownloadError: It cannot be downloaded, is damaged, or the repository has no file of weights.
        ImportError: huggingface_hub is not installed.
    """
    for name in FILES:
        try:
            return fetch_hub_file(weights.url, name)[0]
        except MissingFileError:
            continue
    raise DownloadError(f"{weights.url} has neither {' nor '.join(FILES)}")


class MissingFileError(DownloadError):
    """Raised where a repository of the Hub exists and has no file of the name."""


def fetch_hub_file(address: str, file: str) -> tuple[Path, str]:
    """Return a file of a repository, from the cache of the Hub or downloaded, and the commit that it is of.

    Args:
        address: The address of the repository.
        file: The name of the file.

    Returns:
        The path in the cache, and the commit.

    Raises:
        ValueError: It is no address of the Hub.
        MissingFileError: The repository has no such file.
        DownloadError: The repository cannot be reached, does not exist, or asks for a token; or the file is damaged.
        ImportError: huggingface_hub is not installed.
    """
    repo, revision = _split_address(address)
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError:
        raise ImportError(f'{address} needs huggingface_hub: pip install "kcnn[hub]"') from None
    try:
        endpoint = os.environ.get("HF_ENDPOINT")  # which huggingface_hub reads only when it is imported
        path = huggingface_hub.hf_hub_download(repo, file, revision=revision, endpoint=endpoint, library_name="kcnn")
    except errors.LocalEntryNotFoundError as error:
        raise DownloadError(f"{address}: {file} is not cached, and {_explain_failure(error)}{_list_cached()}") from None
    except errors.EntryNotFoundError:
        raise MissingFileError(f"{address} has no file {file}") from None
    except errors.RevisionNotFoundError:
        raise DownloadError(f"{address}: {repo} has no revision {revision!r}; see its branches on the Hub") from None
    except errors.GatedRepoError:
        raise DownloadError(f"{address}: accept its terms on the Hub, and set HF_TOKEN to your token") from None
    except errors.RepositoryNotFoundError:
        raise DownloadError(f"{address}: there is no {repo} on the Hub, or it is private; then set HF_TOKEN") from None
    except (errors.HfHubHTTPError, OSError) as error:
        raise DownloadError(f"{address}: {file} cannot be downloaded: {str(error).splitlines()[0]}") from None
    _verify(Path(path), address)
    return Path(path), Path(path).parent.name


@cache
def list_published_models(publisher: str) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Return the networks that a publisher names, by its names: kcnn's network and the options of it."""
    models: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for bare in filter(is_builtin, list_models()):
        for name in (bare, *(f"{bare}.{variant}" for variant in get_architecture(bare).variants)):
            mapping = get_architecture(name).weight_mappings.get(publisher)
            for model, options in (mapping.models if mapping else {}).items():
                models.setdefault(model, (name, options))
    return models


def _split_address(address: str) -> tuple[str, str | None]:
    match = ADDRESS.fullmatch(address)
    if not match or ".." in address:
        raise ValueError(f"expected hf://USER/NAME or hf://USER/NAME@REVISION, got {address!r}")
    return match["repo"], match["revision"]


def _parse_config(repo: str, commit: str, config: Mapping[str, Any]) -> HubModel:
    about = config["pretrained_cfg"]
    check_kind("architecture", config["architecture"], str, "a name")
    channels, rows, columns = (int(size) for size in about.get("test_input_size") or about["input_size"])
    mean, deviation = (_numbers(about[name], channels) for name in ("mean", "std"))
    crop_ratio = float(about.get("test_crop_pct") or about.get("crop_pct") or 0.875)
    if not 0 < crop_ratio <= 1 or min(rows, columns, channels) < 1 or min(deviation) <= 0:
        raise ValueError("a size, crop or standard deviation is not positive, or a crop larger than the image")
    interpolation = about.get("interpolation", "bicubic")
    return HubModel(
        repo=repo,
        commit=commit,
        architecture=config["architecture"],
        classes=int(config.get("num_classes") or about["num_classes"]),
        input_shape=(rows, columns, channels),
        rescale=Rescale(
            tuple(1 / (255 * one) for one in deviation),
            tuple(-one / other for one, other in zip(mean, deviation, strict=True)),
        ),
        resize=int(rows / crop_ratio),
        crop=rows,
        interpolation=interpolation if interpolation in ("bilinear", "bicubic", "lanczos") else "bilinear",
        license=str(about.get("license") or config.get("license") or "not stated"),
    )


def _numbers(values: float | Sequence[Any], count: int) -> tuple[float, ...]:
    numbers = tuple(map(float, values if isinstance(values, Sequence) else (values,)))
    return numbers * count if len(numbers) == 1 else numbers


def _find_override(graph: Graph, attribute: str) -> Any:
    return graph.spec.overrides.get(f"rescale.{attribute}") if graph.spec else None


def _is_same(one: Any, other: Rescale) -> bool:
    """Whether two ops scale red, green and blue alike."""
    if not isinstance(one, Rescale):
        return False
    pairs = ((_numbers(a, 3), _numbers(b, 3)) for a, b in ((one.scale, other.scale), (one.offset, other.offset)))
    return all(math.isclose(x, y, rel_tol=1e-6) for a, b in pairs for x, y in zip(a, b, strict=True))


def _verify(path: Path, address: str) -> None:
    """Compare a file with its checksum, by which the Hub's cache names it; one that differs is removed."""
    blob = path.resolve()
    content = blob.read_bytes()
    if re.fullmatch(r"[0-9a-f]{64}", blob.name):
        is_whole = hashlib.sha256(content).hexdigest() == blob.name
    elif COMMIT.fullmatch(blob.name):  # of small files, as git names them
        is_whole = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == blob.name
    else:
        return  # a cache without links, as on some systems, does not keep checksums
    if not is_whole:
        blob.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise DownloadError(f"{address}: {path.name} did not match its checksum, and was removed; run this again")


def _explain_failure(error: Exception) -> str:
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    return f"the Hub does not give it ({str(error.__cause__ or error).splitlines()[0]})"


def _list_cached() -> str:
    """The repositories in the cache, for a message."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        cached = sorted(repo.repo_id for repo in scan_cache_dir().repos if repo.repo_type == "model")
    except CacheNotFound:
        cached = []
    return f"; cached are {', '.join(cached[:10])}" if cached else "; nothing is cached"
