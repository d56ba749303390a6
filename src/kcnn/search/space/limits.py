"""Limits that every candidate of a search space keeps."""

from dataclasses import asdict, dataclass, fields
from math import inf
from typing import Any

from kcnn.graph.arguments import check_keywords, wrong_kind, wrong_value


@check_keywords
@dataclass(frozen=True, kw_only=True)
class Limits:
    """Define limits of a search space; None for no limit.

    Args:
        max_params: Trainable parameters.
        max_macs: Multiply-accumulates of one image.
        max_activation_bytes: Bytes of the outputs of all layers for one image in float32.
        min_receptive_field: Receptive field of the features, in pixels of the shorter side.

    Raises:
        ValueError: A limit is not a number of at least 0.
    """

    max_params: float | None = None
    max_macs: float | None = None
    max_activation_bytes: float | None = None
    min_receptive_field: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            expected = "a number of at least 0"
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise wrong_kind(field.name, expected, value)
            if value is not None and not value >= 0:
                raise wrong_value(field.name, expected, value)

    def to_json(self) -> dict[str, Any]:
        """Return the limits that are set as JSON values."""
        return {name: value for name, value in asdict(self).items() if value is not None and value != inf}


NAMES = tuple(field.name for field in fields(Limits))
