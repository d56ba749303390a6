"""Weights: into a file, and out of anybody's file into a model, strictly and with a report."""

import json
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any

from kcnn.architectures.architecture import Weights
from kcnn.architectures.registry import get_architecture
from kcnn.architectures.spec import ModelSpec, summary, trace
from kcnn.atomic_io import replace_atomically
from kcnn.graph.graph import Graph
from kcnn.graph.tracing import topological_order

DEMO = "demo"  # the weights that kcnn comes with


class PartialWeightsWarning(UserWarning):
    """Weights were set although something speaks against it: some do not fit, or another network wrote the file."""


def save_weights(model: Any, path: str | PathLike[str]) -> None:
    """Write every weight of a flat Keras model, and its card where it has one, to a .safetensors file.

    One tensor per variable, "layer/variable".
    """
    import numpy as np
    from safetensors.numpy import save_file

    card = getattr(model, "metadata", {})
    tensors = {
        f"{layer.name.removeprefix(card.get('spec', {}).get('prefix', ''))}/{variable.name}": np.ascontiguousarray(
            variable.numpy()
        )
        for layer in model.layers
        for variable in layer.weights
    }
    if len(tensors) != len(model.weights):
        raise ValueError(f"{model.name!r} is not flat: some of its weights have no name of their own")
    with replace_atomically(path) as temporary:
        save_file(tensors, temporary, {"metadata": json.dumps(card)})


def load_weights(
    model: Any, weights: str | PathLike[str] = "imagenet", *, strict: bool | None = None, head: bool = True
) -> Any:
    """Set a model's weights from a file, from published ones by name, or "demo", and report what became of each.

    Files are safetensors, .keras, .weights.h5, .h5 or PyTorch's, of kcnn or of a library whose
    layout the network's plugin knows. Another number of classes keeps the new head as it was, and
    `head=False` the classifier even where the number is the same; the first kernel is adapted to
    another number of input channels. What else does not fit is an error that names it, and nothing is
    set; in a network that was built with `changes`, or with `strict=False`, what fits is set and a
    warning names the rest.

    Returns a Report: matched, adapted, missing, unexpected, unused. FileNotFoundError, ValueError
    (damaged, or of another network), ImportError (torch is needed), NotFetched.
    """
    return load_into_graph(model, trace_metadata(getattr(model, "metadata", {})), weights, strict, head)


def load_into_graph(
    model: Any,
    drawing: Graph | None,
    weights: str | PathLike[str] = "imagenet",
    strict: bool | None = None,
    with_head: bool = True,
) -> Any:
    """load_weights for a model whose drawing is at hand; without one only files with the model's own names are read."""
    from kcnn.weights.downloads import download
    from kcnn.weights.formats import read_weights
    from kcnn.weights.matching import match_weights
    from kcnn.weights.packaged import find_packaged

    plan = drawing.architecture if drawing else None
    found_for = find_published(drawing, weights)
    path = download(found_for) if found_for else find_packaged(drawing) if weights == DEMO else Path(weights)
    stored = read_weights(path)
    whole = _whole(drawing) if drawing else None
    layers = _layers(whole)
    body = {x.name for x in topological_order(whole.features)} if whole else set()
    head = [layer for layer in layers if layer not in body] if whole else ["logits"]
    new_head = not with_head or bool(
        drawing and plan and drawing.spec and drawing.spec.classes not in (None, plan.classes)
    )
    try:
        report, found = match_weights(
            model, stored, plan.weight_mappings if plan else {}, layers, head, new_head, with_head
        )
    except ValueError as error:
        raise ValueError(f"{path} is of another network: {error}{_readers(drawing, stored)}") from None
    if not found:
        raise ValueError(f"{path} is of another network: {_unfit(report)}{_readers(drawing, stored)}")
    card = getattr(model, "metadata", {})
    doubts = _doubts(report, stored.metadata, card, drawing, found_for)
    lenient = bool(card.get("spec", {}).get("overrides")) if strict is None else not strict
    scaled = stored.metadata.get("rescale", card.get("rescale")) == card.get("rescale")
    if (report.missing or report.unexpected or not scaled) and not lenient:
        headless = head and all(name.rpartition("/")[0] in head for name in report.missing) and report.missing
        hint = "; for a head of your own build with top=False, or with another number of classes" if headless else ""
        raise ValueError(f"{path}: {'; '.join(doubts)}{hint}")
    for variable, array in found:
        variable.assign(array)
    if doubts:
        warnings.warn(f"{path}: {'; '.join(doubts)}", PartialWeightsWarning, stacklevel=3)
    if card:
        by_file = (w for w in (plan.weights if plan else ()) if w.url.rpartition("/")[2] == path.name)
        model.update_metadata(**_facts(found_for or next(by_file, None), path, report, stored.metadata, card))
    return report


def find_published(drawing: Graph | None, weights: str | PathLike[str]) -> Weights | None:
    """The published weights that a word means for a network, its options, top and input size; None for a file.

    None too for those that kcnn comes with, "demo".

    ValueError where there are none, with those there are; FileNotFoundError; ImportError where their file takes torch.
    """
    if not isinstance(weights, str | PathLike):
        raise TypeError(f"weights are a file or published ones by name, not {weights!r}")
    if weights == DEMO:
        from kcnn.weights.packaged import find_packaged

        find_packaged(drawing)
        return None
    if not isinstance(weights, str) or Path(weights).is_file() or Path(weights).suffix or "/" in weights:
        if not Path(weights).is_file():
            raise FileNotFoundError(f"there is no weights file {weights}")
        return None
    if drawing is None or drawing.architecture is None or drawing.spec is None:
        raise ValueError(f"{weights!r} is no file, and only a network of kcnn's or of a plugin has weights by name")
    plan = drawing.architecture
    if not plan.weights:
        others = [name for name in _siblings(drawing) if get_architecture(name).weights]
        have = f"; {' and '.join(others)} {'have' if len(others) > 1 else 'has'}" if others else ""
        raise ValueError(f"{drawing.name} has no published weights of its own{have}")
    named = [w for w in plan.weights if w.name == weights]
    if not named:
        there = ", ".join(dict.fromkeys(w.name for w in plan.weights))
        raise ValueError(f"{weights!r} is neither a file nor published weights of {drawing.name}; there are {there}")
    options = {**plan.defaults(), **drawing.spec.options}
    fit = [w for w in named if all(options.get(option) == value for option, value in w.options.items())]
    if not fit:
        widths = dict.fromkeys(", ".join(f"{o}={v}" for o, v in w.options.items()) for w in named)
        raise ValueError(f"{weights!r} weights of {drawing.name} are published for {'; '.join(widths)} only")
    whole = drawing.spec.top and not drawing.spec.outputs
    best = min(fit, key=lambda w: (w.top is not whole, abs(w.crop - drawing.input.shape[0])))
    if best.url.endswith((".pth", ".pt", ".bin")) and not find_spec("torch"):
        raise ImportError(f'{best.url} is a file of PyTorch\'s, which takes torch: pip install "kcnn[torch]"')
    return best


def _siblings(drawing: Graph) -> list[str]:
    """The network and its variants by name, without the one that was drawn."""
    if drawing.spec is None or not isinstance(drawing.spec.network, str):
        return []
    owner, colon, rest = drawing.spec.network.rpartition(":")
    bare = owner + colon + rest.partition(".")[0]
    return [
        name
        for name in (bare, *(f"{bare}.{v}" for v in get_architecture(bare).variants))
        if name != drawing.spec.network
    ]


def _readers(drawing: Graph | None, stored: Any) -> str:
    """The variants of the network whose layouts know most of a file's layers, in words."""
    from kcnn.weights.matching import recognize_naming

    found = []
    for name in _siblings(drawing) if drawing else []:
        layouts, layers = get_architecture(name).weight_mappings, _layers(trace(name))
        with suppress(ValueError):
            if layouts and recognize_naming(stored, layouts, layers, "").hits > len(layers) / 2:
                found.append(name)
    return f"; it may be one for {' or '.join(found)}" if found else ""


def trace_metadata(metadata: Mapping[str, Any], **changes: Any) -> Graph | None:
    """Return the graph of a model's metadata, with fields of its spec replaced; None where no plugin publishes it."""
    if not metadata.get("distribution"):
        return None
    spec = ModelSpec.from_json(metadata["spec"])
    name = f"{metadata['distribution']}:{spec.title.rpartition(':')[2]}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an override without effect was reported when the model was built
        return replace(spec, network=name, **changes).trace()


def _whole(drawing: Graph) -> Graph:
    """The same network with its top and, where the size allows, its auxiliary classifiers: all that a file may have."""
    assert drawing.spec is not None
    assert drawing.architecture is not None
    spec = replace(drawing.spec, input_shape=drawing.input.shape, top=True, outputs=(), prefix="")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if drawing.architecture.aux:
            with suppress(ValueError):  # too small a map for them
                return replace(spec, aux=True).trace()
        with suppress(ValueError):  # too small a map for the head
            return replace(spec, aux=False).trace()
    return drawing


def _layers(drawing: Graph | None) -> list[str]:
    """The layers that have weights, in order."""
    return [row.name for row in summary(drawing) if row.params or row.non_trainable_params] if drawing else []


def _doubts(
    report: Any, wrote: Mapping[str, Any], card: Mapping[str, Any], drawing: Graph | None, weights: Weights | None
) -> list[str]:
    """What speaks against a file: tensors that do not fit, another scaling of pixels, network, or options."""
    doubts = [_unfit(report)] if report.missing or report.unexpected else []
    if wrote and card:
        if wrote["rescale"] != card["rescale"]:
            doubts.append(f"its pixels were rescaled by {wrote['rescale']}, here they are by {card['rescale']}")
        theirs, ours = (one["spec"]["network"].rpartition(":")[2] for one in (wrote, card))
        if theirs != ours:
            doubts.append(f"it was written by {theirs}, and this is {ours}")
    if weights and drawing and drawing.architecture and drawing.spec:
        usual = drawing.architecture.defaults()
        harmless = {*weights.options, "dropout", "drop_path"}
        other = {k: v for k, v in drawing.spec.options.items() if k not in harmless and v != usual[k]}
        doubts += [f"it was trained with {k}={usual[k]!r}, here it is {value!r}" for k, value in other.items()]
    return doubts


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


def _facts(
    weights: Weights | None, path: Path, report: Any, wrote: Mapping[str, Any], card: Mapping[str, Any]
) -> dict[str, Any]:
    """What a card says of its weights: whose they are and, with their head, how pictures go in and answers come out."""
    from kcnn.architectures.class_names import load_class_names

    facts: dict[str, Any] = {"weights": {"file": path.name}}
    if weights:
        facts["weights"] = {
            "name": weights.name,
            "source": weights.source,
            "url": weights.url,
            "license": weights.license,
        }
    if "logits/kernel" not in report.matched:
        return facts
    count = len(card["classes"]) if isinstance(card["classes"], list) else card["classes"]
    facts["classes"] = load_class_names(weights.classes) if weights else wrote.get("classes", count)
    facts |= {word: wrote.get(word) for word in ("preprocessing", "multi_label", "thresholds")}
    if weights:
        facts["preprocessing"] = {
            "resize": weights.resize,
            "crop": weights.crop,
            "interpolation": weights.interpolation,
        }
    return facts
