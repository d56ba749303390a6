"""The page of measured differences, docs/parity.md: python -m tests.parity.page > docs/parity.md"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kcnn.architectures.architecture import WeightMapping
from kcnn.architectures.registry import get_architecture, is_builtin, list_models

DIFFERENCES = Path(__file__).with_name("differences.json")
LIBRARIES = {"keras": "keras.applications", "torchvision": "torchvision", "timm": "timm", "keras_hub": "KerasHub"}


@dataclass(frozen=True)
class Difference:
    """One measurement: the largest difference of logits, relative to the largest logit."""

    network: str
    options: dict[str, Any]
    publisher: str
    model: str
    size: tuple[int, int]
    difference: float
    versions: str

    @property
    def key(self) -> tuple[Any, ...]:
        return self.network, json.dumps(self.options), self.publisher, tuple(self.size)


def load_differences() -> list[Difference]:
    """Return every measurement."""
    return [Difference(**row) for row in json.loads(DIFFERENCES.read_text())] if DIFFERENCES.exists() else []


def list_mappings() -> Iterator[tuple[str, str, WeightMapping]]:
    """Yield each network and variant with each publisher whose files it reads."""
    for bare in filter(is_builtin, list_models()):
        for name in (bare, *(f"{bare}.{variant}" for variant in get_architecture(bare).variants)):
            for publisher, mapping in get_architecture(name).weight_mappings.items():
                yield name, publisher, mapping


INTRODUCTION = """# Parity with keras.applications, torchvision, timm and KerasHub

Load the same weights in kcnn and in the library that publishes the network, and both give the same logits up to the
rounding of float32. The table has the largest difference of a logit, relative to the largest logit, for random weights
with random normalization statistics and two images of random pixels, at each image size (rows x columns); auxiliary
classifiers included. Pixels are scaled as the publisher scales them, as kcnn does for weights from the Hub. Tests hold
it below 1e-4, and see to it that the logits of the two images differ by more than five times as much. Sizes that
are odd and not square show paddings that differ.

{measured} of {mappings} combinations of a network and a publisher whose files kcnn reads are measured; the others are
listed below the table: keras.applications has no EfficientNetV2 XL. Measured with {versions}.

Rounding grows with depth, most where kernels are standardized: the logits of timm's `resnetv2_152x2_bit` for images of
224x224 differ in float32 from its own in float64 by 1.1e-04, and from those of kcnn by 1.3e-04, so that size is not in
the table. `python -m tests.parity.record rounding timm resnetv2_152x2_bit 224x224` prints the former.

`python -m tests.parity.measure` measures what is missing, `make parity` writes this page.
"""


def render_page() -> str:
    """Return the page: a row for each network, options and publisher, and what was not measured."""
    rows: dict[tuple[str, str, str], list[Difference]] = {}
    for one in load_differences():
        rows.setdefault((one.network, one.publisher, json.dumps(one.options)), []).append(one)
    mappings = [(network, publisher) for network, publisher, _ in list_mappings()]
    measured = {(network, publisher) for network, publisher, _ in rows}
    lines = [
        "| network | publisher | its name | image sizes | largest difference |",
        "|---|---|---|---|---|",
        *(_render_row(rows[key]) for key in sorted(rows)),
        "",
        "## Not measured",
        "",
    ]
    for publisher, title in LIBRARIES.items():
        missing = [
            f"`{network}`" for network, name in mappings if name == publisher and (network, name) not in measured
        ]
        if missing:
            lines += [f"- {title}: {', '.join(missing)}"]
    head = INTRODUCTION.format(
        measured=len(measured & set(mappings)),
        mappings=len(mappings),
        versions=" and ".join(sorted({one.versions for group in rows.values() for one in group})),
    )
    return "\n".join([head, *lines]) + "\n"


def _render_row(group: list[Difference]) -> str:
    """The row of the measurements of one network and publisher, at one or more sizes."""
    one = group[0]
    options = "".join(f", {name}={value}" for name, value in one.options.items())
    sizes = ", ".join("x".join(map(str, size)) for size in sorted(one.size for one in group))
    largest = max(one.difference for one in group)
    return f"| `{one.network}`{options} | {LIBRARIES[one.publisher]} | `{one.model}` | {sizes} | {largest:.1e} |"


if __name__ == "__main__":
    print(render_page(), end="")
