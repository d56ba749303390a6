"""Weights of another version of a network: which version a file is of, and its weights for this one."""

import random
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kcnn.architectures.spec import ModelSpec
from kcnn.graph.graph import Graph
from kcnn.keras_bridge.networks import make_network
from kcnn.weights.hub import RESCALE
from kcnn.weights.matching import LoadReport, TensorMatch
from kcnn.weights.morphing import MorphReport, morph_tensors
from kcnn.weights.weight_files import WeightsFile, collect_tensors, describe_misfits, find_listed, match_file


@dataclass(frozen=True)
class Version:
    """A version of a network and its weights.

    Attributes:
        graph: The network.
        tensors: Weights by "layer/variable"; without those of a head that the file lacks or that is not loaded.
        adapted: Tensors that were adapted to another number of input channels, and how.
        mapping: Whose names the file has.
    """

    graph: Graph
    tensors: Mapping[str, np.ndarray]
    adapted: Mapping[str, str]
    mapping: str


def load_version(model: Any, graph: Graph, file: WeightsFile, with_head: bool) -> tuple[MorphReport, str]:
    """Set the weights of a model from a file of another version of its network.

    Args:
        model: The model.
        graph: Its network.
        file: The file.
        with_head: Whether the classifier is loaded.

    Returns:
        What became of each tensor, and whose names the file has.

    Raises:
        ValueError: The file is of another network.
    """
    version = read_version(graph, file, with_head)
    return set_morphed(model, graph, version), version.mapping


def set_morphed(model: Any, graph: Graph, version: Version) -> MorphReport:
    """Set the weights of a model from those of another version of its network.

    Args:
        model: The model.
        graph: Its network, for images of the same size as the version's.
        version: The other version.

    Returns:
        What became of each tensor.
    """
    morph = morph_tensors(version.graph, graph, version.tensors, collect_tensors(model))
    prefix = graph.spec.prefix if graph.spec else ""
    for layer in model.layers:
        for variable in layer.weights:
            variable.assign(morph.tensors[f"{layer.name.removeprefix(prefix)}/{variable.name}"])
    report = morph.report
    channels = {name: how for name, how in version.adapted.items() if name in report.kept}
    return replace(
        report,
        kept=tuple(name for name in report.kept if name not in channels),
        morphed={**channels, **report.morphed},
    )


def read_version(graph: Graph, file: WeightsFile, with_head: bool = True) -> Version:
    """Return the version of a network that a file is of, and its weights.

    Args:
        graph: A version of the network.
        file: The file.
        with_head: Whether the classifier is loaded.

    Raises:
        ValueError: The file is of another network.
    """
    problems: list[str] = []
    for spec in _list_versions(graph, file):
        state = random.getstate()  # Keras draws seeds of initial values, which are replaced
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an override without effect
                version = spec.trace()
            model = make_network(version)
        except ValueError as error:  # such as groups that do not divide the channels
            problems.append(str(error))
            continue
        finally:
            random.setstate(state)
        report, assignments = match_file(model, version, file, with_head)
        if report.missing or report.unexpected:
            problems.append(describe_misfits(report))
            continue
        arrays = {id(variable): np.asarray(array) for variable, array in assignments}
        tensors = {
            f"{layer.name.removeprefix(spec.prefix)}/{variable.name}": arrays[id(variable)]
            for layer in model.layers
            for variable in layer.weights
            if id(variable) in arrays
        }
        adapted = {name: how for name, how in report.adapted.items() if name in tensors}
        return Version(version, tensors, adapted, report.mapping)
    raise ValueError(f"{file.path} belongs to no version of {graph.name}: {problems[0]}")


def _list_versions(graph: Graph, file: WeightsFile) -> Iterator[ModelSpec]:
    """The versions of a network that a file may be of: what it says, else what its publisher or this network has."""
    spec = graph.spec
    assert spec is not None
    if "spec" in file.metadata:
        theirs = ModelSpec.from_json(file.metadata["spec"])
        names = [one.title.rpartition(":")[2] for one in (theirs, spec)]
        if names[0] != names[1]:
            raise ValueError(f"{file.path} belongs to another network: it was written by {names[0]}, not {names[1]}")
        classes = theirs.classes or spec.classes
        yield replace(spec, overrides=theirs.overrides, options=theirs.options, classes=classes, weights=None)
        return
    published = file.published or find_listed(graph, file.path)
    overrides = {address: value for address, value in spec.overrides.items() if address in RESCALE}
    options: list[Mapping[str, Any]] = []
    for one in (*([published.options] if published else []), spec.options, {}):
        if one not in options:
            options.append(one)
    for one in options:
        yield replace(spec, overrides=overrides, options=one, weights=None)


def to_load_report(loaded: tuple[MorphReport, str]) -> LoadReport:
    """Return the report of morphed weights as that of loaded ones: kept is matched, and new is missing.

    Args:
        loaded: From `load_version`.
    """
    report, mapping = loaded
    tensors = [TensorMatch(name, name, "matched") for name in report.kept]
    tensors += [TensorMatch(name, name, "adapted", how) for name, how in {**report.morphed, **report.adapted}.items()]
    tensors += [TensorMatch(name, None, "missing", why) for name, why in report.new.items()]
    return LoadReport(mapping, tuple(tensors), morphing=report)
