"""Augmentation, the record: through JSON and back, and invalid values are refused by name."""

import dataclasses
import json

import pytest

from kcnn.augment import Augmentation
from tests.runs.augmentations import EVERYTHING


@pytest.mark.parametrize("kind", EVERYTHING)
def test_augmentation_round_trips_through_json(kind):
    text = json.dumps(dataclasses.asdict(EVERYTHING[kind]))
    assert Augmentation(**json.loads(text)) == EVERYTHING[kind]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("flip", 1),
        ("crop", -1),
        ("crop", 2.5),
        ("resized_crop", (0.0, 1.0)),
        ("resized_crop", (0.9, 0.2)),
        ("resized_crop", 0.5),
        ("rotate", 181),
        ("zoom", 1),
        ("contrast", float("nan")),
        ("brightness", "0.4"),
        ("rand_augment", (2, 1.5)),
        ("rand_augment", (0, 0.5)),
        ("rand_augment", 2),
        ("erase", True),
        ("mixup", -0.1),
    ],
)
def test_augmentation_refuses_an_invalid_value_by_name(field, value):
    with pytest.raises(ValueError, match=f"^Augmentation: {field} is .* got "):
        Augmentation(**{field: value})


def test_augmentation_names_all_invalid_values_at_once():
    with pytest.raises(ValueError, match=r"crop .*; erase .*; crop and resized_crop exclude each other"):
        Augmentation(crop=0.5, erase=2, resized_crop=(0.5, 1.0))
