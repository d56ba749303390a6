"""Networks of kcnn pass the suite for authors of plugins."""

import pytest

from kcnn.testing import Suite
from tests.catalogue import ONE_PER_FAMILY, REST


def suites(names, *marks):
    """Return a class of tests for each network."""
    return {f"Test_{name}": type(f"Test_{name}", (Suite,), {"name": name, "pytestmark": [*marks]}) for name in names}


globals().update(suites(ONE_PER_FAMILY))
globals().update(suites(REST, pytest.mark.every))
