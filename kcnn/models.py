"""Keras models by name, and back from a file."""

import dataclasses
import gc
import json
import random
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any

import kcnn
from kcnn import plugins
from kcnn.architecture import Architecture
from kcnn.drawing import ARGUMENTS, Graph, trace
from kcnn.registry import find_entry_point
from kcnn.weights import load_into_graph, find_published


def build(
    network: str | Architecture | Graph,
    *,
    classes: int | None = None,
    input_shape: Sequence[int | None] | None = None,
    top: bool = True,
    weights: str | PathLike[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    aux: bool = False,
    outputs: Sequence[str] = (),
    prefix: str = "",
    seed: int | None = None,
    **options: Any,
) -> Any:
    """The Keras model of a network: pixels 0..255 (batch, rows, columns, channels) in, float32 logits out.

    `top=False` ends in the features, `taps` in the named layers or stages. Rows and columns of
    `input_shape` may be None where the head allows. `weights` are published ones by name
    ("imagenet"), or a file: see kcnn.load_weights. `seed` fixes the initial weights. The other
    arguments are those of kcnn.draw, and its errors are this function's.
    """
    asked: dict[str, Any] = {
        "classes": classes,
        "input_shape": input_shape,
        "top": top,
        "changes": overrides,
        "aux": aux,
        "taps": outputs,
        "prefix": prefix,
        **options,
    }
    if isinstance(network, Graph):
        given = [word for word, value in asked.items() if value != ARGUMENTS.get(word)]
        if given:
            raise ValueError(f"{network.name} is drawn already; give {', '.join(given)} to kcnn.draw or kcnn.patch")
        drawing = network
    else:
        drawing = trace(network, **asked)
    if drawing.network is None:
        raise ValueError(f"{drawing.name} was read from a Keras model; that model is already what build would make")
    _openable(drawing)
    if weights is not None:
        find_published(drawing, weights)  # what is not there is said before Keras is loaded

    from kcnn.lower import build_tensors
    from kcnn.network import Network
    from kcnn.read import to_keras_tensors as tensors_of_keras

    with _seeded(seed), _uncollected():
        image, ends = (tensors_of_keras if _of_keras(drawing) else build_tensors)(drawing)
        sides = tuple(name for name in ends if drawing.asked["aux"] and name != "logits")
        outputs = list(ends.values()) if len(ends) > 1 else next(iter(ends.values()))
        name = drawing.asked["prefix"] + drawing.name.rpartition(":")[2].replace(".", "_")
        model = Network(image, outputs, name=name, aux=sides, metadata=json.dumps(_card(drawing)))
    model.update_metadata(modules=_modules(model))
    if weights is not None:
        load_into_graph(model, drawing, weights)
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
            point, _ = find_entry_point(f"{card['distribution']}:{card['network'].rpartition(':')[2]}")
        except ValueError as error:
            raise ImportError(
                f"{path} holds {card['network']!r} of distribution {card['distribution']} "
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

    import_module("kcnn.network")
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
    card = config.get("config", {}).get("card")
    if card is None:
        raise ValueError(f"{where} is a Keras model but not one of kcnn's; keras.saving.load_model opens it")
    return json.loads(card)


def _card(drawing: Graph) -> dict[str, Any]:
    """What the drawing is, as JSON."""
    plan, asked = drawing.architecture, drawing.asked
    assert plan is not None
    named = isinstance(drawing.network, str)
    point = find_entry_point(drawing.name)[0] if named else None
    owner = point.dist if point else None
    return {
        "kcnn": kcnn.__version__,
        "distribution": owner.name if owner else None,
        "distribution_version": owner.version if owner else None,
        "network": drawing.name,
        "options": _jsonable(drawing.options),
        "changes": _jsonable(asked["changes"]),
        "classes": plan.classes if asked["classes"] is None else asked["classes"],
        "input_shape": list(drawing.input_shape),
        "top": asked["top"],
        "aux": asked["aux"],
        "taps": list(asked["taps"]),
        "prefix": asked["prefix"],
        "rescale": None if plan.keras else _jsonable(plan.rescale),
    }


def _of_keras(drawing: Graph) -> bool:
    """Whether a network exists only as Keras code."""
    return drawing.architecture is not None and drawing.architecture.keras is not None


def _jsonable(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _jsonable(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"op": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_jsonable(item) for item in value]
    return value


def _modules(model: Any) -> list[str]:
    """Where the layers come from that are neither Keras' nor kcnn's."""
    homes = {type(layer).__module__ for layer in model.layers}
    return sorted(home for home in homes if home.partition(".")[0] not in ("keras", "kcnn"))


def _openable(drawing: Graph) -> None:
    """Refuse open rows or columns under a head that flattens them."""
    if None not in drawing.input_shape:
        return
    from kcnn.ops import AdaptivePool, Flatten
    from kcnn.sketch import topological_order

    layers = topological_order(*drawing.outputs.values())
    flat = next((x for x in layers if type(x.op) is Flatten and type(x.inputs[0].op) is not AdaptivePool), None)
    if flat:
        raise ValueError(
            f"{drawing.name}: layer {flat.name!r} flattens its input, so rows and columns cannot stay open; "
            "give a whole input_shape, or top=False"
        )
