"""Weights: into a file, and out of anybody's file into a model, strictly and with a report."""

import json
import warnings
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from kcnn import ops
from kcnn.architecture import Architecture, Weights
from kcnn.drawing import Drawing, draw, measure
from kcnn.files import replacing
from kcnn.registry import architecture


class PartlyLoaded(UserWarning):
    """Some weights of a file fit a changed network, and others do not."""


def save(model: Any, path: str | PathLike[str]) -> None:
    """Write every weight of a flat Keras model, and its card where it has one, to a .safetensors file.

    One tensor per variable, "layer/variable".
    """
    import numpy as np
    from safetensors.numpy import save_file

    card = getattr(model, "card", {})
    tensors = {
        f"{layer.name.removeprefix(card.get('prefix', ''))}/{variable.name}": np.ascontiguousarray(variable.numpy())
        for layer in model.layers
        for variable in layer.weights
    }
    if len(tensors) != len(model.weights):
        raise ValueError(f"{model.name!r} is not flat: some of its weights have no name of their own")
    with replacing(path) as temporary:
        save_file(tensors, temporary, {"card": json.dumps(card)})


def load_weights(model: Any, weights: str | PathLike[str] = "imagenet", *, strict: bool | None = None) -> Any:
    """Set a model's weights from a file, or from published ones by name, and report what became of each.

    Files are safetensors, .keras, .weights.h5, .h5 or PyTorch's, of kcnn or of a library whose
    layout the network's plugin knows. Another number of classes keeps the new head as it was; the
    first kernel is adapted to another number of input channels. What else does not fit is an
    error that names it, and nothing is set; in a network that was built with `changes`, or with
    `strict=False`, what fits is set and a warning names the rest.

    Returns a Report: matched, adapted, missing, unexpected, unused. FileNotFoundError, ValueError
    (damaged, or of another network), ImportError (torch is needed), NotFetched.
    """
    from kcnn.weights.fetch import fetch
    from kcnn.weights.files import read
    from kcnn.weights.match import match

    card = getattr(model, "card", {})
    whole = _whole(card)
    plan = whole.architecture if whole else None
    chosen = None if _is_file(weights) else published(card, str(weights))
    path = fetch(chosen) if chosen else Path(weights)
    stored = read(path)
    layers = [row.name for row in measure(whole) if row.params or row.state] if whole else []
    logits = [x.name for x in whole.ends.values()] if whole else ["logits"]
    try:
        report, found = match(model, stored, plan.layouts if plan else {}, layers, logits)
    except ValueError as error:
        raise ValueError(f"{path} is of another network: {error}") from None
    fits = not report.missing and not report.unexpected
    lenient = bool(card.get("changes")) if strict is None else not strict
    if not found:
        raise ValueError(f"{path} is of another network: {_unfit(report)}")
    if not (fits or lenient):
        raise ValueError(f"{path}: {_unfit(report)}")
    for variable, array in found:
        variable.assign(array)
    if not fits:
        warnings.warn(f"{path}: {_unfit(report)}", PartlyLoaded, stacklevel=2)
    if chosen and hasattr(model, "update_card"):
        model.update_card(**_facts(chosen, report))
    return report


def published(card: Mapping[str, Any], name: str) -> Weights:
    """The published weights of a name that belong to what a card says: network, options, top, input size.

    ValueError where there are none, with those there are.
    """
    network = card.get("network")
    if not card.get("distribution"):
        raise ValueError(f"{name!r} is no file, and only networks that a plugin publishes have weights by name")
    plan = _plan(card)
    if not plan.weights:
        others = _with_weights(card)
        have = f"; {' and '.join(others)} {'have' if len(others) > 1 else 'has'}" if others else ""
        raise ValueError(f"{network} has no published weights of its own{have}")
    named = [w for w in plan.weights if w.name == name]
    if not named:
        there = ", ".join(dict.fromkeys(w.name for w in plan.weights))
        raise ValueError(f"{name!r} is neither a file nor published weights of {network}; there are {there}")
    options = {**plan.defaults(), **card["options"]}
    fit = [w for w in named if all(options.get(option) == value for option, value in w.options.items())]
    if not fit:
        widths = dict.fromkeys(", ".join(f"{o}={v}" for o, v in w.options.items()) for w in named)
        raise ValueError(f"{name!r} weights of {network} are published for {'; '.join(widths)} only")
    rows = card["input_shape"][0] or plan.input_shape[0]
    whole = bool(card["top"] and not card["taps"])
    return min(fit, key=lambda w: (w.top is not whole, abs(w.crop - rows)))


def _is_file(weights: str | PathLike[str]) -> bool:
    """Whether a file is meant: a path, or a word that looks like one or is one."""
    return not isinstance(weights, str) or Path(weights).exists() or Path(weights).suffix != "" or "/" in weights


def _plan(card: Mapping[str, Any]) -> Architecture:
    return architecture(f"{card['distribution']}:{card['network'].rpartition(':')[2]}")


def _with_weights(card: Mapping[str, Any]) -> list[str]:
    """The network and those of its variants that have published weights, by name."""
    bare = card["network"].rpartition(":")[2].partition(".")[0]
    plan = architecture(f"{card['distribution']}:{bare}")
    variants = [f"{bare}.{name}" for name, fields in plan.variants.items() if fields.get("weights")]
    return [bare, *variants] if plan.weights else variants


def _whole(card: Mapping[str, Any]) -> Drawing | None:
    """The network that a card names, with its top and auxiliary classifiers; None where no plugin publishes it."""
    if not card.get("distribution"):
        return None
    plan = _plan(card)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a change that altered nothing was reported when the model was built
        return draw(
            f"{card['distribution']}:{card['network'].rpartition(':')[2]}",
            input_shape=(*plan.input_shape[:2], card["input_shape"][2]),
            changes=_ops(card["changes"]),
            aux=bool(plan.aux),
            **_ops(card["options"]),
        )


def _ops(value: Any) -> Any:
    """A card's values with its records as ops again."""
    if isinstance(value, Mapping):
        fields = {key: _ops(item) for key, item in value.items()}
        return getattr(ops, fields.pop("op"))(**fields) if "op" in fields else fields
    return tuple(map(_ops, value)) if isinstance(value, list) else value


def _unfit(report: Any) -> str:
    """What did not fit, shortly: the first few of each."""

    def few(names: Any) -> str:
        return ", ".join(list(names)[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    said = [f"{len(report.matched)} tensors fit"]
    if report.missing:
        said.append(f"missing are {few([f'{name} ({why})' for name, why in report.missing.items()])}")
    if report.unexpected:
        said.append(f"unexpected are {few(report.unexpected)}")
    return "; ".join(said)


def _facts(weights: Weights, report: Any) -> dict[str, Any]:
    """What a card says of published weights: whose they are and, with their head, classes and how pictures go in."""
    from kcnn.labels import labels

    facts: dict[str, Any] = {
        "weights": {"name": weights.name, "source": weights.source, "url": weights.url, "licence": weights.licence}
    }
    if "logits/kernel" in report.matched:
        facts["classes"] = labels(weights.classes)
        facts["pictures"] = {
            "resize": weights.resize,
            "crop": weights.crop,
            "interpolation": weights.interpolation,
        }
    return facts
