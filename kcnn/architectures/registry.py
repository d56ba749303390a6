"""Architectures by name, from whatever distributions are installed."""

import os
import re
from functools import cache
from importlib import invalidate_caches
from importlib.metadata import EntryPoint, distributions

from kcnn.architectures import plugins
from kcnn.architectures.architecture import Architecture
from kcnn.graph.names import suggest

GROUP = "kcnn.architectures"
BUILTIN = "kcnn"  # the distribution that may always load
ALLOW_VARIABLE = "KCNN_PLUGINS"  # unset: whatever is installed; "none"; or distributions, separated by commas


@cache
def discover() -> dict[str, dict[str, EntryPoint]]:
    """{name: {distribution: entry point}}, from metadata alone: no plugin is imported.

    Of a distribution that is there twice, as a checkout beside its installed copy, the first on the path counts. One
    whose metadata cannot be read publishes nothing.
    """
    found: dict[str, dict[str, EntryPoint]] = {}
    seen: set[str] = set()
    for dist in distributions():
        try:
            text = dist.read_text("entry_points.txt")
            if not text or GROUP not in text:  # before anything is parsed: most have nothing to do with kcnn
                continue
            points = list(dist.entry_points.select(group=GROUP))
            owner = dist.metadata["Name"] or "unknown"
        except Exception:  # whatever is wrong with one distribution, the others are there
            continue
        if owner not in seen:
            seen.add(owner)
            for point in points:
                found.setdefault(point.name, {})[owner] = point
    return found


def find_distribution(point: EntryPoint) -> str:
    """The distribution that an entry point belongs to."""
    owners = (owner for owner, one in discover().get(point.name, {}).items() if one == point and one.dist is point.dist)
    return next(owners, "unknown")


def list_models() -> list[str]:
    """Every architecture's name, sorted; variants follow a dot and are listed by `kcnn describe`.

    From metadata alone, read once: no plugin is imported, and one installed later is there after `refresh`.
    """
    return list(_names(os.environ.get(ALLOW_VARIABLE)))


@cache
def _names(limit: str | None) -> tuple[str, ...]:
    return tuple(sorted(name for name, points in discover().items() if any(map(is_allowed, points))))


def is_allowed(distribution: str) -> bool:
    """Whether KCNN_PLUGINS lets a distribution's code run."""
    limit = os.environ.get(ALLOW_VARIABLE)
    if limit is None or distribution == BUILTIN:
        return True
    return _canonical(distribution) in {_canonical(one.strip()) for one in limit.split(",")} - {"none"}


def is_builtin(name: str) -> bool:
    """Whether kcnn itself publishes a name, and nobody else who may load."""
    return [distribution for distribution in discover()[name] if is_allowed(distribution)] == [BUILTIN]


def _canonical(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def refresh_plugins() -> None:
    """See what was installed or removed since this process first looked."""
    invalidate_caches()
    discover.cache_clear()
    _names.cache_clear()
    plugins.clear_cache()


def find_entry_point(name: str) -> tuple[EntryPoint, str]:
    """The entry point that a name picks, and its variant or "": "kcnn:googlenet.bn"."""
    if not isinstance(name, str):
        raise TypeError(f'an architecture is asked for by name, such as "googlenet.bn", not by {name!r}')
    owner, _, rest = name.rpartition(":")
    bare, dot, variant = rest.partition(".")
    if dot and not variant:
        raise ValueError(f"{name!r} ends in a dot; a variant follows one, or none is there")
    known = discover()
    if not known:
        raise LookupError("no architecture is installed; kcnn publishes its own once it is: pip install -e .")
    if bare not in known:
        raise ValueError(
            f"no architecture is named {bare!r}; the nearest are {', '.join(suggest(bare, list_models()))}"
        )
    points = known[bare]
    if owner and owner not in points:
        raise ValueError(f"distribution {owner!r} publishes no {bare!r}; {' and '.join(points)} does")
    asked = {owner: points[owner]} if owner else points
    free = {distribution: point for distribution, point in asked.items() if is_allowed(distribution)}
    if not free:
        raise ImportError(
            f"{bare!r} is published by {' and by '.join(sorted(asked))}, which {ALLOW_VARIABLE}={os.environ[ALLOW_VARIABLE]!r} "
            "does not let load; name it there, or unset that"
        )
    if len(free) > 1:
        choices = " or ".join(f'"{distribution}:{bare}"' for distribution in sorted(free))
        raise ValueError(f"{bare!r} is published by {' and by '.join(sorted(free))}; ask for {choices}")
    (point,) = free.values()
    return point, variant


def get_architecture(name: str) -> Architecture:
    """The architecture of a name, its variant applied; imports the plugin that publishes it.

    ValueError for an unknown name or variant, ImportError where its plugin does not load,
    TypeError where it publishes something else than an Architecture.
    """
    point, variant = find_entry_point(name)
    found = plugins.load_plugin(point, find_distribution(point))
    if not isinstance(found, Architecture):
        kind = type(found).__name__
        raise TypeError(
            f"{point.value} of distribution {find_distribution(point)} is a {kind}, not a kcnn.Architecture"
        )
    if not variant:
        return found
    try:
        return found.variant(variant)
    except ValueError as error:
        raise ValueError(f"{point.name}: {error}") from None
