"""The result of a comparison of training protocols, as it prints and as its folder keeps it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from kcnn.architectures.spec import ModelSpec
from kcnn.atomic_io import parse_json, write_text
from kcnn.graph.arguments import check_keywords
from kcnn.graph.formatting import format_table
from kcnn.run_folders import check_output_folder
from kcnn.statistics import PairedDifference, describe_adjustment
from kcnn.training import name_run_folder
from kcnn.training.run_directory import to_csv, write_values

COMPARISON, TABLE = "transfer.json", "transfer.csv"


@dataclass(frozen=True, kw_only=True)
class ProtocolResult:
    """The test accuracy of a protocol. With several labels an image it is subset accuracy.

    Attributes:
        protocol: The protocol's name.
        validation: Validation accuracy, the mean over seeds; with several labels an image, average precision. The best
            protocol is chosen by it, so that test images choose nothing.
        validation_loss: The mean over seeds.
        accuracies: Test accuracy of each seed.
        accuracy: Their mean.
        low: Lower end of its 95% interval.
        high: Upper end of its 95% interval.
        images: Images of the test split.
        seconds: Of training, the mean over seeds, with the protocol that it starts from.
        parameters: Trainable parameters.
        average_precision: With several labels an image, the mean over classes and seeds.
    """

    protocol: str
    validation: float
    validation_loss: float
    accuracies: tuple[float, ...]
    accuracy: float
    low: float
    high: float
    images: int
    seconds: float
    parameters: int
    average_precision: float | None = None


@dataclass(frozen=True, kw_only=True)
class ProtocolDifference(PairedDifference):
    """The difference of test accuracy of two protocols, paired by seed, or by test image with one seed.

    Attributes:
        protocol: A protocol.
        baseline: The one it is compared with, by so many points.
    """

    protocol: str
    baseline: str

    def __str__(self) -> str:
        verdict = "significant" if self.significant else "not significant"
        return (
            f"{self.protocol} vs. {self.baseline}: {self.points:+.2f} points (95% interval {self.low:+.2f} to "
            f"{self.high:+.2f}, paired), {verdict} (p = {self.p:.2g})"
        )


@check_keywords
@dataclass(frozen=True)
class Comparison:
    """The result of `compare_protocols`. Print it for a table.

    Attributes:
        folder: Its folder, with a run in seed-N/PROTOCOL for each seed and protocol.
        results: A row for each protocol.
        differences: Of each protocol to each of the earlier ones, with p-values adjusted for their number.
        best: The pretrained protocol of the highest validation accuracy, or average precision; of equal ones, that of
            the lowest validation loss.
        seeds: The seeds.
    """

    folder: Path
    results: tuple[ProtocolResult, ...]
    differences: tuple[ProtocolDifference, ...]
    best: str
    seeds: tuple[int, ...]

    def run_folder(self, seed: int, protocol: str) -> Path:
        """Return the folder of a run."""
        return name_run_folder(self.folder, seed, protocol)

    def __str__(self) -> str:
        """Return the table of results, and the differences below it."""
        return "\n".join([format_table(self._columns, list(self._rows()), ("protocol",)), *self._notes()])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(column)}</th>" for column in self._columns)
        rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in self._rows())
        notes = "<br>".join(escape(note) for note in self._notes())
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table><p>{notes}</p>"

    @property
    def _columns(self) -> tuple[str, ...]:
        measure = ("test accuracy",) if self.results[0].average_precision is None else ("mean AP", "subset accuracy")
        return (
            "protocol",
            "validation",
            *measure,
            "95% interval",
            "range over seeds",
            "training",
            "trainable parameters",
        )

    def _rows(self) -> Iterator[tuple[str, ...]]:
        for result in self.results:
            yield (
                result.protocol,
                f"{result.validation:.2%}",
                *(() if result.average_precision is None else (f"{result.average_precision:.2%}",)),
                f"{result.accuracy:.2%}",
                f"{result.low:.2%} to {result.high:.2%}",
                f"{100 * min(result.accuracies):.2f} to {100 * max(result.accuracies):.2f}",
                f"{result.seconds:.1f} s",
                f"{result.parameters:,}",
            )

    def _notes(self) -> list[str]:
        source = f"{len(self.seeds)} seeds (Student's t)" if len(self.seeds) > 1 else "test images (Wilson)"
        images = self.results[0].images
        note = f"intervals over {source}; {images} test images: one image is {100 / images:.2f} points"
        chosen = f"{self.best} is the best of the pretrained in validation"
        adjustment = describe_adjustment(len(self.differences))
        return [note, *map(str, self.differences), *([adjustment] if adjustment else []), chosen]


def check_folder(root: Path) -> None:
    """Refuse a folder of a run or a search, or with the result of an older version, which recorded no protocols.

    Args:
        root: The folder.

    Raises:
        FileExistsError: It is the folder of a run or a search.
        ValueError: It has such a result.
    """
    check_output_folder(root, "transfer")
    path = root / COMPARISON
    if not path.exists():
        return
    try:
        current = "protocols" in parse_json(path.read_text(encoding="utf-8"))
    except (ValueError, TypeError):
        current = True  # damaged: it is written again
    if not current:
        raise ValueError(f"{path} was written by an older version of kcnn; choose another folder")


def write_comparison(comparison: Comparison, spec: ModelSpec, protocols: Sequence[Mapping[str, Any]]) -> None:
    """Write transfer.csv and transfer.json, which `kcnn report` and commands on a folder read.

    Args:
        comparison: The comparison.
        spec: The network.
        protocols: The protocols as JSON values.
    """
    rows = [{**asdict(one), "accuracies": " ".join(map(str, one.accuracies))} for one in comparison.results]
    write_text(comparison.folder / TABLE, to_csv(rows))
    best = comparison.run_folder(comparison.seeds[0], comparison.best)
    values = {
        "network": spec.to_json(),
        "protocols": list(protocols),
        "seeds": list(comparison.seeds),
        "results": [asdict(result) for result in comparison.results],
        "differences": [asdict(difference) for difference in comparison.differences],
        "best": best.relative_to(comparison.folder).as_posix(),  # the run that the report shows
    }
    write_values(comparison.folder / COMPARISON, values)
