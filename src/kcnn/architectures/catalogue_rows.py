"""Rows of the catalogue, remembered between processes: a row comes from tracing, and all of them take seconds."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from itertools import compress
from pathlib import Path
from typing import Any

import kcnn
from kcnn.architectures import catalogue
from kcnn.architectures.descriptions import describe_weights
from kcnn.architectures.licenses import matches_license
from kcnn.atomic_io import parse_json, write_text
from kcnn.cache import cache_folder
from kcnn.graph.argument_kinds import check_arguments

ROOMS = ("graph", "blocks", "architectures")  # of kcnn: what a row of a builtin network depends on, beside its plugin


@check_arguments
@dataclass(frozen=True, kw_only=True)
class CatalogueRow:
    """What a list shows of a network or variant.

    Attributes:
        network: Its name.
        params: Trainable parameters at the standard input size and number of classes.
        macs: Multiply-accumulates for one image.
        input_shape: Standard (rows, columns, channels).
        min_input_size: Side of the smallest square image that fits, in pixels.
        receptive_field: (rows, columns) of the last feature map, in pixels.
        reference: Paper and table.
        variants: Names of its variants.
        weights: Names of its pretrained weights; a name with files of several licenses is there for each.
        licenses: Their licenses.
        weights_texts: The same weights in words: name, publisher, cited accuracy, license.
    """

    network: str
    params: int
    macs: int
    input_shape: tuple[int, ...]
    min_input_size: int
    receptive_field: tuple[int, ...]
    reference: str
    variants: tuple[str, ...]
    weights: tuple[str, ...]
    licenses: tuple[str, ...]
    weights_texts: tuple[str, ...]

    def keep_licensed(self, license: str) -> "CatalogueRow":
        """Return the row with only the weights that have a license: an SPDX identifier, or "commercial"."""
        is_kept = [matches_license(one, license) for one in self.licenses]
        return replace(
            self,
            weights=tuple(compress(self.weights, is_kept)),
            licenses=tuple(compress(self.licenses, is_kept)),
            weights_texts=tuple(compress(self.weights_texts, is_kept)),
        )


def make_row(name: str) -> CatalogueRow:
    """Return the row of a network or variant. Raises as `catalogue.make_entry` does."""
    entry = catalogue.make_entry(name)
    architecture = entry.architecture
    texts = describe_weights(architecture)
    return CatalogueRow(
        network=name,
        params=entry.summary.params,
        macs=entry.summary.macs,
        input_shape=architecture.input_shape,
        min_input_size=entry.min_input_size,
        receptive_field=entry.summary.receptive_field,
        reference=architecture.reference,
        variants=tuple(architecture.variants),
        weights=tuple(name for name, _ in texts),
        licenses=tuple(license for _, license in texts),
        weights_texts=tuple(texts.values()),
    )


def load_rows() -> dict[str, CatalogueRow]:
    """Return the rows of builtin networks that an earlier process remembered, of the very same source files."""
    try:
        rows = parse_json(_rows_file().read_bytes())
        return {name: CatalogueRow(**{key: _freeze(value) for key, value in row.items()}) for name, row in rows.items()}
    except (OSError, ValueError, TypeError, AttributeError):  # none yet, or damaged: they are made anew
        return {}


def save_rows(rows: Mapping[str, CatalogueRow]) -> None:
    """Remember rows of builtin networks for later processes, unless the cache folder cannot be written to."""
    file = _rows_file()
    with suppress(OSError):
        write_text(file, json.dumps({name: asdict(row) for name, row in rows.items()}))
        for other in file.parent.glob("rows-*.json"):
            if other != file:  # of other source files
                other.unlink(missing_ok=True)


def _freeze(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _rows_file() -> Path:
    """The file of the rows that these source files give."""
    package = Path(kcnn.__file__).parent
    folders = [package.with_name("kcnn_plugins"), *(package / room for room in ROOMS)]
    digest = sha256()
    for file in sorted(file for folder in folders for file in folder.rglob("*.py")):
        digest.update(f"{file.name} {file.stat().st_size} ".encode())
        digest.update(file.read_bytes())
    return cache_folder() / "catalogue" / f"rows-{digest.hexdigest()[:32]}.json"
