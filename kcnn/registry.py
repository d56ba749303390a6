"""Architectures by name, from whatever distributions are installed."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from kcnn.architecture import Architecture
from kcnn.sketch import nearest

GROUP = "kcnn.architectures"


@cache
def published() -> dict[str, dict[str, EntryPoint]]:
    """{name: {distribution: entry point}}, from metadata alone: no plugin is imported."""
    found: dict[str, dict[str, EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        # A checkout beside an installed copy of itself publishes one name twice with one target.
        found.setdefault(point.name, {})[publisher(point)] = point
    return found


def publisher(point: EntryPoint) -> str:
    """The distribution that an entry point belongs to; reads and parses its metadata."""
    return point.dist.name if point.dist else "unknown"


def names() -> list[str]:
    """Every architecture's name, sorted; variants follow a dot and are listed by `kcnn describe`."""
    return sorted(published())


def entry(name: str) -> tuple[EntryPoint, str]:
    """The entry point that a name picks, and its variant or "": "kcnn:googlenet.bn"."""
    if not isinstance(name, str):
        raise TypeError(f'an architecture is asked for by name, such as "googlenet.bn", not by {name!r}')
    owner, _, rest = name.rpartition(":")
    bare, dot, variant = rest.partition(".")
    if dot and not variant:
        raise ValueError(f"{name!r} ends in a dot; a variant follows one, or none is there")
    known = published()
    if not known:
        raise LookupError("no architecture is installed; kcnn publishes its own once it is: pip install -e .")
    if bare not in known:
        raise ValueError(f"no architecture is named {bare!r}; the nearest are {', '.join(nearest(bare, names()))}")
    points = known[bare]
    if owner:
        if owner not in points:
            raise ValueError(f"distribution {owner!r} publishes no {bare!r}; {' and '.join(points)} does")
        return points[owner], variant
    if len(points) > 1:
        choices = " or ".join(f'"{distribution}:{bare}"' for distribution in sorted(points))
        raise ValueError(f"{bare!r} is published by {' and by '.join(sorted(points))}; ask for {choices}")
    (point,) = points.values()
    return point, variant


def architecture(name: str) -> Architecture:
    """The architecture of a name, its variant applied; imports the plugin that publishes it.

    ValueError for an unknown name or variant, ImportError where its plugin does not load,
    TypeError where it publishes something else than an Architecture.
    """
    point, variant = entry(name)
    try:
        found = point.load()
    except Exception as error:
        raise ImportError(
            f"architecture {point.name!r} of distribution {publisher(point)} does not load:"
            f" {type(error).__name__}: {error}"
        ) from error
    if not isinstance(found, Architecture):
        kind = type(found).__name__
        raise TypeError(f"{point.value} of distribution {publisher(point)} is a {kind}, not a kcnn.Architecture")
    if not variant:
        return found
    try:
        return found.variant(variant)
    except ValueError as error:
        raise ValueError(f"{point.name}: {error}") from None
