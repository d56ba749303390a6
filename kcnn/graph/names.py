"""Names that a person types: the error for one that is unknown, and the names that may have been meant."""

from collections.abc import Iterable
from difflib import get_close_matches

CHOICES = 12  # names to list where none is close


class UnknownNameError(LookupError, ValueError):
    """Raised for a name that nothing has: a network, variant, option, layer, recipe or field."""


def suggest(word: str, words: Iterable[str], limit: int = 3) -> list[str]:
    """Return the names closest to a word; the first few where none is close."""
    known = list(words)
    return get_close_matches(word, known, limit, cutoff=0.5) or known[:limit]


def unknown(kind: str, word: object, words: Iterable[str], where: str = "") -> UnknownNameError:
    """Return the error for a name that is unknown, with the names that may have been meant.

    Args:
        kind: What is named, such as "recipe".
        word: The name as it was given.
        words: All names there are.
        where: What has no such name, such as "mobilenet_v2"; it opens the message.

    Returns:
        The error, to be raised by the caller.
    """
    known = list(words)
    text = f"{where}: " if where else ""
    close = get_close_matches(str(word), known, 4, cutoff=0.5)
    if close:
        return UnknownNameError(f"{text}unknown {kind} {word!r}. Did you mean {join_or(close)}?")
    if not known:
        return UnknownNameError(f"{text}unknown {kind} {word!r}; there is none")
    more = f" and {len(known) - CHOICES} more" if len(known) > CHOICES else ""
    return UnknownNameError(f"{text}unknown {kind} {word!r}; choose from {', '.join(known[:CHOICES])}{more}")


def join_or(words: list[str]) -> str:
    """Return names as a phrase: 'a', 'b' or 'c'."""
    quoted = [repr(word) for word in words]
    return " or ".join([", ".join(quoted[:-1]), quoted[-1]]) if len(quoted) > 1 else quoted[0]
