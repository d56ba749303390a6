"""Licenses of weights: commercial is what is known to permit commercial use, and nothing else."""

import pytest

from kcnn.architectures.licenses import (
    forbids_commercial_use,
    identify_license,
    matches_license,
    permits_commercial_use,
    read_card_license,
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


@pytest.mark.parametrize(
    ("card", "license"),
    [  # as timm, KerasHub and others have it on the Hub
        (
            "---\ntags:\n- image-classification\n- timm\nlibrary_name: timm\nlicense: apache-2.0\n---\n# Model",
            "apache-2.0",
        ),
        ("---\nlicense: cc-by-nc-4.0\nlibrary_name: timm\n---\n", "cc-by-nc-4.0"),
        ("---\nlicense: other\nlicense_name: seer-license\nlicense_link: LICENSE\n---\n", "seer-license"),
        ("---\nlicense: other\n---\n", "other"),
        ('---\nlicense: "MIT"\ntags: ["a"]\n---\n', "mit"),
        ("---\r\nlicense:\r\n- mit\r\ntags:\r\n- x\r\n---\r\n", "mit"),
        ("---\nlicense:\ntags:\n- x\n---\n", "not stated"),
        ("---\nlibrary_name: keras-hub\n---\nlicense: apache-2.0\n", "not stated"),  # not in the front matter
        ("# Model\n\n---\nlicense: mit\n---\n", "not stated"),
        ("---\nlicense: mit\n", "not stated"),
        ("", "not stated"),
    ],
)
def test_read_card_license_reads_the_front_matter(card, license):
    assert read_card_license(card) == license
