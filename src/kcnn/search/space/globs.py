"""Short globs for groups of layers, as a person would write them."""

import re
from collections.abc import Iterator, Sequence
from itertools import product

from kcnn.graph.overrides import compile_glob

MAX_LENGTH = 40  # characters of a glob that a person still reads
NUMBER = re.compile(r"\d+")


def find_globs(group: Sequence[str], names: Sequence[str]) -> dict[str, list[str]]:
    """Return globs that match the layers of a group and none else, with the names that each matches.

    A group for which there is no short glob is split by the names without their numbers, and then by their first
    part; what still has none is left out.

    Args:
        group: Names of layers, in their order in the network.
        names: The names of all layers that must be told apart.
    """
    glob = _find_glob(group, names)
    if glob is not None:
        return {glob: list(group)}
    for key in (lambda name: NUMBER.sub("*", name), lambda name: name.partition("_")[0]):
        parts: dict[str, list[str]] = {}
        for name in group:
            parts.setdefault(key(name), []).append(name)
        if len(parts) > 1:
            return {glob: members for part in parts.values() for glob, members in find_globs(part, names).items()}
    return {}


def _find_glob(group: Sequence[str], names: Sequence[str]) -> str | None:
    """The shortest glob up to the longest that is read, if one matches only this group."""
    if len(group) == 1:
        return group[0]
    for glob in sorted({*_list_globs(group)}, key=lambda glob: (len(glob), glob)):
        if len(glob) <= MAX_LENGTH:
            matches = compile_glob(glob)
            if [name for name in names if matches(name)] == list(group):
                return glob
    return None


def _list_globs(group: Sequence[str]) -> Iterator[str]:
    """Globs that match at least this group: by the parts between underscores, and by the whole names."""
    yield from _merge(group)
    rows = [name.split("_") for name in group]
    if len({len(row) for row in rows}) == 1:
        for parts in product(*(_merge(column) for column in zip(*rows, strict=True))):
            yield "_".join(parts)


def _merge(texts: Sequence[str]) -> list[str]:
    """One text, or what all begin with and a star, or the rest of each in braces."""
    unique = list(dict.fromkeys(texts))
    if len(unique) == 1:
        return unique
    start = 0
    while len({text[: start + 1] for text in unique}) == 1 and start < min(map(len, unique)):
        start += 1
    prefix = unique[0][:start]
    if any(text[start : start + 1].isdigit() for text in unique):  # a number stays in one piece
        prefix = prefix.rstrip("0123456789")
    return [prefix + "*", prefix + "{" + ",".join(text[len(prefix) :] for text in unique) + "}"]
