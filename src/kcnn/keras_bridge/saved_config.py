"""The config of a network in Keras' files, which Keras opens without kcnn where no layer needs it."""

import re
from collections.abc import Mapping
from typing import Any

HINT = re.compile(r" \(pip install [^()]*, then import kcnn before loading\)$")
AUX_INPUT = "AuxiliaryClassifiers"  # in place of the class of the input layer
KERAS_INPUT = {"class_name": "InputLayer", "registered_name": None}


def add_hints(config: Mapping[str, Any], publisher: str | None) -> dict[str, Any]:
    """Return the config of a network with a hint at each layer that Keras lacks.

    Keras finds these layers by their registered names where kcnn is imported. Elsewhere its error has the name of the
    class, and with it the hint: also for a network with auxiliary classifiers, which is more than its layers.

    Args:
        config: As of keras.Model.get_config, with "aux".
        publisher: The distribution that publishes the network.

    Returns:
        The config.
    """
    packages = "kcnn" if publisher in (None, "kcnn") else f"kcnn {publisher}"
    layers = [_add_hint(entry, packages) for entry in config["layers"]]
    if config["aux"]:
        layers[0] = _add_hint({**layers[0], "class_name": AUX_INPUT, "registered_name": f"kcnn>{AUX_INPUT}"}, packages)
    return {**config, "layers": layers}


def remove_hints(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config that `add_hints` was called with, but for the modules of the layers that Keras lacks."""
    layers = [{**entry, "class_name": remove_hint(entry["class_name"])} for entry in config["layers"]]
    if layers[0]["class_name"] == AUX_INPUT:
        layers[0] |= KERAS_INPUT
    return {**config, "layers": layers}


def remove_hint(class_name: str) -> str:
    """Return the name of a layer's class in a config, without the hint."""
    return HINT.sub("", class_name)


def _add_hint(entry: Mapping[str, Any], packages: str) -> dict[str, Any]:
    """The entry of a layer, with the hint where Keras knows the class by its registered name alone.

    The module is Keras': of others Keras prints the entire model in front of the message.
    """
    registered = entry.get("registered_name") or ""  # none in the format of .h5 files
    if ">" not in registered or str(entry.get("module")).startswith("keras.src."):  # Keras' own class does the same
        return dict(entry)
    name = f"{entry['class_name']} (pip install {packages}, then import kcnn before loading)"
    return {**entry, "module": "keras.layers", "class_name": name}
