"""Networks and weights of the Hugging Face Hub, by address: hf://USER/NAME, or hf://USER/NAME@REVISION.

Read are what kcnn publishes, and timm's checkpoints and KerasHub's presets of the networks that kcnn has: config.json
says which one, and how its pixels are scaled. The address local-dir:FOLDER, and the path of the folder, mean a folder
with the same files.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from kcnn.architectures.architecture import Weights
from kcnn.architectures.licenses import NOT_STATED, read_card_license
from kcnn.architectures.registry import get_architecture, is_builtin, list_models
from kcnn.architectures.spec import ModelSpec
from kcnn.atomic_io import parse_json
from kcnn.graph.arguments import check_kind
from kcnn.graph.graph import Graph
from kcnn.graph.names import UnknownNameError, unknown
from kcnn.graph.ops import Rescale
from kcnn.graph.tracing import SymbolicTensor, topological_order
from kcnn.keras_bridge.metadata import parse_metadata, restore_spec
from kcnn.run_folders import CARD, CONFIG, HUB_WEIGHTS, PRESET_WEIGHTS
from kcnn.weights import presets
from kcnn.weights.downloads import DownloadError
from kcnn.weights.hub_files import LOCAL, SCHEME, MissingFileError, fetch_hub_file, split_address

PUBLISHER = "timm"  # whose config.json is read
OWN = "kcnn"  # key of config.json under which kcnn writes the metadata of a model, and the mapping of its weights
RESCALE = ("rescale.scale", "rescale.offset")  # overrides that change no tensor


@dataclass(frozen=True)
class HubModel:
    """A checkpoint on the Hub.

    Attributes:
        repo: "USER/NAME", or a folder.
        address: The address, with the commit that its revision is.
        architecture: The publisher's name of the network.
        classes: Number of classes.
        input_shape: (rows, columns, channels) of its images.
        rescale: How it scales pixels 0..255.
        resize: Pixels of the shorter side of an image after resizing.
        crop: Pixels a side of the center crop.
        interpolation: Of the resizing.
        crop_mode: As of Weights.
        license: Of the weights, as the repository states it.
        labels: Names of the classes; none where the repository has no list of them.
        publisher: Whose names of networks and layers it has.
        top: Whether it has a classifier.
    """

    repo: str
    address: str
    architecture: str
    classes: int
    input_shape: tuple[int, int, int]
    rescale: Rescale
    resize: int
    crop: int
    interpolation: str
    crop_mode: str
    license: str
    labels: tuple[str, ...] = ()
    publisher: str = PUBLISHER
    top: bool = True


@dataclass(frozen=True)
class OwnModel:
    """A model that kcnn published.

    Attributes:
        repo: "USER/NAME", or a folder.
        address: The address, with the commit that its revision is.
        metadata: Metadata of the model, with its spec.
        license: Of the weights, as the repository states it.
    """

    repo: str
    address: str
    metadata: Mapping[str, Any]
    license: str


def read_hub_model(address: str) -> HubModel | OwnModel:
    """Read what a repository of the Hub says of its checkpoint; its weights are not downloaded.

    Args:
        address: "hf://USER/NAME", "hf://USER/NAME@REVISION" or "local-dir:FOLDER"; a revision is a branch, tag or
            commit.

    Returns:
        The checkpoint.

    Raises:
        ValueError: It is no such address, or its config.json is neither kcnn's nor timm's, nor a preset's.
        UnknownNameError: kcnn has no network with the backbone of a preset.
        DownloadError: The repository cannot be reached, does not exist, or asks for a token.
        ImportError: huggingface_hub is not installed.
    """
    path, commit = fetch_hub_file(address, CONFIG)
    try:
        config, repo = parse_json(path.read_bytes()), split_address(address)[0]
        pinned = f"{SCHEME}{repo}@{commit}" if commit else address
        if presets.is_preset(config):
            return _read_preset(repo, pinned, config)
        return _parse_own(repo, pinned, config) if OWN in config else _parse_config(repo, pinned, config)
    except UnknownNameError as error:
        raise UnknownNameError(f"{address} is {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else error
        kinds = "a timm checkpoint or a KerasHub preset, nor kcnn's"
        raise ValueError(f"{address}: {CONFIG} is not that of {kinds}: {reason}") from None


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
    if isinstance(model, OwnModel):
        return replace(_restore(model), weights=model.address)
    known = list_published_models(model.publisher)
    if model.architecture not in known:
        raise unknown(f"{model.publisher} architecture", model.architecture, sorted(known), address)
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
    image = find_rescale(graph)
    if isinstance(model, OwnModel):
        spec = _restore(model)
        shape = (*spec.nominal_shape[:2], graph.input_shape[2])
        stored = find_rescale(replace(spec, input_shape=shape).trace())
        if (stored and stored.op) != (image and image.op):
            raise _refuse_rescale(address, stored and stored.op, graph, image)
        preprocessing = model.metadata.get("preprocessing") or {}  # what of it is in the file is taken from there
        classes = model.metadata["classes"]
        return Weights(
            name=model.repo if model.address.startswith(SCHEME) else Path(model.repo).name,
            url=model.address,
            checksum=None,
            source=_describe_source(model.repo, address),
            mapping=OWN,
            options=spec.options,
            classes=tuple(map(str, range(classes))) if isinstance(classes, int) else tuple(classes),
            accuracy=None,
            citation="",
            license=model.license,
            **preprocessing,
        )
    known = list_published_models(model.publisher)
    if model.publisher not in graph.architecture.weight_mappings:
        hint = f"; build {known[model.architecture][0]}" if model.architecture in known else ""
        owner = {PUBLISHER: "timm", presets.PUBLISHER: "KerasHub"}[model.publisher]
        raise ValueError(f"{address} is {owner}'s {model.architecture}, whose layers {graph.name} cannot name{hint}")
    if not image or not _is_same(image.op, model.rescale, image.shape[-1]):
        raise _refuse_rescale(address, model.rescale, graph, image)
    return Weights(
        name=model.repo if model.address.startswith(SCHEME) else Path(model.repo).name,
        url=model.address,
        checksum=None,
        source=_describe_source(model.repo, address),
        mapping=model.publisher,
        top=model.top,
        options=known[model.architecture][1] if model.architecture in known else {},
        classes=model.labels or ("imagenet" if model.classes == 1000 else tuple(map(str, range(model.classes)))),
        resize=model.resize,
        crop=model.crop,
        interpolation=model.interpolation,
        crop_mode=model.crop_mode,
        accuracy=None,
        citation="",
        license=model.license,
    )


def find_rescale(graph: Graph) -> SymbolicTensor | None:
    """Return the layer of a network that scales pixels, by a Rescale; None where it has no such layer."""
    layers = topological_order(*graph.outputs.values())
    return next((x for x in layers if x.name == "rescale" and isinstance(x.op, Rescale)), None)


def download_hub_weights(weights: Weights) -> Path:
    """Return the weights file of a checkpoint, from the cache of the Hub or downloaded, with its checksum verified.

    Those of a KerasHub preset are two files in a folder, which is returned.

    Raises:
        DownloadError: It cannot be downloaded, is damaged, or the repository has no file of weights.
        ImportError: huggingface_hub is not installed.
    """
    if weights.mapping == presets.PUBLISHER:
        files = [fetch_hub_file(weights.url, name)[0] for name in PRESET_WEIGHTS[: 2 if weights.top else 1]]
        return files[0].parent
    for name in HUB_WEIGHTS:
        try:
            return fetch_hub_file(weights.url, name)[0]
        except MissingFileError:
            continue
    raise DownloadError(f"{weights.url} has neither {' nor '.join(HUB_WEIGHTS)}")


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


def _restore(model: OwnModel) -> ModelSpec:
    spec = restore_spec(model.metadata)
    assert spec is not None
    return spec


def _describe_source(repo: str, address: str) -> str:
    return f"folder {Path(repo).name}" if address.startswith(LOCAL) else f"huggingface.co, {repo}"


def _refuse_rescale(address: str, expected: Any, graph: Graph, image: SymbolicTensor | None) -> ValueError:
    return ValueError(
        f"{address} scales pixels by {expected}, {graph.name} by {image and image.op}; "
        f"kcnn.build({address!r}) builds the network with the scaling of the checkpoint"
    )


def _parse_own(repo: str, address: str, config: Mapping[str, Any]) -> OwnModel:
    metadata = parse_metadata({"metadata": json.dumps(config[OWN])}, address)
    if not metadata.get("distribution"):
        raise ValueError("it names no published network")
    return OwnModel(repo, address, metadata, _find_license(address, config))


def _read_preset(repo: str, address: str, config: Mapping[str, Any]) -> HubModel:
    """Read the other files of a KerasHub preset."""
    task = _fetch_json(address, presets.TASK)
    image = _fetch_json(address, presets.PREPROCESSOR) or _fetch_json(address, presets.CONVERTER)
    preset = presets.parse_preset(config, task, image)
    own = get_architecture(list_published_models(presets.PUBLISHER)[preset.architecture][0])
    rows, columns = preset.size or own.input_shape[:2]
    return HubModel(
        repo=repo,
        address=address,
        architecture=preset.architecture,
        classes=preset.classes or own.classes,
        input_shape=(rows, columns, 3),
        rescale=preset.rescale,
        resize=rows,
        crop=rows,
        interpolation=_choose_interpolation(preset.interpolation),
        crop_mode=preset.crop_mode,
        license=_find_license(address),
        publisher=presets.PUBLISHER,
        top=preset.classes is not None,
    )


def _fetch_json(address: str, file: str) -> Any:
    """Return the content of a file; None where the repository has none of the name."""
    try:
        return parse_json(fetch_hub_file(address, file)[0].read_bytes())
    except MissingFileError:
        return None


def _find_license(address: str, *configs: Mapping[str, Any]) -> str:
    """The license that a config states, or else the model card of the repository, as on its page."""
    stated = next((one["license"] for one in configs if one.get("license")), None)
    if stated:
        return str(stated)
    try:
        return read_card_license(fetch_hub_file(address, CARD)[0].read_text(encoding="utf-8", errors="replace"))
    except MissingFileError:
        return NOT_STATED
    except DownloadError:  # what is cached loads without the Hub
        return f"unknown, as {CARD} cannot be read"


def _choose_interpolation(name: str) -> str:
    return name if name in ("bilinear", "bicubic", "lanczos") else "bilinear"


def _parse_config(repo: str, address: str, config: Mapping[str, Any]) -> HubModel:
    about = config["pretrained_cfg"]
    check_kind("architecture", config["architecture"], str, "a name")
    channels, rows, columns = (int(size) for size in about.get("test_input_size") or about["input_size"])
    mean, deviation = (_numbers(about[name], channels) for name in ("mean", "std"))
    crop_ratio = float(about.get("test_crop_pct") or about.get("crop_pct") or 0.875)
    if not 0 < crop_ratio <= 1 or min(rows, columns, channels) < 1 or min(deviation) <= 0:
        raise ValueError("a size, crop or standard deviation is not positive, or a crop larger than the image")
    count = config.get("num_classes")
    count = int(about["num_classes"] if count is None else count)  # 0 where it has no classifier
    own = list_published_models(PUBLISHER).get(config["architecture"])
    return HubModel(
        repo=repo,
        address=address,
        architecture=config["architecture"],
        classes=count or (get_architecture(own[0]).classes if own else 1),
        input_shape=(rows, columns, channels),
        rescale=Rescale(
            tuple(1 / (255 * one) for one in deviation),
            tuple(-one / other for one, other in zip(mean, deviation, strict=True)),
        ),
        resize=int(rows / crop_ratio),
        crop=rows,
        interpolation=_choose_interpolation(about.get("interpolation", "bicubic")),
        crop_mode="squash" if about.get("crop_mode") == "squash" else "center",
        license=_find_license(address, about, config),
        labels=_read_labels(config.get("label_names") or about.get("label_names"), count),
        top=count > 0,
    )


def _read_labels(labels: Any, count: int) -> tuple[str, ...]:
    """A list of names of the classes; those of ImageNet are WordNet's, for which kcnn has names of its own."""
    is_list = isinstance(labels, list) and len(labels) == count != 1000 and all(isinstance(one, str) for one in labels)
    return tuple(labels) if is_list else ()


def _numbers(values: float | Sequence[Any], count: int) -> tuple[float, ...]:
    numbers = tuple(map(float, values if isinstance(values, Sequence) else (values,)))
    return numbers * count if len(numbers) == 1 else numbers


def _is_same(one: Any, other: Rescale, channels: int = 3) -> bool:
    """Whether two ops scale each channel alike."""
    if not isinstance(one, Rescale):
        return False
    one, other = one.per_channel(channels), other.per_channel(channels)
    pairs = (
        (_numbers(a, channels), _numbers(b, channels))
        for a, b in ((one.scale, other.scale), (one.offset, other.offset))
    )
    return all(math.isclose(x, y, rel_tol=1e-6) for a, b in pairs for x, y in zip(a, b, strict=True))
