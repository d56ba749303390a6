"""Licenses of weights: their SPDX identifiers, and which are known to permit or to forbid commercial use."""

import re

COMMERCIAL = "commercial"  # what a filter is called that takes every license that permits commercial use
PERMISSIVE = frozenset(
    {
        "0bsd",
        "afl-3.0",
        "apache-2.0",
        "bsd-2-clause",
        "bsd-3-clause",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc-by-sa-4.0",
        "cc0-1.0",
        "isc",
        "mit",
        "mpl-2.0",
        "unlicense",
        "zlib",
    }
)
NOT_STATED = "not stated"
FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)^---\s*$", re.DOTALL | re.MULTILINE)  # of a model card of the Hub
RESTRICTED = re.compile(r"\bnc\b|non-?commercial|research|\bseer\b", re.IGNORECASE)  # SEER's by its name only


def identify_license(text: str) -> str:
    """Return the SPDX identifier that a license begins with, in lowercase: "apache-2.0" of "Apache-2.0, Google"."""
    return text.partition(",")[0].strip().replace(" ", "-").lower()


def permits_commercial_use(license: str) -> bool:
    """Return whether a license is known to permit commercial use; one that kcnn does not know is not."""
    return identify_license(license) in PERMISSIVE


def forbids_commercial_use(license: str) -> bool:
    """Return whether a license says that it forbids commercial use; one that kcnn does not know may forbid it, too."""
    return RESTRICTED.search(license) is not None


def read_card_license(card: str) -> str:
    """Return the license that the front matter of a model card states, such as "apache-2.0".

    Args:
        card: Content of README.md, with "license", and "license_name" where that is "other", as on the Hub.

    Returns:
        The license; "not stated" where there is none.
    """
    match = FRONT_MATTER.match(card)
    fields = {}
    for name in ("license", "license_name"):
        found = match and re.search(rf"^{name}:[ \t]*(?:\r?\n[ \t]*-[ \t]+)?([^\s#].*?)\s*$", match[1], re.MULTILINE)
        fields[name] = found[1].strip("\"'[]").lower() if found else ""
    is_named = fields["license"] == "other" and fields["license_name"]
    return fields["license_name"] if is_named else fields["license"] or NOT_STATED


def matches_license(license: str, wanted: str) -> bool:
    """Return whether a license is the one that is wanted, or permits commercial use where "commercial" is wanted."""
    if wanted.lower() == COMMERCIAL:
        return permits_commercial_use(license)
    return identify_license(license) == identify_license(wanted)
