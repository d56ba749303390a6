"""Export the model of a run in several formats, and keep the files whose accuracy holds."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

import kcnn
from kcnn.export.formats import CALIBRATION_IMAGES, export_model
from kcnn.export.runtimes import check_formats
from kcnn.export.verification import ExportCheck, compare_exports, verify_exports
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_keywords
from kcnn.graph.formatting import format_table
from kcnn.run_folders import MODEL, resolve_run
from kcnn.statistics import PairedDifference
from kcnn.training.run_data import load_run_data

MAX_ACCURACY_DROP = 2.0  # percentage points
DECIDING_IMAGES = (100, 1_000)  # fewest and most images that decide whether a file is kept
COLUMNS = (
    *("file", "size", "test accuracy", "difference (95% interval)"),
    *("agreement with Keras", "latency (batch 1)"),
)
INT8 = "litert-int8"
PHONE_FILES = {"phone": "litert", "phone-int8": INT8}  # formats by the name of the file, which `kcnn transfer` writes


@check_keywords
@dataclass(frozen=True, repr=False)
class ExportResult:
    """Hold the files that were exported from a run. It prints as a table.

    Attributes:
        files: The files by format.
        checks: Size, accuracy and latency of the Keras model, then of each format, also of those that were not kept.
        validation: By how many percentage points each format is more accurate than the Keras model on images that are
            not for testing: those by which files are kept and recommended.
        validation_images: The number of these images.
    """

    files: Mapping[str, Path]
    checks: tuple[ExportCheck, ...]
    validation: Mapping[str, PairedDifference] = field(default_factory=dict)
    validation_images: int = 0

    @property
    def path(self) -> Path:
        """Return the first file."""
        return next(iter(self.files.values()))

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of the table, by COLUMNS."""
        return [
            (
                check.name,
                f"{check.bytes / 1e6:.2f} MB",
                f"{check.accuracy:.2%}",
                _format_difference(check.difference),
                f"{check.agreement:.2%}",
                f"{check.latency_ms:.2f} ms",
            )
            for check in self.checks
        ]

    @property
    def recommended(self) -> Path:
        """Return the smallest file that is shown to lose at most 2 points; the first where none is.

        It is shown where the 95% interval on images that are not for testing excludes a larger loss. Few images have
        wide intervals, and a network is surer of those that it was trained on.
        """
        return min(self._accurate(), key=lambda path: path.stat().st_size, default=self.path)

    @property
    def recommendation(self) -> str:
        """Return which file is recommended, and why, as a sentence; empty where nothing was measured."""
        if not self.validation:
            return ""
        reason = "the smallest file" if self._accurate() else "since there is no file"
        differences = "; ".join(f"{name} {difference}" for name, difference in self.validation.items())
        return (
            f"recommended: {self.recommended}, {reason} whose 95% interval excludes a loss above "
            f"{MAX_ACCURACY_DROP:g} points on {self.validation_images} images that are not for testing: {differences}"
        )

    @property
    def losses(self) -> list[str]:
        """Return a sentence for each file that is significantly less accurate than the Keras model on test images."""
        return [
            f"{check.name} is significantly less accurate than {self.checks[0].name} on the test images: "
            f"{check.difference} (p = {check.difference.p:.2g})"
            for check in self.checks
            if check.difference and check.difference.significant and check.difference.points < 0
        ]

    def _accurate(self) -> list[Path]:
        """The files that are shown to lose at most MAX_ACCURACY_DROP."""
        low = {name: difference.low for name, difference in self.validation.items()}
        return [path for name, path in self.files.items() if low.get(name, -100.0) >= -MAX_ACCURACY_DROP]

    @property
    def summary(self) -> str:
        """Return the files, and on how many images they were verified."""
        written = ", ".join(map(str, self.files.values()))
        if not self.checks:
            return f'{written}; to measure their accuracy: pip install "kcnn[litert]"'
        verified = f"{self.checks[0].images} test images, each file in its own runtime"
        return f"{written}; {verified}" if written else verified

    def __repr__(self) -> str:
        return f"{format_table(COLUMNS, self.rows(), left=('file',))}\n{self.summary}"


class ExportRejectedError(ValueError):
    """Raised where a runtime cannot run an exported file, or the file loses too much accuracy; it is removed.

    Args:
        message: What was removed, and why.
        result: The files that are kept, and what was measured; None where a file cannot be run.
    """

    def __init__(self, message: str, result: ExportResult | None = None):
        super().__init__(message)
        self.result = result


@check_arguments
def export_run(
    run: str | PathLike[str],
    format: str | Sequence[str] = "litert",
    out: str | PathLike[str] | None = None,
    *,
    data: Any = None,
    max_accuracy_drop: float = MAX_ACCURACY_DROP,
    log: Callable[[str], None] = print,
    step: Callable[[str], AbstractContextManager[Any]] = nullcontext,
) -> ExportResult:
    """Export the model of a run, and verify each file in its own runtime on the test images of the run.

    Args:
        run: Folder of the run, or of a transfer or a search, whose best run is taken.
        format: "litert", "litert-float16", "litert-dynamic", "litert-int8", "saved_model", "onnx" or "keras", or
            several of these. "litert-int8" is calibrated on training images of the run.
        out: Folder of the files; "export" in the folder of the run where it is None.
        data: The data of the run where it has moved, or was passed from Python.
        max_accuracy_drop: Percentage points of accuracy that a file may lose; one that loses more is removed. Test
            images do not decide this: it is measured on validation images, and on training images, too, where those
            are fewer than 100 or there are none.
        log: Called with a sentence: which run is taken, and how its images have changed.
        step: Context of each step, called with what it does.

    Returns:
        The files, with the size, accuracy and latency of each.

    Raises:
        UnknownNameError: There is no such format.
        FileNotFoundError: The folder holds no finished run, or its images are gone.
        ExportRejectedError: A file loses too much accuracy, and the others are kept; or a runtime cannot run one, and
            all are removed.
        ImportError: The package of a format is not installed.
    """
    resolved = resolve_run(run).require(MODEL)
    if resolved.note:
        log(resolved.note)
    formats = list(dict.fromkeys([format] if isinstance(format, str) else format))
    check_formats(formats)
    restored = load_run_data(resolved.path, data)
    for note in restored.notes:
        log(note)
    dataset = restored.dataset
    images = _take_calibration_images(dataset) if INT8 in formats else None
    path = resolved.path / MODEL
    model, target = kcnn.load_model(path), Path(out) if out else resolved.path / "export"
    files: dict[str, Path] = {}
    for name in formats:
        with step(f"writing {name}"):
            files[name] = export_model(model, target / name, name, calibration_images=images)
    deciding = _choose_deciding_images(dataset)
    with step(f"running {len(files)} files on {len(dataset.splits['test'])} test images"):
        try:
            validation = compare_exports(files, model, path, deciding.validation)
            checks = tuple(verify_exports(files, model, path, dataset.test))
        except ValueError as error:  # of a runtime
            for file in files.values():
                _remove(file)
            raise ExportRejectedError(f"{error}; the exported files were removed") from None
    rejected = {name: one for name, one in validation.items() if -one.points > max_accuracy_drop}
    for name in rejected:
        _remove(files.pop(name))
    images_used = len(deciding.splits["validation"])
    result = ExportResult(files, checks, validation, images_used)
    if rejected:
        texts = ", ".join(f"{name} {difference}" for name, difference in rejected.items())
        raise ExportRejectedError(
            f"accuracy drop exceeds {max_accuracy_drop:g} points; not kept: {texts}, on {images_used} images that are "
            "not for testing",
            result,
        )
    return result


def export_for_phones(run: str | PathLike[str], dataset: Any, out: str | PathLike[str]) -> ExportResult:
    """Export the model of a run to LiteRT in float32 and in 8 bits, and verify both on the test images.

    Args:
        run: Folder of the run.
        dataset: The ImageDataset of the run.
        out: Folder of the files, phone.tflite and phone-int8.tflite.

    Returns:
        Both files, with the size, accuracy and latency of each, and the recommended one; without those where LiteRT is
        not installed.
    """
    path = Path(run) / MODEL
    model, images = kcnn.load_model(path), _take_calibration_images(dataset)
    files = {
        name: export_model(model, Path(out) / name, format, classes=dataset.classes, calibration_images=images)
        for name, format in PHONE_FILES.items()
    }
    if find_spec("ai_edge_litert") is None:
        return ExportResult(files, ())
    deciding = _choose_deciding_images(dataset)
    validation = compare_exports(files, model, path, deciding.validation)
    checks = tuple(verify_exports(files, model, path, dataset.test))
    return ExportResult(files, checks, validation, len(deciding.splits["validation"]))


def _format_difference(difference: PairedDifference | None) -> str:
    return f"{difference.points:+.2f} ({difference.low:+.2f} to {difference.high:+.2f})" if difference else ""


def _choose_deciding_images(dataset: Any) -> Any:
    """The dataset whose validation images decide whether a file is kept: with training images if they are few."""
    fewest, most = DECIDING_IMAGES
    validation = dataset.splits.get("validation")
    if validation is None:
        validation = dataset.splits["train"]
    elif len(validation) < fewest:
        validation = dataset.train_and_validation.splits["train"]
    return replace(dataset, splits={**dataset.splits, "validation": validation}).subset(validation=most)


def _take_calibration_images(dataset: Any) -> np.ndarray:
    """Training images, without augmentation, for the ranges of 8-bit numbers."""
    batches = range(-(-CALIBRATION_IMAGES // dataset.batch_size))
    return np.concatenate([np.asarray(pixels) for _, (pixels, _) in zip(batches, dataset.train, strict=False)])


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
