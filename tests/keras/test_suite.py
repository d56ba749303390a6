"""Networks of kcnn pass the suite for authors of plugins; where others have the same parts, Keras matches the graph."""

import gc

import pytest

import kcnn
from kcnn.testing import Suite, checks
from tests.catalogue import OF_ITS_OWN, ONE_PER_FAMILY, REST, THOROUGH

LARGEST = 20_000_000  # parameters of a network that is built beside its family's; on paper all of them are tested
OTHERS = [name for name in ONE_PER_FAMILY if name not in THOROUGH]


def suites(names, *marks):
    """Return a class of tests for each network."""
    return {f"Test_{name}": type(f"Test_{name}", (Suite,), {"name": name, "pytestmark": [*marks]}) for name in names}


globals().update(suites(THOROUGH))
globals().update(suites(OF_ITS_OWN, pytest.mark.every))


@pytest.mark.parametrize("name", OTHERS)
def test_build_matches_the_graph_and_is_read_back(name):
    model = kcnn.build(name)
    checks.compare_layers(name, model)
    checks.compare_graphs(name, model)
    del model
    checks.clear_cache()


@pytest.mark.every
@pytest.mark.parametrize("name", [name for name in REST if kcnn.get_architecture(name).params <= LARGEST])
def test_build_matches_the_graph(name):
    checks.check_matches_keras(name)
    gc.collect()
