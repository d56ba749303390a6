"""Licenses of weights: commercial is what is known to permit commercial use, and nothing else."""

import pytest

from kcnn.architectures.licenses import (
    forbids_commercial_use,
    identify_license,
    matches_license,
    permits_commercial_use,
)


@pytest.mark.parametrize(
    ("license", "permitted", "forbidden"),
    [
        ("Apache-2.0, TensorFlow", True, False),
        ("apache-2.0", True, False),
        ("CC BY 4.0", True, False),
        ("BSD-3-Clause, torchvision's", True, False),
        ("CC-BY-NC-4.0, SWAG", False, True),
        ("cc-by-nc-sa-4.0", False, True),
        ("fair-noncommercial-research-license", False, True),
        ("not stated", False, False),
        ("other", False, False),
        ("", False, False),
        ("mit-like, but see the terms", False, False),
    ],
)
def test_permits_commercial_use_only_by_a_license_that_is_known(license, permitted, forbidden):
    assert permits_commercial_use(license) == permitted
    assert matches_license(license, "commercial") == permitted
    assert forbids_commercial_use(license) == forbidden


def test_matches_license_compares_identifiers():
    assert identify_license("CC-BY-4.0, Visual Geometry Group, Oxford") == "cc-by-4.0"
    assert matches_license("MIT, Meta", "mit")
    assert not matches_license("Apache-2.0, Google", "MIT")
    assert not matches_license("CC-BY-NC-4.0, SWAG", "cc-by-4.0")
