"""Pretrained weights by name: which file they are for a network, its options, head and input size."""

import sys
from dataclasses import replace
from os import PathLike
from pathlib import Path

from kcnn.architectures.architecture import Weights
from kcnn.architectures.registry import get_architecture
from kcnn.architectures.spec import ModelSpec
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.graph import Graph
from kcnn.graph.names import unknown
from kcnn.run_folders import is_run_folder, resolve_model
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
    if weights == DEMO:
        find_packaged(graph)
        return None
    path = Path(weights)
    if path.is_dir() and (not isinstance(weights, str) or "/" in weights or is_run_folder(path)):
        resolve_model(path)
        return None
    if not isinstance(weights, str) or path.is_file() or path.suffix or "/" in weights:
        if not path.is_file():
            raise FileNotFoundError(f"weights file not found: {weights}")
        return None
    if graph is None or graph.architecture is None or graph.spec is None:
        raise ValueError(f"{weights!r} is not a file, and only networks of kcnn and of plugins have weights by name")
    return _choose(graph, _find_named(graph, weights))


@check_arguments
def choose_variant(spec: ModelSpec, weights: str | PathLike[str] | None) -> ModelSpec:
    """Choose the variant whose weights a name means, where the network itself has none of its own.

    "imagenet" of resnet50 means those of resnet50.torchvision: of the variants with weights of that name, the one of
    the highest cited accuracy. One line on standard error says so.

    Args:
        spec: The network.
        weights: The name. A file, None, and a name that no variant has leave the spec as it is.

    Returns:
        The spec, of the variant where one was chosen.
    """
    found = _find_variant(spec, weights)
    if found is None:
        return spec
    name, best = found
    accuracy = f", top-1 {best.accuracy:g}% as cited" if best.accuracy else ""
    print(
        f"{spec.network} has no {weights!r} weights of its own; {name} has ({best.source}{accuracy}) and is taken",
        file=sys.stderr,
    )
    return replace(spec, network=name)


def _find_variant(spec: ModelSpec, weights: str | PathLike[str] | None) -> tuple[str, Weights] | None:
    """The variant with the best weights of a name, and these; None where the network has its own, or none has any."""
    if not isinstance(weights, str) or not isinstance(spec.network, str) or Path(weights).is_file():
        return None
    if spec.definition or spec.architecture.weights:
        return None
    candidates = [
        (name, one)
        for name in list_other_variants(spec.network)
        for one in get_architecture(name).weights
        if one.name == weights and one.options.items() <= {**get_architecture(name).defaults(), **spec.options}.items()
    ]
    return max(candidates, key=lambda found: found[1].accuracy or 0, default=None)


def has_published(graph: Graph) -> bool:
    """Return whether weights are published for a network with these options, or for a variant of it."""
    try:
        return find_published(graph, "imagenet") is not None
    except ValueError:  # none
        return graph.spec is not None and _find_variant(graph.spec, "imagenet") is not None


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
