"""The catalogue: what every installed network comes to, whether that is what its plugin declares, and a page of it."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from kcnn.architectures import plugins, registry
from kcnn.architectures.architecture import Architecture, Weights
from kcnn.architectures.class_names import load_class_names
from kcnn.architectures.spec import min_input_size, summary, trace
from kcnn.graph.summaries import Summary

PATIENCE = 20.0  # seconds for the import of one plugin of many


@dataclass(frozen=True)
class CatalogueEntry:
    """One network or variant, drawn at its standard size."""

    name: str
    architecture: Architecture
    summary: Summary
    min_input_size: int  # pixels a side


def expand_names(pattern: str = "*", variants: bool = True) -> list[str]:
    """Installed names that fit a pattern, each with its variants behind it; a word without * may stand anywhere.

    A plugin that does not load has no variants here; one of others' is loaded only where its name fits.
    """
    wanted = pattern if "*" in pattern else f"*{pattern}*"
    before = wanted.partition(".")[0] + ("*" if "." in wanted else "")
    found = []
    for name in registry.list_models():
        wide = variants and (registry.is_builtin(name) or fnmatchcase(name, before))
        found += [full for full in (list_variants(name) if wide else [name]) if fnmatchcase(full, wanted)]
    return found


def list_variants(name: str) -> list[str]:
    """A network's name, and those of its variants; where it does not load there are none."""
    try:
        variants = load_architecture(name).variants
    except Exception:  # a broken plugin hurts only its own name, and whoever asks for that is told
        return [name]
    return [name, *(f"{name}.{variant}" for variant in variants)]


def load_architecture(name: str) -> Architecture:
    """An architecture beside many: a plugin of others' whose import hangs is given up, so that the rest can go on."""
    point, _ = registry.find_entry_point(name)
    owner = registry.find_distribution(point)
    if owner != registry.BUILTIN:
        plugins.load_within(PATIENCE, point, owner)
    return registry.get_architecture(name)


def make_entry(name: str) -> CatalogueEntry:
    """A network, measured."""
    return CatalogueEntry(name, load_architecture(name), summary(name), min_input_size(name))


def find_discrepancies(found: CatalogueEntry, keras: bool = False) -> Iterator[str]:
    """Everything that a network's plugin declares and that is not so, in words; nothing where all is well.

    `keras` builds the network too, and compares it layer by layer.
    """
    plan, measured = found.architecture, found.summary
    if plan.params is not None and measured.params != plan.params:
        yield f"parameters are {measured.params:,}, not {plan.params:,}"
    if plan.macs is not None and abs(measured.macs - plan.macs) > 1e-3 * plan.macs:
        yield f"MACs are {measured.macs:,}, not {plan.macs:,}"
    if plan.receptive_field is not None and measured.receptive_field != (plan.receptive_field, plan.receptive_field):
        yield f"the receptive field is {measured.receptive_field}, not {plan.receptive_field}"
    if plan.min_input_size is not None and found.min_input_size != plan.min_input_size:
        yield f"the smallest input is {found.min_input_size}, not {plan.min_input_size}"
    yield from _drawn_otherwise(found)
    yield from _misnamed(found)
    for number, weights in enumerate(plan.weights):
        for fault in _malformed(found, weights):
            yield f"weights {weights.name} (number {number}): {fault}"
    if keras:
        yield from _built(found)


def _drawn_otherwise(found: CatalogueEntry) -> Iterator[str]:
    """What goes wrong at the smallest input, with one channel and seven, other classes, and side classifiers."""
    side = found.min_input_size
    asked: list[dict[str, Any]] = [{"input_shape": (side, side, channels), "classes": 3} for channels in (1, 7)]
    for given in (*asked, *([{"aux": True}] if found.architecture.aux else [])):
        try:
            trace(found.name, **given)
        except ValueError as error:
            yield f"with {given} it does not draw: {error}"


def _misnamed(found: CatalogueEntry) -> Iterator[str]:
    """Layouts that leave a layer without a name, or give two the same."""
    whole = summary(trace(found.name, aux=bool(found.architecture.aux)))
    layers = [row.name for row in whole if row.params or row.non_trainable_params]
    for name, layout in found.architecture.weight_mappings.items():
        try:
            named = layout.names(layers)
        except Exception as error:
            yield f"layout {name} fails: {type(error).__name__}: {error}"
            continue
        firsts = [one if isinstance(one, str) else one[0] for one in (named.get(x, "") for x in layers)]
        if "" in firsts:
            yield f"layout {name} has no name for {layers[firsts.index('')]}"
        elif len(set(firsts)) < len(firsts):
            twice = next(one for one in firsts if firsts.count(one) > 1)
            yield f"layout {name} names two layers {twice}"


def _malformed(found: CatalogueEntry, weights: Weights) -> Iterator[str]:
    address = urlsplit(weights.url)
    if address.scheme not in ("https", "http", "file") or not address.path.rpartition("/")[2]:
        yield f"{weights.url!r} is no https, http or file URL of a file"
    if weights.mapping != "kcnn" and weights.mapping not in found.architecture.weight_mappings:
        yield f"layout {weights.mapping!r} is none of {', '.join(['kcnn', *found.architecture.weight_mappings])}"
    if weights.top and len(load_class_names(weights.classes)) != found.architecture.classes:
        yield f"{len(load_class_names(weights.classes))} names for {found.architecture.classes} classes"
    if weights.accuracy is not None and not (0 < weights.accuracy < 100 and weights.citation):
        yield f"an accuracy is a cited percentage, not {weights.accuracy!r}"
    if not 0 < weights.crop <= weights.resize:
        yield f"a crop of {weights.crop} from a side of {weights.resize}"
    try:
        trace(found.name, **weights.options)
    except ValueError as error:
        yield f"its options do not draw: {error}"


def _built(found: CatalogueEntry) -> Iterator[str]:
    from math import prod

    from kcnn.keras_bridge.models import build

    model = build(found.name)
    layers = {layer.name: layer for layer in model.layers}
    for row in found.summary:
        if row.name not in layers and found.architecture.keras and not row.params:
            continue  # an activation inside a layer, or an operator, which is none
        layer = layers[row.name]
        have = tuple(sum(prod(w.shape) for w in ws) for ws in (layer.trainable_weights, layer.non_trainable_weights))
        if have != (row.params, row.non_trainable_params) or tuple(layer.output.shape[1:]) != row.shape:
            yield f"Keras makes of {row.name} {tuple(layer.output.shape[1:])} with {have} numbers"


def render_catalogue() -> str:
    """The catalogue of kcnn's own networks in Markdown."""
    lines = [
        "# Catalogue",
        "",
        "Every network that kcnn brings. Parameters are trained numbers at the standard input and number of classes,",
        "MACs multiply-accumulates for one image; the receptive field is that of the last feature map, it and the",
        "smallest input in pixels a side (squeeze-and-excitation sees the whole image).",
        "A bare name is the paper's network; how a variant differs is told by",
        "`kcnn diff resnet50 resnet50.keras`. Accuracies are top-1 on ImageNet's validation set, as cited by whoever",
        "publishes the weights; none was measured here. `make catalogue` makes this page.",
    ]
    module = ""
    for name in _by_family():
        point, _ = registry.find_entry_point(f"{registry.BUILTIN}:{name}")
        if point.module != module:
            module = point.module
            title = (sys.modules[module].__doc__ or module).strip().splitlines()[0].rstrip(".")
            lines += ["", f"## {title}", "", f"| {' | '.join(_COLUMNS)} |", f"|{'---|' * len(_COLUMNS)}"]
        lines.append(f"| {' | '.join(_cells(name, make_entry(f'{registry.BUILTIN}:{name}')))} |")
    return "\n".join(lines) + "\n"


_COLUMNS = ("network", "year", "reference", "parameters", "MACs", "input", "receptive field", "smallest", "weights")


def _by_family() -> list[str]:
    """kcnn's own networks with their variants, by the first year of their family, then as they are published."""
    bare = [name for name, points in registry.discover().items() if registry.BUILTIN in points]
    own = [full.partition(":")[2] for name in sorted(bare) for full in list_variants(f"{registry.BUILTIN}:{name}")]
    order = list(registry.discover())
    plans = {name: registry.get_architecture(f"kcnn:{name.partition('.')[0]}") for name in own}
    first: dict[str, int] = {}
    for name in own:
        module = registry.find_entry_point(f"kcnn:{name}")[0].module
        first[module] = min(first.get(module, 9999), plans[name].year or 9999)

    def place(name: str) -> tuple[int, str, int]:
        module = registry.find_entry_point(f"kcnn:{name}")[0].module
        return first[module], module, order.index(name.partition(".")[0])

    return sorted(own, key=place)


def _cells(name: str, found: CatalogueEntry) -> tuple[str, ...]:
    plan, measured = found.architecture, found.summary
    return (
        f"`{name}`",
        str(plan.year or ""),
        plan.reference,
        f"{measured.params:,}",
        f"{measured.macs:,}",
        "x".join(map(str, plan.input_shape)),
        str(measured.receptive_field[0]),
        str(found.min_input_size),
        describe_weights(plan),
    )


def describe_weights(plan: Architecture) -> str:
    """Published weights by name, publisher and cited accuracy; of many widths and sizes the best is said."""
    said: dict[str, str] = {}
    for name in dict.fromkeys(w.name for w in plan.weights):
        named = [w for w in plan.weights if w.name == name and w.top] or [w for w in plan.weights if w.name == name]
        best = max(named, key=lambda w: w.accuracy or 0)
        accuracy = f"{best.accuracy:g} %" if best.accuracy else "no accuracy cited"
        kinds = len({(tuple(w.options.items()), w.crop) for w in named})
        up_to = f"up to {accuracy}, {kinds} widths and sizes" if kinds > 1 else accuracy
        said[name] = f"{name}: {best.source}, {up_to}"
    return "; ".join(said.values())


if __name__ == "__main__":
    print(render_catalogue(), end="")
