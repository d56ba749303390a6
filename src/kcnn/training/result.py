"""Result of a training run: its metrics and history, its model, and what is done with it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from os import PathLike
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from kcnn.classification import format_mean_precision
from kcnn.graph.argument_kinds import check_arguments
from kcnn.graph.arguments import check_keywords
from kcnn.graph.formatting import format_count, format_table
from kcnn.keras_bridge.saved_models import load_model
from kcnn.run_folders import METRICS, MODEL, resolve_run
from kcnn.statistics import wilson_interval
from kcnn.training.fold_scores import CrossValidation
from kcnn.training.run_directory import read_results

if TYPE_CHECKING:
    from kcnn.export.evaluation import Evaluation
    from kcnn.export.predictions import Predictions
    from kcnn.export.publication import Publication
    from kcnn.export.run_export import ExportResult

# By name, because these rooms read runs.
RENDER_CURVES = "kcnn.reports.charts:render_curves"
PREDICT, EVALUATE = "kcnn.export.prediction:predict", "kcnn.export.evaluation:evaluate"
EXPORT, REPORT = "kcnn.export.run_export:export_run", "kcnn.reports:write_report"
PUBLISH = "kcnn.export.publication:publish"


@check_keywords
@dataclass(frozen=True)
class TrainResult:
    """Hold the result of a training run. It prints as a table; a notebook shows curves and metrics.

    Attributes:
        folder: Folder of the run: model.keras, metrics.json, history.csv, plots.
        metrics: Metrics on the test split, and facts of the run: metrics.json. Empty on workers other than the chief.
        history: A row for each epoch: history.csv.
        resumed_epochs: Epochs that were completed before this call.
    """

    folder: Path
    metrics: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]
    resumed_epochs: int

    @property
    def cross_validation(self) -> CrossValidation | None:
        """The scores of the folds; None for a run without folds."""
        values = self.metrics.get("cross_validation")
        return CrossValidation(**values) if values else None

    @cached_property
    def model(self) -> Any:
        """Return the trained Keras model, loaded at the first use: pixels 0..255 in, logits out."""
        return load_model(self.folder / MODEL)

    @check_keywords
    def predict(self, images: Any, *, top: int = 3, threshold: float | None = None) -> "Predictions":
        """Predict the classes of images.

        Args:
            images: A file, a folder, a glob, pixels, Pillow images, or several of these: see kcnn.predict.
            top: How many classes of each image are shown.
            threshold: Probability below which the class of an image is unsure; None for no such threshold.

        Returns:
            The predictions.

        Raises:
            FileNotFoundError, ImageDecodeError, ValueError: As from kcnn.predict.
        """
        return resolve_name(PREDICT)(self.model, images, top=top, threshold=threshold)

    @check_keywords
    def evaluate(self, data: Any = None, split: str = "test", *, log: Callable[[str], None] = print) -> "Evaluation":
        """Evaluate the model on the images of a split; those that it was trained on are never among test images.

        Args:
            data: Other images, as for kcnn.data.load; those of the run where it is None.
            split: "train", "validation" or "test".
            log: Called with a sentence about images that are left out, or differ from those of the run.

        Returns:
            Accuracy with its interval, precision and recall of each class.

        Raises:
            UnknownNameError, FileNotFoundError, ValueError: As from kcnn.export.evaluate.
        """
        return resolve_name(EVALUATE)(self.folder, data, split, log=log)

    @check_keywords
    def export(
        self,
        format: str | Sequence[str] = "litert",
        out: str | PathLike[str] | None = None,
        *,
        data: Any = None,
        max_accuracy_drop: float = 2.0,
        log: Callable[[str], None] = print,
    ) -> "ExportResult":
        """Export the model for phones and servers, and verify each file on the test images of the run.

        Args:
            format: "litert", "litert-float16", "litert-dynamic", "litert-int8", "saved_model", "onnx" or "keras", or
                several of these.
            out: Folder of the files; "export" in the folder of the run where it is None.
            data: The data of the run where it has moved, or was passed from Python.
            max_accuracy_drop: Percentage points of accuracy that a file may lose, on images that are not for testing.
            log: Called with a sentence about images that differ from those of the run.

        Returns:
            The files, with the size, accuracy and latency of each.

        Raises:
            UnknownNameError, ImportError, ValueError: As from kcnn.export.export_run.
        """
        return resolve_name(EXPORT)(self.folder, format, out, data=data, max_accuracy_drop=max_accuracy_drop, log=log)

    @check_keywords
    def publish(self, to: str | PathLike[str], *, license: str = "unknown", push: str | None = None) -> "Publication":
        """Write the model as others can load it: weights, config and a model card; and upload it to the Hub.

        Args:
            to: The folder to write, which does not exist yet or is empty.
            license: Of the weights, as the Hugging Face Hub spells it, such as "apache-2.0".
            push: "USER/NAME" of the repository on the Hub to upload to; nothing is uploaded where it is None.

        Returns:
            The publication: the folder, timm's name of the network, and the URL.

        Raises:
            FileExistsError, ValueError, UploadError, ImportError: As from kcnn.publish.
        """
        return resolve_name(PUBLISH)(self.folder, to, license=license, push=push)

    @check_keywords
    def report(self, to: str | PathLike[str] | None = None) -> Path:
        """Write the report of the run: curves, confusion matrix, errors, calibration, network.

        Args:
            to: The file; report.html in the folder of the run where it is None.

        Returns:
            The file.
        """
        return resolve_name(REPORT)(self.folder, to)

    def __repr__(self) -> str:
        """Return the title and a table of the metrics."""
        return f"{self._title}\n{format_table(('metric', 'value'), self._rows(), ('metric', 'value'))}"

    def _repr_html_(self) -> str:
        curves = []
        if self.metrics and self.history:
            curves = resolve_name(RENDER_CURVES)(self.history, self.metrics["best_epoch"])[:2]  # loss and accuracy
        plots = "".join(f'<div style="display: inline-block; width: 24em">{svg}</div>' for svg in curves)
        rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in self._rows())
        return f"<p><b>{escape(self._title)}</b></p><div>{plots}</div><table>{rows}</table>"

    @property
    def _title(self) -> str:
        request = self.metrics.get("request")
        return f"{request['spec']['network']} on {request['data']}: {self.folder}" if request else str(self.folder)

    def _rows(self) -> list[tuple[str, str]]:
        """The metrics by name, as text."""
        metrics = self.metrics
        if not metrics:
            return [("epochs", str(len(self.history))), ("metrics", "written by worker 0 (the chief)")]
        is_multi_label = "mean_average_precision" in metrics
        low, high = wilson_interval(metrics["correct"], metrics["test_images"])
        precision = [("mean average precision", format_mean_precision(metrics))] if is_multi_label else []
        return [
            *precision,
            (
                "subset accuracy" if is_multi_label else "test accuracy",
                f"{metrics['accuracy']:.2%} ({metrics['correct']} of {metrics['test_images']} images, "
                f"95% interval {low:.2%} to {high:.2%})",
            ),
            *([("cross-validation", str(folds))] if (folds := self.cross_validation) else []),
            *([("warning", warning)] if (warning := describe_failure(metrics)) else []),
            ("test loss", f"{metrics['loss']:.4g}"),
            ("epochs", f"{metrics['epochs']}, best {metrics['best_epoch']}"),
            ("parameters", f"{metrics['params']:,}"),
            ("MACs per image", format_count(metrics["macs"])),
            ("training time", f"{metrics['training_seconds']:.0f} s"),
        ]


def describe_failure(metrics: Mapping[str, Any]) -> str | None:
    """Return a warning where a run shows no skill: it is not better than always predicting the most frequent class.

    Args:
        metrics: metrics.json.

    Returns:
        The warning, if the 95% interval of the test accuracy holds the share of that class or lies below it. None of
        runs with several labels an image, whose mean average precision has a baseline of its own.
    """
    images = {name: row["images"] for name, row in metrics["per_class"].items()}
    if "mean_average_precision" in metrics or len(images) < 2:
        return None
    name, count = max(images.items(), key=lambda item: item[1])
    share = count / metrics["test_images"]
    if wilson_interval(metrics["correct"], metrics["test_images"])[0] > share:
        return None
    return f"the test accuracy is not significantly above that of always predicting {name!r} ({share:.2%})"


@check_arguments
def load_run(folder: str | PathLike[str], *, log: Callable[[str], None] = print) -> TrainResult:
    """Load the result of a finished run from its folder, as kcnn.train returned it.

    Args:
        folder: Folder of a run; of a transfer, for its best run; or of a search, for its best network.
        log: Called with a sentence that says which run of a transfer or a search is taken.

    Returns:
        The result: its metrics and history, and its model, which is loaded at the first use.

    Raises:
        FileNotFoundError: The folder holds no finished run; the message says what it is.
        ValueError: A file of the run is damaged.
    """
    run = resolve_run(folder).require(METRICS, MODEL)
    if run.note:
        log(run.note)
    metrics, history = read_results(run.path)
    return TrainResult(run.path, metrics, history, len(history))
