"""Names that users type: the error for an unknown one, and the names that were probably meant."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

MAX_CHOICES = 12  # names to list where none is close


class UnknownNameError(LookupError, ValueError):
    """Raised for an unknown name: of a network, variant, option, layer, attribute, recipe or file."""


def suggest(name: str, known: Iterable[str], limit: int = 3) -> list[str]:
    """Return the known names closest to a name; the first few where none is close."""
    names = list(known)
    return get_close_matches(name, names, limit, cutoff=0.5) or names[:limit]


def unknown(kind: str, name: object, known: Iterable[str], where: str = "") -> UnknownNameError:
    """Return the error for an unknown name, with the names that were probably meant.

    Args:
        kind: What the name stands for, such as "recipe".
        name: The unknown name.
        known: All known names.
        where: What has no such name, such as "mobilenet_v2"; it opens the message.

    Returns:
        The error, to be raised by the caller.
    """
    prefix = f"{where}: " if where else ""
    return UnknownNameError(f"{prefix}unknown {kind} {name!r}{describe_choices(name, known)}")


def unknown_layer(pattern: str, layers: Iterable[str], where: str = "") -> UnknownNameError:
    """Return the error for a name or glob that no layer matches.

    Args:
        pattern: The name or glob.
        layers: Names of all layers.
        where: The network; it opens the message.

    Returns:
        The error, to be raised by the caller.
    """
    prefix = f"{where}: " if where else ""
    return UnknownNameError(f"{prefix}no layer matches {pattern!r}{describe_choices(pattern, layers)}")


def describe_choices(name: object, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the closest known names, or all of them."""
    names = list(known)
    close = get_close_matches(str(name), names, 4)
    if close:
        return f". Did you mean {join_or(close)}?"
    if not names:
        return "; there are none"
    more = f" and {len(names) - MAX_CHOICES} more" if len(names) > MAX_CHOICES else ""
    return f"; choose from {', '.join(names[:MAX_CHOICES])}{more}"


def join_or(names: Sequence[str]) -> str:
    """Return names as a phrase: 'a', 'b' or 'c'."""
    quoted = [repr(name) for name in names]
    return " or ".join([", ".join(quoted[:-1]), quoted[-1]]) if len(quoted) > 1 else quoted[0]
