"""Pretrained weights by name: which file they are for a network, its options, head and input size."""

import os
import sys
from dataclasses import fields, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from kcnn.architectures.architecture import Architecture, Weights
from kcnn.architectures.licenses import forbids_commercial_use
from kcnn.architectures.registry import get_architecture, list_models
from kcnn.architectures.spec import ModelSpec, to_spec
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.graph import Graph
from kcnn.graph.names import unknown
from kcnn.run_folders import HUB_WEIGHTS, PRESET_WEIGHTS, is_run_folder, resolve_model
from kcnn.weights import presets
from kcnn.weights.downloads import download, find_cached
from kcnn.weights.hub import download_hub_weights, find_hub_spec, find_hub_weights, read_hub_model
from kcnn.weights.hub_files import find_address, find_cached_file, is_hub_address
from kcnn.weights.packaged import DEMO, find_packaged


@check_arguments
def find_published(graph: Graph | None, weights: str | PathLike[str]) -> Weights | None:
    """Find the published weights of a name that suit a network: its options, head and input size.

    Args:
        graph: The network; None for a model that kcnn did not build.
        weights: The name, a file, or the folder of a run.

    Returns:
        The weights; None for a file or a folder, and for the packaged weights "demo".

    Raises:
        ValueError: None are published, or none of this name or these options; the message lists those that are.
        FileNotFoundError: The file does not exist, or the folder has no trained model.
        TypeError: The argument is neither a name nor a path.
    """
    if not isinstance(weights, str | PathLike):
        raise TypeError(f"weights must be a file or a name, got {weights!r}")
    if address := find_address(weights):
        return find_hub_weights(graph, address)
    if weights == DEMO:
        find_packaged(graph)
        return None
    if check_weights_file(weights) or not isinstance(weights, str):
        return None
    if graph is None or graph.architecture is None or graph.spec is None:
        raise ValueError(f"{weights!r} is not a file, and only networks of kcnn and of plugins have weights by name")
    return _choose(graph, _find_named(graph, weights))


def check_weights_file(weights: str | PathLike[str]) -> bool:
    """Check that weights of a file or a folder are there; return whether they are such, and not a name.

    Args:
        weights: A name, an address on the Hub, a file, or the folder of a run.

    Raises:
        FileNotFoundError: The file does not exist, or the folder has no trained model.
    """
    if find_address(weights) or weights == DEMO:
        return False
    path = Path(weights)
    if path.is_dir() and (not isinstance(weights, str) or "/" in weights or is_run_folder(path)):
        resolve_model(path)
        return True
    if not isinstance(weights, str) or path.is_file() or path.suffix or "/" in weights:
        if not path.is_file():
            raise FileNotFoundError(f"weights file not found: {weights}")
        return True
    return False


def download_published(weights: Weights) -> Path:
    """Return the file of published weights, of the Hub or another publisher, from a cache or downloaded.

    One line on standard error names a license that forbids commercial use.

    Raises:
        DownloadError: It cannot be downloaded, or is not the file that was published.
    """
    if forbids_commercial_use(weights.license):
        print(f"{weights.url}: license {weights.license}, which forbids commercial use", file=sys.stderr)
    return download_hub_weights(weights) if is_hub_address(weights.url) else download(weights)


def find_cached_published(weights: Weights) -> Path | None:
    """Return the file of published weights from the cache, that of the Hub for its own; None where it is not there.

    Those of a KerasHub preset are two files in a folder, which is returned.
    """
    if not is_hub_address(weights.url):
        return find_cached(weights)
    if weights.mapping != presets.PUBLISHER:
        return find_cached_file(weights.url, HUB_WEIGHTS)
    files = [find_cached_file(weights.url, (name,)) for name in PRESET_WEIGHTS[: 2 if weights.top else 1]]
    return None if files[-1] is None or files[0] is None else files[0].parent


def resolve_spec(
    network: "str | PathLike[str] | Architecture | ModelSpec",
    weights: str | PathLike[str] | None = None,
    **keywords: Any,
) -> ModelSpec:
    """Return the spec of a network whose weights are settled.

    The address of a checkpoint on the Hub becomes its network, and a revision there its commit. Where a network has
    none of the weights that a name means, it becomes the variant that has: "imagenet" of resnet50 means those of
    resnet50.torchvision, of the highest cited accuracy. One line on standard error says so.

    Args:
        network: A name, an address ("hf://timm/resnet50.a1_in1k"), a folder that kcnn.publish wrote, an Architecture,
            or a ModelSpec.
        weights: In place of the weights of the spec.
        **keywords: Fields of kcnn.ModelSpec, and the network's own options by keyword.

    Returns:
        The spec, with the weights where any are meant.

    Raises:
        UnknownNameError, TypeError, ValueError: As from kcnn.ModelSpec.
        DownloadError: The Hub cannot be reached, or has no such checkpoint.
    """
    if address := find_address(network) or _find_folder(network):
        spec = find_hub_spec(address)
        both = ("overrides", "options")
        merged = {name: {**getattr(spec, name), **(keywords.pop(name, None) or {})} for name in both}
        own = {f.name: getattr(spec, f.name) for f in fields(ModelSpec) if f.name not in ("network", "source", *both)}
        spec = to_spec(spec.network, **{**own, **merged, **keywords})
    else:
        spec = to_spec(fspath(network) if isinstance(network, PathLike) else network, **keywords)
    if weights is not None:
        spec = replace(spec, weights=find_address(weights) or str(weights))
    if address := find_address(spec.weights):
        return replace(spec, weights=read_hub_model(address).address)
    found = _find_variant(spec)
    if found is None:
        return spec
    name, best = found
    accuracy = f", top-1 {best.accuracy:g}% as cited" if best.accuracy else ""
    print(
        f"{spec.network} has no {spec.weights!r} weights of its own; {name} has ({best.source}{accuracy}) and is taken",
        file=sys.stderr,
    )
    return replace(spec, network=name)


def _find_folder(network: object) -> str | None:
    """The address of a published folder by a name without a slash, as publish prints it, which no network has."""
    if not isinstance(network, str) or not os.path.isdir(network) or network.partition(".")[0] in list_models():
        return None
    return find_address(Path(network))


def _find_variant(spec: ModelSpec) -> tuple[str, Weights] | None:
    """The variant with the best weights of a name, and these; None where the network has its own, or none has any."""
    if spec.weights is None or not isinstance(spec.network, str) or Path(spec.weights).is_file():
        return None
    if spec.definition or spec.architecture.weights:
        return None
    candidates = [
        (name, one)
        for name in list_other_variants(spec.network)
        for one in get_architecture(name).weights
        if one.name == spec.weights
        and one.options.items() <= {**get_architecture(name).defaults(), **spec.options}.items()
    ]
    return max(candidates, key=lambda found: found[1].accuracy or 0, default=None)


def has_published(graph: Graph) -> bool:
    """Return whether weights are published for a network with these options, or for a variant of it."""
    try:
        return find_published(graph, "imagenet") is not None
    except ValueError:  # none
        return graph.spec is not None and _find_variant(replace(graph.spec, weights="imagenet")) is not None


def find_variants(graph: Graph) -> list[str]:
    """Return the names of a network and its variants, without the one of the graph."""
    if graph.spec is None or not isinstance(graph.spec.network, str):
        return []
    return list_other_variants(graph.spec.network)


def list_other_variants(network: str) -> list[str]:
    """Return the names of a published network and its variants, without the given one."""
    distribution, colon, rest = network.rpartition(":")
    base = distribution + colon + rest.partition(".")[0]
    names = [base, *(f"{base}.{variant}" for variant in get_architecture(base).variants)]
    return [name for name in names if name != network]


def _find_named(graph: Graph, name: str) -> list[Weights]:
    """The files of a name whose options are the network's."""
    architecture, spec = graph.architecture, graph.spec
    assert architecture is not None
    assert spec is not None
    if not architecture.weights:
        others = [variant for variant in find_variants(graph) if get_architecture(variant).weights]
        have = f"; {' and '.join(others)} {'have' if len(others) > 1 else 'has'}" if others else ""
        raise ValueError(f"{graph.name} has no published weights of its own{have}")
    named = [weights for weights in architecture.weights if weights.name == name]
    if not named:
        names = dict.fromkeys(weights.name for weights in architecture.weights)
        raise unknown("weights", name, names, graph.name)
    options = {**architecture.defaults(), **spec.options}
    fitting = [weights for weights in named if weights.options.items() <= options.items()]
    if not fitting:
        published = dict.fromkeys(", ".join(f"{o}={v}" for o, v in weights.options.items()) for weights in named)
        raise ValueError(f"{name!r} weights of {graph.name} are published for {'; '.join(published)} only")
    return fitting


def _choose(graph: Graph, candidates: list[Weights]) -> Weights:
    """The file with a classifier where the network has one, of the nearest image size."""
    assert graph.spec is not None
    has_head = graph.spec.top and not graph.spec.outputs
    return min(candidates, key=lambda weights: (weights.top is not has_head, abs(weights.crop - graph.input.shape[0])))
