"""Values of overrides and options as JSON, and back."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from kcnn.graph import ops
from kcnn.graph.names import unknown
from kcnn.graph.overrides import BUILTIN, to_builtin


def is_json(value: Any) -> bool:
    """Whether to_json_value can write a value, which to_builtin returned."""
    if type(value) in BUILTIN:  # most are
        return True
    if isinstance(value, tuple):
        return all(map(is_json, value))
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and is_json(item) for key, item in value.items())
    return is_dataclass(value) and not isinstance(value, type)


def to_json_value(value: Any) -> Any:
    """Return the value of an override or option as JSON: tuples as lists, ops as objects with their name."""
    if isinstance(value, Mapping):
        return {str(key): to_json_value(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_json_value(item) for item in value]
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        return {"op": type(value).__name__, **{f.name: to_json_value(getattr(value, f.name)) for f in fields(value)}}
    return to_builtin(value)


def from_json_value(value: Any) -> Any:
    """Return the value that `to_json_value` converted."""
    if isinstance(value, Mapping) and "op" in value:
        known: dict[str, Any] = {name: op for name, op in vars(ops).items() if is_dataclass(op)}
        if value["op"] not in known:
            raise unknown("op", value["op"], known)
        return known[value["op"]](**{name: from_json_value(item) for name, item in value.items() if name != "op"})
    if isinstance(value, Mapping):
        return {key: from_json_value(item) for key, item in value.items()}
    return tuple(map(from_json_value, value)) if isinstance(value, list | tuple) else value
