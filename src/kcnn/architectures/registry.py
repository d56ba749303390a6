"""Architectures by name, from all installed distributions."""

import os
from functools import cache
from importlib import invalidate_caches
from importlib.metadata import EntryPoint, distributions

from kcnn.architectures import plugins, sources
from kcnn.architectures.architecture import Architecture
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_keywords
from kcnn.graph.names import UnknownNameError, unknown

GROUP = "kcnn.architectures"
BUILTIN = "kcnn"  # the distribution that may always load
ALLOW_VARIABLE = "KCNN_PLUGINS"  # not set: all that are installed; "none"; or distributions, separated by commas


@cache
def discover() -> dict[str, dict[str, EntryPoint]]:
    """Find the published architectures from metadata alone: no plugin is imported.

    Distributions have their normalized names (PEP 503). Of one that is installed twice, as a checkout beside its copy,
    the first on the path counts. One whose metadata cannot be read publishes nothing.

    Returns:
        {name: {distribution: entry point}}.
    """
    published: dict[str, dict[str, EntryPoint]] = {}
    seen: set[str] = set()
    for dist in distributions():
        try:
            text = dist.read_text("entry_points.txt")
            if not text or GROUP not in text:  # before anything is parsed: most have nothing to do with kcnn
                continue
            points = list(dist.entry_points.select(group=GROUP))
            owner = plugins.normalize_name(dist.metadata["Name"] or "unknown")
        except Exception:  # a broken distribution must not hide the others
            continue
        if owner not in seen:
            seen.add(owner)
            for point in points:
                published.setdefault(point.name, {})[owner] = point
    return published


def find_distribution(point: EntryPoint) -> str:
    """Return the normalized name of the distribution that an entry point belongs to."""
    owners = (owner for owner, one in discover().get(point.name, {}).items() if one == point and one.dist is point.dist)
    return next(owners, "unknown")


@check_keywords
def list_models() -> list[str]:
    """List the installed networks.

    The names come from metadata, read once: no plugin is imported. Call `refresh_plugins` after an installation.

    Returns:
        The names, sorted, without their variants.
    """
    return list(_names(os.environ.get(ALLOW_VARIABLE)))


@cache
def _names(limit: str | None) -> tuple[str, ...]:
    names = (name for name, points in discover().items() if any(map(is_allowed, points)))
    return tuple(sorted(name for name in names if is_addressable(name)))


def is_addressable(name: str) -> bool:
    """Return whether a published name can be typed: a dot would begin a variant, a colon end a distribution."""
    return not {".", ":"} & {*name}


def describe_invalid_name(name: str) -> str:
    """Return what is wrong with a published name that is not addressable."""
    return f"invalid network name {name!r}: use lowercase letters, digits and _"


def is_allowed(distribution: str) -> bool:
    """Return whether KCNN_PLUGINS allows the code of a distribution to run."""
    limit = os.environ.get(ALLOW_VARIABLE)
    if limit is None or distribution == BUILTIN:
        return True
    allowed = {plugins.normalize_name(name.strip()) for name in limit.split(",")} - {"none"}
    return plugins.normalize_name(distribution) in allowed


def is_builtin(name: str) -> bool:
    """Return whether kcnn itself publishes a network or variant, and no other allowed distribution does."""
    publishers = discover().get(name.partition(".")[0], {})
    return [distribution for distribution in publishers if is_allowed(distribution)] == [BUILTIN]


def is_own(name: str) -> bool:
    """Return whether kcnn publishes the network that a name, with its variant and distribution, stands for."""
    return find_distribution(find_entry_point(name)[0]) == BUILTIN


@check_keywords
def refresh_plugins() -> None:
    """Find plugins that were installed or removed since this process started."""
    invalidate_caches()
    discover.cache_clear()
    _names.cache_clear()
    plugins.clear_cache()


def find_entry_point(name: str) -> tuple[EntryPoint, str]:
    """Find the entry point of a network.

    Args:
        name: The name, such as "kcnn:googlenet.bn": distribution and variant are optional.

    Returns:
        The entry point, and the variant or "".

    Raises:
        UnknownNameError: There is no such network, or the distribution does not publish it.
        ValueError: Several distributions publish the name.
        ImportError: KCNN_PLUGINS does not allow the distribution.
    """
    if not isinstance(name, str):
        raise TypeError(f'a network must be a name such as "googlenet.bn", got {name!r}')
    prefix, _, rest = name.rpartition(":")
    owner = plugins.normalize_name(prefix)
    bare, dot, variant = rest.partition(".")
    if dot and not variant:
        raise UnknownNameError(f"{name!r} ends in a dot; add a variant, or remove the dot")
    known = discover()
    if not known:
        raise UnknownNameError(
            f"unknown network {bare!r}: no network is installed; install kcnn with `pip install -e .`"
        )
    if bare not in known:
        for full in {name, name.partition(":")[2]} & {*known}:
            raise ImportError(f"{' and '.join(known[full])}: {describe_invalid_name(full)}")
        raise unknown("network", bare, list_models())
    points = known[bare]
    if owner and owner not in points:
        raise UnknownNameError(f"distribution {prefix!r} does not publish {bare!r}; choose from {', '.join(points)}")
    candidates = {owner: points[owner]} if owner else points
    allowed = {distribution: point for distribution, point in candidates.items() if is_allowed(distribution)}
    if not allowed:
        raise ImportError(
            f"{bare!r} is published by {' and '.join(sorted(candidates))}, which is not allowed by "
            f"{ALLOW_VARIABLE}={os.environ[ALLOW_VARIABLE]!r}; add it there, or unset the variable"
        )
    if len(allowed) > 1:
        choices = " or ".join(f'"{distribution}:{bare}"' for distribution in sorted(allowed))
        raise ValueError(f"{bare!r} is published by {' and '.join(sorted(allowed))}; use {choices}")
    (point,) = allowed.values()
    return point, variant


def normalize_network(name: str) -> str:
    """Return the name of a network with the normalized name of its distribution, if it has one that is installed."""
    prefix, colon, rest = name.rpartition(":")
    owner = plugins.normalize_name(prefix)
    return f"{owner}:{rest}" if colon and _publishes(owner) else name


def _publishes(owner: str) -> bool:
    """Whether a distribution, by its normalized name, publishes a network."""
    return any(owner in points for points in discover().values())


def find_unpublished(name: str) -> sources.Source | None:
    """Find the file or module that a network's name has before its colon, unless that is a distribution.

    Args:
        name: A network, such as "my_net.py:net".

    Returns:
        The source; None for a published network.

    Raises:
        UnknownNameError: The name is that of a file alone.
    """
    if not isinstance(name, str) or ":" not in name:
        if isinstance(name, str) and name.endswith(".py"):
            raise UnknownNameError(f"{name!r} is a file; add the name of its architecture, such as '{name}:net'")
        return None
    if _publishes(plugins.normalize_name(name.rpartition(":")[0])):
        return None
    return sources.find_source(name)


@check_arguments
def get_architecture(name: str) -> Architecture:
    """Return an architecture by name; this imports the plugin that publishes it.

    Args:
        name: A network or variant, such as "googlenet.bn"; or one of a Python file or module that publishes nothing:
            "my_net.py:net", "my_package.nets:net".

    Returns:
        The architecture, with the variant applied.

    Raises:
        UnknownNameError: There is no such network or variant.
        ImportError: Its plugin does not load, or KCNN_PLUGINS does not allow it.
        TypeError: The plugin publishes something other than an Architecture.
    """
    if "://" in name:
        raise UnknownNameError(
            f"{name!r} is an address, and a network by name is expected here; kcnn.build, kcnn train and kcnn transfer "
            "take addresses of checkpoints, and kcnn list shows the names"
        )
    if source := find_unpublished(name):
        return sources.load_source(source)
    point, variant = find_entry_point(name)
    architecture = plugins.load_plugin(point, find_distribution(point))
    if not isinstance(architecture, Architecture):
        kind, owner = type(architecture).__name__, find_distribution(point)
        raise TypeError(f"{point.value} of distribution {owner} must be a kcnn.Architecture, got {kind}")
    if not variant:
        return architecture
    try:
        return architecture.variant(variant)
    except UnknownNameError as error:
        raise UnknownNameError(f"{point.name}: {error}") from None
