"""A space as keras-tuner's hyperparameters, and its values there and back: it takes numbers and words alone."""

import json
from collections.abc import Mapping
from typing import Any

from kcnn.search.keras_tuner_api import keras_tuner
from kcnn.search.space import Choice, Range, Space
from kcnn.search.space.points import is_active


def to_hyperparameters(space: Space, identity: str, first: Mapping[str, Any]) -> Any:
    """The space as keras_tuner.HyperParameters, the values of the first trial their defaults.

    A fixed one tells a worker whose trials it is given.
    """
    found = keras_tuner.HyperParameters()
    found.Fixed("kcnn/search", identity)
    by_name = {choice.name: choice for choice in space.all_choices}
    for choice in space.all_choices:
        _within(found, choice, by_name, lambda choice=choice: _one(found, choice, first.get(choice.name)))
    return found


def encode_values(space: Space, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of choices as keras-tuner has them."""
    by_name = {choice.name: choice for choice in space.all_choices}
    return {name: _encode(by_name[name], value) for name, value in values.items()}


def decode_values(space: Space, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of choices as the space has them; keras-tuner's own are left out, and those that do not matter.

    A worker's hyperparameters, which came by gRPC, have values of inactive ones too.
    """
    found: dict[str, Any] = {}
    for choice in space.all_choices:
        if choice.name in values and is_active(choice, found):
            found[choice.name] = _decode(choice, values[choice.name])
    return found


def _within(found: Any, choice: Choice, by_name: Mapping[str, Choice], make: Any) -> None:
    """Call `make` under the conditions of a choice, and of those that it depends on."""
    if choice.condition is None:
        make()
        return
    name, when = choice.condition
    parent = by_name[name]

    def inside() -> None:
        with found.conditional_scope(name, [_encode(parent, value) for value in when]):
            make()

    _within(found, parent, by_name, inside)


def _one(found: Any, choice: Choice, default: Any) -> None:
    values = choice.values
    if isinstance(values, Range):
        sampling = "log" if values.log else "linear"
        make = found.Int if values.whole else found.Float
        make(choice.name, values.low, values.high, sampling=sampling, default=default)
        return
    given = [_encode(choice, value) for value in values]
    found.Choice(choice.name, given, default=_encode(choice, default) if default in choice else given[0])


def _encode(choice: Choice, value: Any) -> Any:
    if isinstance(choice.values, Range):
        return value
    kinds = {type(one) for one in choice.values}
    return value if len(kinds) == 1 and kinds <= {int, float, str} else json.dumps(value)


def _decode(choice: Choice, value: Any) -> Any:
    if isinstance(choice.values, Range):
        return int(value) if choice.values.whole else float(value)
    return next(one for one in choice.values if _encode(choice, one) == value)
