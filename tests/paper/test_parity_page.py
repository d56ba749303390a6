"""The page of differences from other libraries says what was measured, and nothing else."""

from pathlib import Path

from kcnn.architectures.registry import get_architecture
from tests.parity.page import LIBRARIES, list_mappings, load_differences, render_page

PAGE = Path(__file__).parents[2] / "docs" / "parity.md"


def test_render_page_returns_the_page_of_the_documentation():
    assert PAGE.read_text() == render_page(), "run `make parity` and commit docs/parity.md"


def test_render_page_has_each_mapping_measured_or_as_not_measured():
    table, _, rest = render_page().partition("## Not measured")
    lines = dict(line.removeprefix("- ").split(": ") for line in rest.strip().splitlines())
    for network, publisher, _ in list_mappings():
        title = LIBRARIES[publisher]
        is_measured = any(line.startswith(f"| `{network}`") and f"| {title} |" in line for line in table.splitlines())
        assert is_measured != (f"`{network}`" in lines.get(title, "").split(", ")), (network, publisher)


def test_differences_are_of_declared_mappings_and_small():
    for one in load_differences():
        assert one.publisher in get_architecture(one.network).weight_mappings, one
        assert 0 <= one.difference <= 1e-4, one
