"""Values that no layer of its kind can have, whatever its input and its other attributes: a mistake, and no point."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from kcnn.graph.shape_inference import SHAPE_RULES, InputTooSmallError, output_shape
from kcnn.search.space.choices import Range, Values

LARGE = 4_096  # rows and columns of an input into which everything fits
NEUTRAL = {"kernel": 1, "stride": 1, "dilation": 1, "groups": 1, "padding": "valid", "padding_mode": "zeros"}


def check_values(address: str, values: Values, layers: Collection[Any]) -> None:
    """Refuse a value that none of the layers of a choice can have.

    Args:
        address: The address of the choice.
        values: Its values.
        layers: The ops of the layers that it matches.

    Raises:
        ValueError: A value is impossible; the message says why.
    """
    attribute = address.rpartition(".")[2]
    if any(type(op) not in SHAPE_RULES for op in layers):  # an op of a plugin knows more attributes
        return
    for value in (values.low, values.high) if isinstance(values, Range) else values:
        problems = [_find_problem(op, attribute, value) for op in layers]
        if all(problems):
            raise ValueError(f"{address} cannot have the value {value!r}: {problems[0]}")


def _find_problem(op: Any, attribute: str, value: Any) -> str:
    """What is wrong with a value, with neutral values of all other attributes; "" where nothing is."""
    own = {name: neutral for name, neutral in NEUTRAL.items() if hasattr(op, name) and name != attribute}
    channels = 64
    if attribute == "groups" and type(value) is int and value > 0:  # they divide channels and filters
        channels = value
        own |= {"filters": value} if hasattr(op, "filters") else {}
    if attribute == "padding" and hasattr(op, "kernel"):  # less than the kernel of a pool
        own["kernel"] = LARGE // 2 + 1
    try:
        probe = replace(op, **{**own, attribute: value})
    except (TypeError, ValueError) as error:
        return str(error)
    problem = ""
    for shape in ((LARGE, LARGE, channels), (channels,)):
        try:
            output_shape(probe, shape)
        except InputTooSmallError:
            return ""
        except (TypeError, ValueError) as error:
            problem = problem or str(error)
        else:
            return ""
    return problem
