"""Choices, limits and times of a search as a person types them, and choices as text."""

import re
from typing import Any

from kcnn.atomic_io import parse_json
from kcnn.cli.console import UsageError, parse_count
from kcnn.graph.formatting import format_value
from kcnn.search import space

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _split(texts: list[str] | None, option: str) -> list[tuple[str, str]]:
    pairs = []
    for text in texts or ():
        name, _, values = text.partition("=")
        if not name or not values:
            raise UsageError(f"{option} expects NAME=VALUES such as stem.kernel=3,5,7, got {text!r}")
        if " if " in values:
            raise UsageError(f"{text!r} has a condition; write it in Python with kcnn.search.space.conditional")
        pairs.append((name, values))
    return pairs


def parse_choices(texts: list[str] | None, option: str) -> dict[str, Any]:
    """Return values by name of ["stem.kernel=3,5,3x5", "learning_rate=1e-4..1e-2,log"]."""
    return {name: _parse_range(text) or _parse_list(text) for name, text in _split(texts, option)}


def parse_layer_choices(texts: list[str] | None, option: str) -> dict[str, Any]:
    """Return a choice for each layer by address of ["pool*.padding=same,valid"]."""
    return {address: space.per_layer(*_parse_list(text)) for address, text in _split(texts, option)}


def _parse_range(text: str) -> "space.Range | None":
    match = re.fullmatch(r"([^,]+)\.\.([^,]+?)(,log)?", text.strip())
    if not match:
        return None
    low, high = (_parse_value(end) for end in match.groups()[:2])
    if not all(isinstance(end, int | float) for end in (low, high)):
        raise UsageError(f"invalid range {text!r}; write 1e-4..1e-2 or 1e-4..1e-2,log")
    return space.Range(low, high, log=bool(match[3]))


def _parse_list(text: str) -> tuple[Any, ...]:
    if text.strip().startswith("["):
        try:
            return tuple(parse_json(text))
        except ValueError as error:
            raise UsageError(f"invalid JSON list {text!r}: {error}") from None
    return tuple(_parse_value(part) for part in text.split(","))


def _parse_value(text: str) -> Any:
    text = text.strip()
    if re.fullmatch(r"\d+x\d+", text):
        rows, columns = text.split("x")
        return int(rows), int(columns)
    try:
        return parse_json(text)
    except ValueError:
        return text


def parse_limit(text: str | None) -> float | None:
    """Return a limit such as "5M"; None for none."""
    return None if text is None else parse_count(text)


def parse_time(text: str) -> float:
    """Return the seconds of a time such as "30m"."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if not match:
        raise UsageError(f"invalid time {text!r}; write 90s, 30m or 2h")
    return float(match[1]) * UNITS[match[2] or "s"]


def format_choice(choice: "space.Choice") -> str:
    """Return the values of a choice as text, with what it depends on."""
    values = choice.values
    if isinstance(values, space.Range):
        text = f"{values.low:g} to {values.high:g}{', logarithmic' if values.log else ''}"
    else:
        text = ", ".join(map(format_value, values))
    if not choice.conditions:
        return text
    conditions = " and ".join(f"{name} {', '.join(map(format_value, when))}" for name, when in choice.conditions)
    return f"{text} (only with {conditions})"
