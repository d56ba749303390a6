"""What config.json and metrics.json of a run hold, and the check of values that were read from such a file."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, NoneType
from typing import Any

NUMBER = int | float  # at least 0, and finite
SIGNED = object()  # a number of either sign
ANY_NAME = "*"  # of classes, splits or libraries


@dataclass(frozen=True)
class Fields:
    """Describe an object of JSON.

    Attributes:
        required: Type, [type] or Fields of each value by name, or of all values by ANY_NAME; a tuple of alternatives.
        optional: The same of values that may be missing.
    """

    required: Mapping[str, Any]
    optional: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


RECIPE = Fields({"epochs": int, "batch_size": int})
REQUEST = Fields(
    {
        "spec": Fields({"network": str}),
        "config": Fields({"recipe": RECIPE, "recipe_name": str, "seed": int}),
        "data": str,
        "multi_label": bool,
    },
    {"images": Fields({ANY_NAME: int}), "fingerprint": str, "input_shape": [int], "data_seed": int},
)
ORIGIN = {"request": REQUEST, "command": str, "versions": Fields({ANY_NAME: str})}
CONFIG = Fields({**ORIGIN, "batch_size": int}, {"data_path": str})
SEARCH = Fields(
    {
        "request": Fields(
            {
                "space": Fields({"spec": Fields({"network": str})}),
                "config": Fields(
                    {"tuner": str, "train": Fields({"recipe": RECIPE, "recipe_name": str, "seed": int})},
                    {"objective": (str, [str])},
                ),
                "data": str,
            },
            {"images": Fields({ANY_NAME: int}), "fingerprint": str, "data_seed": int},
        ),
        "command": str,
        "versions": Fields({ANY_NAME: str}),
    },
    {"data_path": str},
)
FINAL = Fields(
    {
        "trial": int,
        "contenders": [
            Fields({"name": str, "scores": [SIGNED], "score": SIGNED, "params": int, "macs": int, "folders": [str]})
        ],
        "comparisons": [Fields(dict.fromkeys(("subject", "first", "second"), str))],
    },
    {"unchanged": bool, "problems": Fields({ANY_NAME: str}), "objective": str},
)
PROTOCOL = Fields(
    {"protocol": str, "accuracies": [NUMBER], **dict.fromkeys(("validation", "accuracy", "low", "high"), NUMBER)}
)
TRANSFER = Fields({"best": str, "seeds": [int], "results": [PROTOCOL], "differences": [Fields({})]})
CLASS = Fields(
    {"images": int},
    dict.fromkeys(("precision", "recall", "f1", "average_precision", "threshold"), NUMBER | None),
)
CROSS_VALIDATION = Fields(
    {
        "epoch": int,
        "metric": str,
        "scores": [NUMBER],
        "images": [int],
        **dict.fromkeys(("mean", "low", "high"), NUMBER),
    }
)
METRICS = Fields(
    {
        **ORIGIN,
        **dict.fromkeys(("accuracy", "training_seconds", "images_per_second", "peak_memory_mb"), NUMBER),
        **dict.fromkeys(("correct", "test_images", "epochs", "best_epoch", "params", "macs"), int),
        **dict.fromkeys(("skipped", "duplicates"), int),
        "per_class": Fields({ANY_NAME: CLASS}),
        "warnings": [str],
    },
    {
        "checksum": str,
        "confusion": [[int]],
        "mean_average_precision": NUMBER | None,
        "cross_validation": CROSS_VALIDATION,
    },
)


def find_mismatches(value: Any, expected: Any, name: str = "") -> Iterator[str]:
    """Yield what is wrong with a value that was read from JSON, such as "request.data is 3", or "accuracy is missing".

    Args:
        value: The value.
        expected: Its type, [type] or Fields, or a tuple of alternatives. Numbers are finite and at least 0.
        name: Address of the value.
    """
    if isinstance(expected, Fields):
        if not isinstance(value, dict):
            yield _describe(name, value)
            return
        fields = {**expected.required, **expected.optional}
        if ANY_NAME in fields:
            fields = dict.fromkeys(value, fields[ANY_NAME])
        for key, kind in fields.items():
            address = f"{name}.{key}" if name else key
            if key in value:
                yield from find_mismatches(value[key], kind, address)
            elif key not in expected.optional:
                yield f"{address} is missing"
    elif isinstance(expected, tuple):
        if all(any(find_mismatches(value, one, name)) for one in expected):
            yield _describe(name, value)
    elif isinstance(expected, list):
        if not isinstance(value, list):
            yield _describe(name, value)
            return
        for number, item in enumerate(value):
            yield from find_mismatches(item, expected[0], f"{name}[{number}]")
    elif not _is_valid(value, expected):
        yield _describe(name, value)


def _is_valid(value: Any, expected: Any) -> bool:
    if expected is SIGNED:
        return type(value) in (int, float) and math.isfinite(value)
    if isinstance(value, bool | str | NoneType):  # True is an int as well
        return type(value) in getattr(expected, "__args__", (expected,))
    return isinstance(value, expected) and math.isfinite(value) and value >= 0


def _describe(name: str, value: Any) -> str:
    text = repr(value)
    return f"{name or 'the content'} is {text if len(text) <= 50 else f'{text[:50]}...'}"
