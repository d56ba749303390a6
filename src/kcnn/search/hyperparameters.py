"""A search space as keras-tuner's hyperparameters; its values are encoded, since keras-tuner has no tuples."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from kcnn.atomic_io import parse_json
from kcnn.graph.overrides import to_builtin
from kcnn.search.keras_tuner_api import Fixed
from kcnn.search.space import Choice, Range, Space
from kcnn.search.space.choices import Values
from kcnn.search.space.points import is_active


def register(hp: Any, space: Space, default: Mapping[str, Any]) -> None:
    """Register the choices of a space that are not registered yet.

    Args:
        hp: A keras_tuner.HyperParameters.
        space: The space.
        default: Default values.
    """
    by_name = {choice.name: choice for choice in space.all_choices}
    registered = {one.name for one in hp.space}
    for choice in space.all_choices:
        if choice.name not in registered:
            _add_conditionally(hp, choice, by_name, partial(_add, hp, choice, default.get(choice.name)))


def find_overrides(hp: Any, space: Space, *, tunes_others: bool = True) -> dict[str, Values]:
    """Return the values that a caller has registered for choices of a space, where they are others than the space's.

    Args:
        hp: A keras_tuner.HyperParameters.
        space: The space.
        tunes_others: Whether choices that are not registered keep their values, or have their default only.
    """
    registered = {one.name: one for one in hp.space}
    overrides: dict[str, Values] = {}
    for choice in space.all_choices:
        if choice.name in registered:
            values = _read_values(choice, registered[choice.name])
            if values != choice.values:
                overrides[choice.name] = values
        elif not tunes_others:
            overrides[choice.name] = (space.default.get(choice.name, choice.first),)
    return overrides


def encode_values(space: Space, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of choices as keras-tuner has them."""
    by_name = {choice.name: choice for choice in space.all_choices}
    return {name: _encode(by_name[name], value) for name, value in values.items()}


def decode_values(space: Space, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return keras-tuner's values as those of the space.

    Its own hyperparameters are left out, and values of inactive choices, which a worker receives by gRPC too.
    """
    decoded: dict[str, Any] = {}
    for choice in space.all_choices:
        if choice.name in values and is_active(choice, decoded):
            decoded[choice.name] = _decode(choice, values[choice.name])
    return decoded


def _add_conditionally(hp: Any, choice: Choice, by_name: Mapping[str, Choice], add: Callable[[], None]) -> None:
    """Call `add` under the first condition of a choice, and that of the choice that it depends on.

    keras-tuner's scopes nest along one chain of choices only: the values of a choice whose other conditions do not hold
    are left out by `decode_values`.
    """
    if not choice.conditions:
        add()
        return
    name, when = choice.conditions[0]
    parent = by_name[name]

    def add_in_scope() -> None:
        with hp.conditional_scope(name, [_encode(parent, value) for value in when]):
            add()

    _add_conditionally(hp, parent, by_name, add_in_scope)


def _add(hp: Any, choice: Choice, default: Any) -> None:
    values = choice.values
    if isinstance(values, Range):
        sampling = "log" if values.log else "linear"
        add = hp.Int if values.is_integer else hp.Float
        add(choice.name, values.low, values.high, sampling=sampling, default=default)
        return
    encoded = [_encode(choice, value) for value in values]
    hp.Choice(choice.name, encoded, default=_encode(choice, default) if default in choice else encoded[0])


def _encode(choice: Choice, value: Any) -> Any:
    if isinstance(choice.values, Range):
        return value
    types = {type(known) for known in choice.values}
    return value if len(types) == 1 and types <= {int, float, str} else json.dumps(value)


def _decode(choice: Choice, value: Any) -> Any:
    if isinstance(choice.values, Range):
        return int(value) if choice.values.is_integer else float(value)
    for known in choice.values:
        if _encode(choice, known) == value:
            return known
    if (parsed := _parse_value(choice, value)) in choice:
        return parsed
    raise ValueError(f"{choice.name} {value!r} is not in the space")


def _read_values(choice: Choice, registered: Any) -> Values:
    """The values of a hyperparameter; text where the choice has other kinds of values is JSON, as `_encode` writes."""
    if isinstance(registered, Fixed):
        return (_parse_value(choice, registered.value),)
    if hasattr(registered, "min_value") and registered.step is None:
        return Range(registered.min_value, registered.max_value, log=registered.sampling == "log")
    return tuple(_parse_value(choice, value) for value in registered.values)


def _parse_value(choice: Choice, value: Any) -> Any:
    has_text = not isinstance(choice.values, Range) and all(isinstance(known, str) for known in choice.values)
    return to_builtin(parse_json(value)) if isinstance(value, str) and not has_text else value
