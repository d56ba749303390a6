"""Pretrained weights by name: which file they are for a network, its options, head and input size."""

from os import PathLike
from pathlib import Path

from kcnn.architectures.architecture import Weights
from kcnn.architectures.registry import get_architecture
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


def has_published(graph: Graph) -> bool:
    """Return whether weights are published for a network with these options."""
    try:
        return find_published(graph, "imagenet") is not None
    except ValueError:  # none
        return False


def find_variants(graph: Graph) -> list[str]:
    """Return the names of a network and its variants, without the one of the graph."""
    if graph.spec is None or not isinstance(graph.spec.network, str):
        return []
    distribution, colon, rest = graph.spec.network.rpartition(":")
    base = distribution + colon + rest.partition(".")[0]
    names = [base, *(f"{base}.{variant}" for variant in get_architecture(base).variants)]
    return [name for name in names if name != graph.spec.network]


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
