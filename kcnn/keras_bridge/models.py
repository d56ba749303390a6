"""Keras models by name, and back from a file."""

import gc
import json
import random
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any

import kcnn
from kcnn.architectures import plugins
from kcnn.architectures.architecture import Architecture
from kcnn.architectures.registry import find_entry_point
from kcnn.architectures.spec import ModelSpec, takes_spec, to_json_value, to_spec
from kcnn.graph.graph import Graph
from kcnn.weights import find_published, load_into_graph


@takes_spec
def build(
    network: "str | Architecture | ModelSpec | Graph",
    *,
    weights: str | PathLike[str] | None = None,
    seed: int | None = None,
    **keywords: Any,
) -> Any:
    """Build the Keras model of a network.

    Args:
        network: A name ("googlenet.bn"), an Architecture, a ModelSpec, or a graph from kcnn.trace.
        weights: Pretrained weights by name ("imagenet"), or a file: see kcnn.load_weights.
        seed: Fixes the initial weights.
        **keywords: Fields of kcnn.ModelSpec, such as `classes`, `input_shape`, `top`, `overrides`, `aux`, `outputs` and
            `prefix`, and the network's own options by keyword (`width=0.35`).

    Returns:
        A functional Keras model: pixels 0..255 (batch, rows, columns, channels) in, float32 logits (batch, classes)
        out. `top=False` ends in the features, `outputs` in the named layers or stages.

    Raises:
        UnknownNameError: No network, option, layer or output has this name; the message has the nearest.
        ValueError: An input that is too small, a value that no network takes, or weights that do not fit.
        FileNotFoundError: There is no file of these weights.
    """
    if isinstance(network, Graph):
        if keywords:
            raise ValueError(f"{network.name} is traced already; give {', '.join(keywords)} to kcnn.trace")
        graph = network
    else:
        graph = to_spec(network, **keywords).trace()
    if graph.spec is None:
        raise ValueError(f"{graph.name} was read from a Keras model; that model is already what build would make")
    if weights is None:
        weights = graph.spec.weights
    _check_open_size(graph)
    if weights is not None:
        find_published(graph, weights)  # what is not there is said before Keras is loaded

    from kcnn.keras_bridge.from_keras import to_keras_tensors as tensors_of_keras
    from kcnn.keras_bridge.model import Network
    from kcnn.keras_bridge.to_keras import build_tensors

    with _seeded(seed), _uncollected():
        image, ends = (tensors_of_keras if _is_keras_code(graph) else build_tensors)(graph)
        sides = tuple(name for name in ends if graph.spec.aux and name != "logits")
        outputs = list(ends.values()) if len(ends) > 1 else next(iter(ends.values()))
        name = graph.spec.prefix + graph.name.rpartition(":")[2].replace(".", "_")
        model = Network(image, outputs, name=name, aux=sides, metadata=json.dumps(_metadata(graph)))
    model.update_metadata(modules=_modules(model))
    if weights is not None:
        load_into_graph(model, graph, weights)
    return model


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Python's random numbers from `seed`: Keras draws the seed of each initialiser from them."""
    state = random.getstate()
    if seed is not None:
        random.seed(seed)
    try:
        yield
    finally:
        if seed is not None:
            random.setstate(state)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for garbage meanwhile: of thousands of new layers and variables none is any."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def load_model(path: str | PathLike[str]) -> Any:
    """The model that `model.save(path)` wrote, with the plugins it needs imported first.

    FileNotFoundError, ValueError where the file is no Keras model of kcnn's or is damaged,
    ImportError where the distribution that published its architecture is not installed.
    """
    card = read_metadata(path)
    home = "kcnn"
    if card["distribution"]:
        try:
            point, _ = find_entry_point(f"{card['distribution']}:{card['spec']['network'].rpartition(':')[2]}")
        except ValueError as error:
            raise ImportError(
                f"{path} holds {card['spec']['network']!r} of distribution {card['distribution']} "
                f"{card['distribution_version']}, which is not installed here: {error}"
            ) from None
        home = point.module.partition(".")[0]
        plugins.load_plugin(point, card["distribution"])
    for module in card["modules"]:
        # A file may not name just any module to run: only kcnn's, or those of the plugin it is built from.
        if module not in sys.modules and module.partition(".")[0] not in ("kcnn", home):
            raise ImportError(f"{path} needs layers of the module {module!r}; import it first")
        import_module(module)
    import keras

    import_module("kcnn.keras_bridge.model")
    try:
        return keras.saving.load_model(path)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def read_metadata(path: str | PathLike[str]) -> dict[str, Any]:
    """The card inside a saved model, without loading the model."""
    where = Path(path)
    if not where.exists():
        raise FileNotFoundError(f"there is no file {where}")
    try:
        with zipfile.ZipFile(where) as archive:
            config = json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, KeyError, ValueError, IsADirectoryError) as error:
        raise ValueError(f"{where} is no Keras model, or is damaged: {error}") from None
    card = config.get("config", {}).get("metadata")
    if card is None:
        raise ValueError(f"{where} is a Keras model but not one of kcnn's; keras.saving.load_model opens it")
    return json.loads(card)


def _metadata(graph: Graph) -> dict[str, Any]:
    """What a saved model carries: its spec, who published its architecture, and how pixels are rescaled."""
    spec, plan = graph.spec, graph.architecture
    assert spec is not None
    assert plan is not None
    point = find_entry_point(graph.name)[0] if isinstance(spec.network, str) else None
    owner = point.dist if point else None
    classes = plan.classes if spec.classes is None else spec.classes
    whole = replace(spec, classes=classes, input_shape=graph.input_shape, weights=None)
    return {
        "kcnn": kcnn.__version__,
        "distribution": owner.name if owner else None,
        "distribution_version": owner.version if owner else None,
        "spec": whole.to_json(),
        "classes": classes,
        "input_shape": list(graph.input_shape),
        "rescale": None if plan.keras else to_json_value(plan.rescale),
    }


def _is_keras_code(graph: Graph) -> bool:
    """Whether a network exists only as Keras code."""
    return graph.architecture is not None and graph.architecture.keras is not None


def _modules(model: Any) -> list[str]:
    """Where the layers come from that are neither Keras' nor kcnn's."""
    homes = {type(layer).__module__ for layer in model.layers}
    return sorted(home for home in homes if home.partition(".")[0] not in ("keras", "kcnn"))


def _check_open_size(drawing: Graph) -> None:
    """Refuse open rows or columns under a head that flattens them."""
    if None not in drawing.input_shape:
        return
    from kcnn.graph.ops import AdaptivePool, Flatten
    from kcnn.graph.tracing import topological_order

    layers = topological_order(*drawing.outputs.values())
    flat = next((x for x in layers if type(x.op) is Flatten and type(x.inputs[0].op) is not AdaptivePool), None)
    if flat:
        raise ValueError(
            f"{drawing.name}: layer {flat.name!r} flattens its input, so rows and columns cannot stay open; "
            "give a whole input_shape, or top=False"
        )
